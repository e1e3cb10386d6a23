"""UserData: what a new machine is told by its cloud, as a #cloud-config that makes it join this gateway.

Invariant: its one secret is the one-time join token; every value is quoted on its way into the template, so none can
become YAML. Every process of a machine can read its user-data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Protocol

import yaml
from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

from gateway.errors import CloudInvalid
from gateway.ssh.principals import ACCOUNTS, principal

JOIN_FILE = "/etc/burst/join.json"
"""Where a node finds its invitation."""

MAX_BYTES = 8192
"""The smallest limit among clouds is 16 KB, and EC2's counts base64."""


class Invited(Protocol):
    """Who gets user-data: one machine, or the machines of a gang."""

    @property
    def node(self) -> str:
        """What messages call it."""

    @property
    def user_authority(self) -> str:
        """The public line of who certifies people that may log in."""

    @property
    def principals(self) -> Mapping[str, str]:
        """Account → as whom a certificate opens it."""

    @property
    def invitation(self) -> str:
        """The JSON text of `JOIN_FILE`."""


@dataclass(frozen=True)
class UserData:
    """An invitation: which node a machine is to become, and where it gets the agent that does the rest."""

    node: str
    gateway_url: str
    token: str
    agent_url: str
    agent_sha256: str
    audience: str
    """The gateway's name in signatures."""
    generation: int
    user_authority: str
    """The public line of who certifies people that may log in."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More that the agent should know; nothing secret."""

    @property
    def principals(self) -> Mapping[str, str]:
        """Account → as whom a certificate opens it."""
        return {account: principal(self.node, self.generation, account) for account in ACCOUNTS}

    @property
    def invitation(self) -> str:
        """The JSON text of `JOIN_FILE`."""
        known = {
            "node": self.node,
            "gateway_url": self.gateway_url,
            "token": self.token,
            "agent_url": self.agent_url,
            "agent_sha256": self.agent_sha256,
            "audience": self.audience,
            "generation": self.generation,
        }
        return json.dumps({**self.facts, **known}, sort_keys=True)


def render(data: Invited) -> str:
    """The #cloud-config text. Raises CloudInvalid if it would be longer than `MAX_BYTES`."""
    text = _environment().get_template("compute.yaml.j2").render(data=data, join_file=JOIN_FILE)
    if len(text.encode()) > MAX_BYTES:
        raise CloudInvalid(f"the user-data of {data.node} is longer than {MAX_BYTES} bytes")
    return text


def file_in(user_data: str, path: str) -> str:
    """The content that ``user_data`` has cloud-init write to ``path``. Raises ValueError if there is none."""
    try:
        parsed = yaml.safe_load(user_data) if user_data.startswith("#cloud-config\n") else None
    except yaml.YAMLError as error:
        raise ValueError(f"the user-data is not YAML: {error}") from None
    entries = parsed.get("write_files", ()) if isinstance(parsed, dict) else ()
    for entry in entries:
        if entry.get("path") == path:
            return str(entry["content"])
    raise ValueError(f"the user-data writes no {path}")


def quoted(value: object) -> str:
    """``value`` as a double-quoted scalar of YAML 1.2 §7.3.1, on one line, in ASCII."""
    if not isinstance(value, str):
        raise TypeError(f"only text goes into user-data, not {type(value).__name__}")
    return yaml.safe_dump(value, default_style='"', allow_unicode=False, width=float("inf")).rstrip("\n")


class _PackageLoader(BaseLoader):
    """The templates below the package ``cloud_init``, wherever it is installed."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, None]:  # noqa: ARG002
        file = resources.files("cloud_init").joinpath(*template.split("/"))
        if not file.is_file():
            raise TemplateNotFound(template)
        return file.read_text(encoding="utf-8"), str(file), None


@cache
def _environment() -> Environment:
    return Environment(
        loader=_PackageLoader(),
        # Escaping for HTML would be wrong here: each expression is quoted for YAML instead.
        autoescape=False,  # noqa: S701
        finalize=quoted,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
