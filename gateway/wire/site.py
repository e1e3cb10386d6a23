"""A site's own users, as they say who they are at the gateway."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gateway.wire.form import Request, View


class ClaimRequest(Request):
    """What a user asks for who is ``unix_name`` at the site."""

    unix_name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="the name there")


class ClaimView(View):
    """What proves the other half: a job that is submitted with ``command`` as that Unix user, before it expires."""

    command: tuple[str, ...]
    expires_at: datetime
