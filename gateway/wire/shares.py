"""Shares: access rules about a job's outputs, and links to them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.wire.form import NO_NUL, ONE_LINE, Request, View
from gateway.wire.jobs import OutputFile

LONGEST_LINK_S = 30 * 86400
A_DAY_S = 86400


class ShareRequest(Request):
    """What is said of whom about a path below a job's outputs; each right is yes, no, or null: as further up."""

    subject: str = Field(min_length=1, max_length=80, pattern=ONE_LINE)
    """``user:NAME``, ``group:NAME`` or ``everyone`` who has logged in."""
    path: str = Field(default="", max_length=1024, pattern=NO_NUL)
    owner: bool | None = None
    readable: bool | None = None
    writeable: bool | None = None
    executable: bool | None = None
    combination: Literal["max", "min", "sub"] = "max"


class ShareView(View):
    """An access rule as it stands; ``authorisation`` is the digest of the signed request that set it."""

    job: int | None
    burst_id: str
    path: str
    subject: str
    owner: bool | None
    readable: bool | None
    writeable: bool | None
    executable: bool | None
    combination: str
    by: str
    at: datetime
    authorisation: str


class LinkRequest(Request):
    """A link to one file or folder of a job's outputs, for some time."""

    path: str = Field(default="", max_length=1024, pattern=NO_NUL)
    expires_s: int = Field(default=A_DAY_S, ge=1, le=LONGEST_LINK_S)


class LinkView(View):
    """A link without its secret."""

    id: str
    job: int | None
    burst_id: str
    path: str
    by: str
    made_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class NewLink(View):
    """A new link; ``secret``, and ``url`` that ends in it, are told this once."""

    link: LinkView
    secret: str
    url: str


class OpenRequest(Request):
    """The secret of a link; ``path`` narrows what is wanted to one file or folder of it."""

    secret: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")
    path: str | None = Field(default=None, max_length=1024, pattern=NO_NUL)


class LinkedFiles(View):
    """What a link opens: files with URLs that are good for some minutes."""

    name: str
    """Of the job."""
    path: str
    by: str
    expires_at: datetime
    files: tuple[OutputFile, ...]
