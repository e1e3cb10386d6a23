"""Form: what every request and answer has in common, and the limits of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_SCRIPT_BYTES = 4 * 1024 * 1024
"""slurm.conf's max_script_size, as Slurm has it by default."""

SHA256 = r"^[0-9a-f]{64}$"

ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL stores no NUL, and no path has one."""

MOST_UCR = 10**15
"""A thousand million credits: more is a slip of the finger, and far below what a 64-bit sum can hold."""

MOST_BYTES = 5 * 1024**4
"""The largest object of S3."""

SlurmId = Annotated[int, Field(ge=1, lt=2**32)]
"""Slurm's job ids are unsigned 32-bit numbers."""


class Request(BaseModel):
    """Something sent to the gateway."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """Something that the gateway answers; a newer gateway may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)
