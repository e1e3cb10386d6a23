"""Job credentials: a short-lived JWT in the WLCG profile with which one attempt of one job reaches its own data.

Invariant: a credential names one attempt on one node and its scopes, and is void at its expiry or as soon as the port
that is asked calls it revoked, whichever is first. Source: WLCG Common JWT Profiles 1.2, "Capability based
Authorization".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.errors import BadSignature, InvalidRequest, Refused, SignatureExpired
from gateway.identity.key_ring import KeyRing
from gateway.jobs.job import Attempt, Job

CREDENTIAL_TYPE: Final = "at+jwt"  # RFC 9068
PROFILE_VERSION: Final = "1.0"
READ: Final = "storage.read"
CREATE: Final = "storage.create"
CANCEL: Final = "compute.cancel"
_ACTOR: Final = "credential:"
_HINT = "a job's credential is good while the job runs, and for its own data"


@dataclass(frozen=True)
class JobGrant:
    """What a verified credential allows, to the job ``job`` (the gateway's own id) on ``node``.

    ``attempt`` is NUMBER or NUMBER-TASK, as in the store's prefix; ``scopes`` are spelled as in the token.
    """

    jti: str
    user: str
    job: str
    attempt: str
    node: str
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    chain: tuple[str, ...] = ()
    """``jti`` of the credentials that it was narrowed from, the job's own first; () for that one."""

    def permits(self, capability: str, path: str | None = None) -> bool:
        """Whether a scope gives ``capability`` on the absolute ``path``; /a gives /a/b but never /ab or /a/../b."""
        for scope in self.scopes:
            name, _, granted = scope.partition(":")
            if name == capability and (inside(path, granted) if path is not None else not granted):
                return True
        return False

    def demand(self, capability: str, path: str | None = None) -> None:
        """Raise Refused unless it permits that."""
        if not self.permits(capability, path):
            raise Refused(f"This job's credential does not allow {capability} on {path or 'that'}.", hint=_HINT)


@dataclass(frozen=True)
class Credentials:
    """Makes and reads the credentials of one gateway; ``issuer`` is its URL, ``audience`` its name in tokens."""

    ring: KeyRing
    issuer: str
    audience: str

    def mint(
        self, job: Job, attempt: Attempt, node: str, now: datetime, expires: datetime, *, reads: tuple[str, ...] = ()
    ) -> str:
        """A token for ``attempt`` on ``node``: create and read below its own prefix, read ``reads``, cancel itself.

        ``reads`` are absolute paths, such as an input's key behind a slash. Raises InvalidRequest for one with blanks.
        """
        prefix = f"/{attempt.prefix}"
        issued = int(now.timestamp())
        claims = {
            "wlcg.ver": PROFILE_VERSION,
            "iss": self.issuer,
            "sub": job.user,
            "aud": self.audience,
            "iat": issued,
            "nbf": issued,
            "exp": int(expires.timestamp()),
            "jti": secrets.token_urlsafe(16),
            "scope": " ".join(
                (f"{CREATE}:{prefix}", CANCEL, *(f"{READ}:{_unbroken(path)}" for path in (prefix, *reads)))
            ),
            "burst_job": job.id,
            "burst_attempt": attempt.prefix.rstrip("/").rpartition("/")[2],
            "burst_node": node,
        }
        return self.ring.sign(json.dumps(claims).encode(), CREDENTIAL_TYPE, now)

    def mint_child(self, grant: JobGrant, now: datetime) -> str:
        """A token for a grant that ``delegation.narrow`` made of another; ``act`` names whom it came from (RFC 8693).

        The outermost actor is the nearest.
        """
        act: dict[str, Any] = {}
        for jti in grant.chain:
            act = {"sub": f"{_ACTOR}{jti}", **({"act": act} if act else {})}
        claims = {
            "wlcg.ver": PROFILE_VERSION,
            "iss": self.issuer,
            "sub": grant.user,
            "aud": self.audience,
            "iat": int(grant.issued_at.timestamp()),
            "nbf": int(grant.issued_at.timestamp()),
            "exp": int(grant.expires_at.timestamp()),
            "jti": grant.jti,
            "scope": " ".join(grant.scopes),
            "act": act,
            "burst_job": grant.job,
            "burst_attempt": grant.attempt,
            "burst_node": grant.node,
        }
        return self.ring.sign(json.dumps(claims).encode(), CREDENTIAL_TYPE, now)

    def verify(self, token: str, now: datetime, revoked: Callable[[JobGrant], bool]) -> JobGrant:
        """What the token allows, once all of it holds: signature, type, issuer, audience, times, not revoked.

        Raises BadSignature or SignatureExpired.
        """
        claims = json.loads(self.ring.verify(token, CREDENTIAL_TYPE))
        if (claims["iss"], claims["aud"], claims["wlcg.ver"]) != (self.issuer, self.audience, PROFILE_VERSION):
            raise BadSignature("The credential is for another service.", hint=_HINT)
        grant = _grant(claims)
        # Both times are by the gateway's own clock, so there is no skew to allow for.
        if not grant.issued_at <= now < grant.expires_at:
            raise SignatureExpired(f"The credential expired at {grant.expires_at:%Y-%m-%d %H:%M} UTC.", hint=_HINT)
        if revoked(grant):
            raise SignatureExpired("The credential was revoked when its job ended.", hint=_HINT)
        return grant


def _grant(claims: Mapping[str, Any]) -> JobGrant:
    return JobGrant(
        jti=claims["jti"],
        user=claims["sub"],
        job=claims["burst_job"],
        attempt=claims["burst_attempt"],
        node=claims["burst_node"],
        scopes=tuple(claims["scope"].split()),
        issued_at=datetime.fromtimestamp(claims["nbf"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        chain=_chain(claims.get("act")),
    )


def _chain(act: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The actors of an ``act`` claim, the first of them first."""
    actors: list[str] = []
    while act:
        actors.append(str(act["sub"]).removeprefix(_ACTOR))
        act = act.get("act")
    return tuple(reversed(actors))


def _unbroken(path: str) -> str:
    # A blank would end the scope and let the rest of a file's name be read as scopes of its own.
    if path.split() != [path]:
        raise InvalidRequest(f"{path!r} cannot be named in a credential.", hint="use a path without blanks")
    return path


def inside(path: str, granted: str) -> bool:
    """Whether ``path`` is ``granted`` or below it, compared segment by segment; what is not normal is outside."""
    if not path.startswith("/") or not granted.startswith("/"):
        return False
    wanted, given = path[1:].split("/"), granted.strip("/").split("/")
    folder = wanted[:-1] if wanted[-1] == "" else wanted
    if any(part in {"", ".", ".."} for part in folder):
        return False
    return given == [""] or folder[: len(given)] == given
