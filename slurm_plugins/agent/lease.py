"""Lease: how long this node may live without a word from its gateway.

Invariant: it is counted by a clock that nobody can set and that runs on while the machine sleeps; an agent that is
started again goes on with the lease that it had, so an agent that dies again and again does not keep its node alive.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slurm_plugins.agent.filesystem import write_privately

LEASE_S = 900.0
GRACE_S = 3600.0
AGAIN_S = 5.0
"""How soon a lease that was not renewed is asked for again."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Lease:
    """``seconds``: how long it is; ``grace_s``: how long a job may go on after it; both as the gateway said last."""

    file: Path
    seconds: float
    grace_s: float
    renewed_at: float
    """By ``uptime``."""
    asked_at: float = 0.0
    drained: bool = False
    """This agent has drained its node in Slurm."""
    drain_refused: bool = False
    """It was drained already, by somebody else."""

    @classmethod
    def kept(cls, file: Path, facts: dict[str, Any]) -> Lease:
        """The one that an earlier run left since this machine booted; else a new one, as if renewed now."""
        try:
            known = json.loads(file.read_text())
            if known.pop("boot") == _BOOT.read_text():
                return cls(file, **known)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        grace = float(facts.get("grace_seconds", GRACE_S))
        lease = cls(file, float(facts.get("lease_seconds", LEASE_S)), grace, uptime())
        lease.keep()
        return lease

    @property
    def over_for(self) -> float:
        """Seconds since it was over, which is when it was not renewed for twice its time; negative before."""
        return uptime() - self.renewed_at - 2 * self.seconds

    @property
    def due(self) -> bool:
        """Whether it is time to ask for the next one."""
        if self.asked_at > self.renewed_at:
            return uptime() - self.asked_at >= min(self.seconds / 3, AGAIN_S)
        return uptime() - self.renewed_at >= self.seconds / 3 or not self.asked_at

    @property
    def pause_s(self) -> float:
        """How long to look away."""
        return min(1.0, self.seconds / 6)

    def follow(self, facts: dict[str, Any]) -> None:
        """The gateway has spoken: the lease is renewed."""
        self.seconds = float(facts["lease_seconds"])
        self.grace_s = float(facts.get("grace_seconds", self.grace_s))
        self.renewed_at, self.drain_refused = uptime(), False
        self.keep()

    def keep(self) -> None:
        """Put it on disk, for the next run."""
        known = {name: value for name, value in asdict(self).items() if name not in {"file", "asked_at"}}
        write_privately(self.file, json.dumps({"boot": _BOOT.read_text(), **known}))


def uptime() -> float:
    """Seconds since boot, those in which the machine was suspended included: a lease runs on in them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
