"""Objects: which of the store's a job or a node asks for, and the URLs that it is answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.wire.form import ONE_LINE, Request, SlurmId, View

MOST_OBJECTS = 1000

Path = Annotated[str, Field(min_length=1, max_length=1024, pattern=ONE_LINE)]
"""Absolute, as in a scope: the key behind a slash."""


class ObjectsRequest(Request):
    """A job asks, under its credential, to GET or PUT objects."""

    get: tuple[Path, ...] = Field(default=(), max_length=MOST_OBJECTS)
    put: tuple[Path, ...] = Field(default=(), max_length=MOST_OBJECTS)


class ObjectsReply(View):
    """One URL a path, in the same order; each may be begun for ``expires_in`` seconds."""

    get: tuple[str, ...]
    put: tuple[str, ...]
    expires_in: int


class StageOutRequest(Request):
    """A node asks where to put outputs of an attempt that ran on it. Paths are relative to the attempt's prefix."""

    scheduler_id: SlurmId
    attempt: str = Field(max_length=32)
    paths: tuple[str, ...] = Field(max_length=MOST_OBJECTS)
