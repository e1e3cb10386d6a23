"""Sessions and service principals: what there is, and what is asked about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from gateway.wire.form import ONE_LINE, Request, View

ScopeWord = Annotated[str, Field(min_length=1, max_length=32, pattern=ONE_LINE)]
Host = Annotated[str, Field(max_length=255, pattern=ONE_LINE)]
NAME = r"^[a-z][a-z0-9-]{1,31}$"


class SessionView(View):
    """One login. ``host`` is what the client calls its computer; ``used_at`` is coarse; ``how`` it was proven."""

    id: str
    user: str
    how: str
    host: str
    address: str
    since: datetime
    used_at: datetime | None
    expires_at: datetime
    scopes: tuple[str, ...]
    current: bool


class SessionsEnded(View):
    """How many logins ended."""

    ended: int


class AssertionRequest(Request):
    """A principal's login: ``assertion`` is signed with its registered key and names the new key (RFC 7523)."""

    assertion: str = Field(min_length=1, max_length=4096, pattern=ONE_LINE)
    public_key: dict[str, str]
    """JWK of the session's key (RFC 8037: kty OKP, crv Ed25519)."""
    scopes: tuple[ScopeWord, ...] = Field(default=(), max_length=16)
    host: Host = ""


class PrincipalRequest(Request):
    """A new service principal; ``project`` None: the site's."""

    name: str = Field(pattern=NAME)
    project: str | None = Field(default=None, min_length=1, max_length=64, pattern=ONE_LINE)
    scopes: tuple[ScopeWord, ...] = Field(min_length=1, max_length=16)
    public_key: dict[str, str]


class PrincipalKeyRequest(Request):
    """A further key of a principal."""

    public_key: dict[str, str]


class PrincipalKeyView(View):
    """One key, by its thumbprint (RFC 7638)."""

    id: str
    since: datetime
    used_at: datetime | None


class PrincipalView(View):
    """A service principal."""

    name: str
    project: str | None
    account: str
    scopes: tuple[str, ...]
    created_by: str
    since: datetime
    keys: tuple[PrincipalKeyView, ...]
