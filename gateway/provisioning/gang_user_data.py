"""Gang user-data: one text for many machines, of which each learns its number from its cloud.

Invariant: its one secret makes the one-time tokens of this gang and of no other; what a machine is given alone, where
its cloud takes an order for each, has the token of its own number and not the secret.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.provisioning.user_data import JOIN_FILE, file_in, quoted, render

_HEADER = "## template: jinja\n{% raw %}"
"""cloud-init renders what begins with the first of these lines; only the number is to be rendered."""
_NUMBER = "{% endraw %}{{ (ds.meta_data.ami_launch_index | int) + 0 }}{% raw %}"
"""Its place in its call, which EC2 calls ami-launch-index, as NoCloud's metadata may too; and where the call began."""
_FOUND = re.compile(re.escape(_NUMBER).replace("0", r"\d+"))
_MARK = "@number@"
_INVITATION = re.compile(rf"(?P<before>- path: {re.escape(quoted(JOIN_FILE))}\n(  .*\n)*?  content: ).*")


@dataclass(frozen=True)
class GangUserData:
    """An invitation of the machines of one gang. Which nodes they become, they are told when they join."""

    gang: str
    """The gang's token."""
    secret: str
    """Of which the machines' one-time tokens are made."""
    gateway_url: str
    agent_url: str
    agent_sha256: str
    audience: str
    user_authority: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """What messages call it."""
        return f"gang {self.gang}"

    @property
    def principals(self) -> Mapping[str, str]:
        """None: they name a node, which is known only after joining."""
        return {}

    @property
    def invitation(self) -> str:
        """The JSON text of `JOIN_FILE`; the number is to be put in."""
        known = {
            "gang": self.gang,
            "number": _MARK,
            "secret": self.secret,
            "gateway_url": self.gateway_url,
            "agent_url": self.agent_url,
            "agent_sha256": self.agent_sha256,
            "audience": self.audience,
        }
        return json.dumps({**self.facts, **known}, sort_keys=True)


def render_gang(data: GangUserData) -> str:
    """The user-data of all machines, for cloud-init to render on each. Raises CloudInvalid if it is too long."""
    member, number = (quoted(f'"number": {value}')[1:-1] for value in (json.dumps(_MARK), ""))
    # No value may end the raw text: YAML reads the same from the escape, which only values can have.
    text = render(data).replace("{%", r"\x7b%").replace(member, number + _NUMBER)
    return f"{_HEADER}{text}{{% endraw %}}\n"


def beginning_at(user_data: str, first: int) -> str:
    """The same for a call whose first machine is number ``first`` of the gang; other text stays as it is."""
    return _FOUND.sub(lambda _: _NUMBER.replace("+ 0", f"+ {first}"), user_data)


def numbered(user_data: str, number: int) -> str:
    """What machine ``number`` alone is given: with its token in the secret's place. Other text stays as it is."""
    if not user_data.startswith(_HEADER):
        return user_data
    plain = user_data.removeprefix(_HEADER).removesuffix("{% endraw %}\n")
    plain = _FOUND.sub(str(number), plain)
    known = json.loads(file_in(plain, JOIN_FILE))
    known["token"] = one_time_token(known.pop("secret"), number)
    own = quoted(json.dumps(known, sort_keys=True))
    return _INVITATION.sub(lambda found: found["before"] + own, plain, count=1)


def one_time_token(secret: str, number: int) -> str:
    """Of machine ``number``: HMAC-SHA256 of the number under the gang's secret, base64url."""
    proof = hmac.digest(secret.encode(), str(number).encode(), "sha256")
    return base64.urlsafe_b64encode(proof).decode().rstrip("=")
