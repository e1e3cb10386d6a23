"""Spending: what an account was charged and when, for its history.

Invariant: a charge is what a settled hold became; nothing here changes money.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Charge:
    """What one job cost its account; ``job`` is the gateway's own id."""

    job: str
    scheduler_id: int | None
    name: str
    held_ucr: int
    charged_ucr: int
    at: datetime


class Spending(Protocol):
    """The settled holds."""

    def of(self, account: str, limit: int) -> tuple[Charge, ...]:
        """The latest ``limit`` charges of an account, oldest first."""
