"""Clock: the gateway's time as this node knows it; a machine whose own clock is wrong is a node all the same.

Invariant: it is for signatures only. How long a lease lasts is told by a clock that nobody sets.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from slurm_plugins.agent.filesystem import write_privately

NEAR_S = 10.0
"""A signature bears more than this."""
FURTHEST_S = 900.0
"""A wronger clock is not followed: who could make a node sign for tomorrow could renew its lease tomorrow."""

log = logging.getLogger("agent")


@dataclass(frozen=True)
class Clock:
    """``file``: by how many seconds the gateway's clock is ahead of this machine's."""

    file: Path

    def now(self) -> float:
        """Seconds since 1970 by the gateway's clock."""
        return time.time() + self.ahead

    @property
    def ahead(self) -> float:
        """Seconds; 0 until something else was learnt."""
        try:
            return float(self.file.read_text())
        except (OSError, ValueError):
            return 0.0

    def learn(self, said: float | None) -> bool:
        """Follow the gateway's clock, which showed ``said`` a moment ago; whether it differs from what was known."""
        ahead = 0.0 if said is None else said - time.time()
        if said is None or abs(ahead - self.ahead) < NEAR_S:
            return False
        if abs(ahead) > FURTHEST_S:
            log.error("this machine's clock is %.0f s away from the gateway's, too far: set it", ahead)
            return False
        log.warning("this machine's clock is %.0f s away from the gateway's, which is followed", ahead)
        write_privately(self.file, f"{ahead:.1f}")
        return True
