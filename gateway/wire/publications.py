"""Publications: what gets a DOI, and who may read its files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.wire.form import NO_NUL, ONE_LINE, Request, View
from gateway.wire.jobs import OutputFile


class PublishRequest(Request):
    """What is to be said of a job's outputs besides what the gateway knows."""

    title: str = Field(min_length=1, max_length=500, pattern=ONE_LINE)
    creators: tuple[Annotated[str, Field(min_length=1, max_length=300, pattern=ONE_LINE)], ...] = Field(
        min_length=1, max_length=100
    )
    """Each "Family, Given <ORCID iD>"; the ORCID iD may be left out."""
    description: str = Field(default="", max_length=10_000, pattern=NO_NUL)
    access: Literal["open", "restricted"] = "restricted"
    licence: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.+-]{1,64}$")
    """SPDX identifier."""
    related: tuple[Annotated[str, Field(max_length=340, pattern=ONE_LINE)], ...] = Field(default=(), max_length=100)
    """Each "RELATION=DOI" or "RELATION=URL"."""


class PublicationView(View):
    """A publication; ``readers`` are told to its owner only."""

    id: str
    doi: str
    state: str
    access: str
    url: str
    """Of its landing page."""
    job: str
    title: str
    user: str
    files: int
    bytes: int
    manifest_sha256: str
    readers: tuple[str, ...] = ()


class GrantRequest(Request):
    """A user who may read a publication's files."""

    user: str = Field(min_length=1, max_length=64, pattern=ONE_LINE)


class PublishedFiles(View):
    """A publication's files, each with a presigned URL."""

    publication: str
    files: tuple[OutputFile, ...]
