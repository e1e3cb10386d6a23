"""SiteClaimService: a user of the gateway says which of a site's Unix users they are, and proves both halves.

Invariant: a link needs two words that nobody else can give: a request that the gateway's user signed, and a job of the
Unix user, whom slurmctld knows by munge. Neither alone does anything, and the job never runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway import wire
from gateway.engines.site_people import BY_BOTH, Link, SitePeople
from gateway.errors import BadSignature, InvalidRequest
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.key_ring import KeyRing
from gateway.service.people import PeopleService
from gateway.work import Works

TYPE = "burst-site-claim+jws"
GOOD_FOR = timedelta(hours=1)
_LINE = re.compile(r"^#BURST\s+--claim=(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class SiteClaimService:
    """The first half. ``partition``: the site's cloud partition; None where the gateway serves no site."""

    people: PeopleService
    ring: KeyRing
    partition: str | None

    def begin(self, caller: Caller, request: wire.ClaimRequest) -> wire.ClaimView:
        """What to submit as ``unix_name``. Raises Refused; InvalidRequest where there is no site, or for root."""
        demand(authorise(caller, Action.CLAIM_UNIX_USER))
        if self.partition is None:
            raise InvalidRequest("This gateway serves no site.", hint="ask its operator which one does")
        if request.unix_name == "root":
            raise InvalidRequest("No job of the gateway runs as root.", hint="name an ordinary user of the site")
        now = self.people.now()
        proof = caller.evidence.digest
        claim = {"user": caller.user.name, "unix": request.unix_name, "evidence": proof, "exp": _unix(now + GOOD_FOR)}
        with self.people.works() as work:
            work.evidence.keep(caller.evidence)
            text = f"says to be {request.unix_name} at the site"
            work.audit.tell(Act(caller.user.name, "claim", f"user:{caller.user.name}", text, authorisation=proof), now)
        code = self.ring.sign(json.dumps(claim).encode(), TYPE, now)
        command = (
            "sbatch",
            f"--partition={self.partition}",
            "--time=1",
            "--job-name=burst-claim",
            "--output=/dev/null",
        )
        return wire.ClaimView(command=(*command, f"--wrap=#BURST --claim={code}"), expires_at=now + GOOD_FOR)


@dataclass(frozen=True)
class SiteClaims:
    """The second half: jobs of the cloud partition that are claims."""

    works: Works
    ring: KeyRing
    people: SitePeople

    def code_in(self, script: str) -> str | None:
        """The claim that a script is; None for a job."""
        found = _LINE.search(script)
        return found[1] if found else None

    def finish(self, code: str, unix_name: str, now: datetime) -> Link:
        """Link the Unix user who submitted ``code`` to the user who signed for it.

        Raises BadSignature for a claim that is not the gateway's, is another's, or is too old; Conflict where either is
        linked to somebody else.
        """
        claim = json.loads(self.ring.verify(code, TYPE))
        if claim["unix"] != unix_name:
            raise BadSignature(f"this claim is for {claim['unix']}, not {unix_name}", hint="burst site claim")
        if _unix(now) >= claim["exp"]:
            raise BadSignature("this claim is too old", hint="burst site claim makes another")
        link = Link(unix_name, claim["user"], BY_BOTH, claim["evidence"])
        self.people.link(link)
        with self.works() as work:
            text = f"is {unix_name} at the site, who said so too"
            user = claim["user"]
            work.audit.tell(Act(user, "link", f"user:{user}", text, authorisation=claim["evidence"]), now)
        return link


def _unix(at: datetime) -> int:
    return int(at.timestamp())
