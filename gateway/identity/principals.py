"""Principal: a program that acts for a project or for the site, and the keys with which it logs in.

Invariant: a principal has no password and no right that its scopes do not name; of its keys only public halves are
kept; a key that was removed never logs in again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway.errors import Refused
from gateway.identity.scopes import Scopes

MOST_KEYS: Final = 4
"""Live keys of one principal: the old, the new, and room for two computers."""
RENEW_BEFORE: Final = timedelta(minutes=5)
"""How long before its session ends a principal's client logs in again."""


@dataclass(frozen=True)
class PrincipalKey:
    """A registered key, named by its thumbprint (RFC 7638); times in UTC."""

    id: str
    principal: str
    public_key: Mapping[str, str]
    created_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True)
class Principal:
    """A service principal; ``project`` is the group whose account pays, None: it is the site's."""

    name: str
    project: str | None
    scopes: Scopes
    created_by: str
    created_at: datetime
    keys: tuple[PrincipalKey, ...] = ()
    """Those that log in."""

    def narrowed(self, asked: Scopes) -> Scopes:
        """What of ``asked`` a session of its may have. Raises Refused when that is nothing."""
        if not (given := asked & self.scopes):
            raise Refused(f"{self.name} has none of these scopes.", hint=f"it has {', '.join(sorted(self.scopes))}")
        return given


class PrincipalStore(Protocol):
    """The stored principals, inside one transaction of the database."""

    def add(self, principal: Principal) -> None:
        """Keep a new one without its keys."""

    def get(self, name: str) -> Principal:
        """By name, with its live keys. Raises NotFound, also for one that was removed."""

    def all(self) -> tuple[Principal, ...]:
        """Every principal that was not removed, by name."""

    def key(self, key_id: str) -> PrincipalKey | None:
        """A live key by its thumbprint; None when there is none."""

    def add_key(self, key: PrincipalKey) -> None:
        """Keep a key. Raises Conflict for one that is or was somebody's."""

    def note_use(self, key_id: str, now: datetime) -> None:
        """It has logged in."""

    def remove_key(self, key_id: str, now: datetime) -> None:
        """End a key for ever."""

    def remove(self, name: str, now: datetime) -> None:
        """End a principal and all its keys."""
