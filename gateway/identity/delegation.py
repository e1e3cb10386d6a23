"""Delegation: how a job narrows its own credential for a child (RFC 8693, token exchange).

Invariant: whatever the child's credential permits, its parent's does; it ends no later, and is for the same service,
job, attempt and node. What could be read in two ways, such as a path with an escape in it, is refused.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.errors import InvalidScope, InvalidTarget, TokenError
from gateway.identity.credentials import JobGrant, inside

DEEPEST: Final = 4
"""How many times over a credential can be narrowed."""
MOST_SCOPES: Final = 50
LONGEST_PATH: Final = 512

# No "%": some who verify a token would decode it. No "*", "?" or "$": a store's policy has them for patterns.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+,=@-]+)*/?")


@dataclass(frozen=True)
class Wish:
    """What a child is to have. ``scopes`` empty: all of its parent's; ``seconds`` None: to its parent's end."""

    scopes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """Audiences and resources that it is to be good for; none: the parent's."""
    seconds: int | None = None


def narrow(parent: JobGrant, wish: Wish, services: Sequence[str], now: datetime) -> JobGrant:
    """The child's grant; ``services`` are the names that the parent's own service has.

    Raises InvalidScope, InvalidTarget or TokenError for what the parent has not.
    """
    if len(parent.chain) >= DEEPEST:
        raise TokenError(f"A credential can be narrowed {DEEPEST} times over and no more.")
    if other := [target for target in wish.targets if target not in services]:
        raise InvalidTarget(f"The credential is for {services[0]} and not for {other[0][:100]!r}.")
    for scope in wish.scopes:
        _check(scope, parent)
    issued = datetime.fromtimestamp(int(now.timestamp()), UTC)
    return replace(
        parent,
        jti=secrets.token_urlsafe(16),
        scopes=tuple(dict.fromkeys(wish.scopes)) or parent.scopes,
        issued_at=issued,
        expires_at=_end(parent, wish.seconds, issued),
        chain=(*parent.chain, parent.jti),
    )


def within(scope: str, other: str) -> bool:
    """Whether all that ``scope`` gives, ``other`` gives too."""
    if scope == other:
        return True
    name, colon, path = scope.partition(":")
    other_name, other_colon, other_path = other.partition(":")
    return bool(colon and other_colon) and name == other_name and is_plain(path) and inside(path, other_path)


def is_plain(path: str) -> bool:
    """Whether everybody reads an absolute path in the same way."""
    normal = len(path) <= LONGEST_PATH and path.startswith("/") and _PATH.fullmatch(path) is not None
    return normal and not {".", ".."} & set(path.split("/"))


def _check(scope: str, parent: JobGrant) -> None:
    if not any(within(scope, other) for other in parent.scopes):
        hint = "a scope is NAME:/PATH, at or below one of the token's, in letters, digits and . _ ~ + , = @ -"
        raise InvalidScope(f"The token does not have the scope {scope[:200]!r}.", hint=hint)


def _end(parent: JobGrant, seconds: int | None, issued: datetime) -> datetime:
    if seconds is None:
        return parent.expires_at
    return min(parent.expires_at, issued + timedelta(seconds=seconds))
