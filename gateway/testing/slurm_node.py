"""SlurmNode: one CLOUD node as slurmctld keeps it, with its power states.

Invariant: the words are slurmctld's own (scontrol(1), node_mgr.c and power_save.c of 24.11).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.engines.engine import SchedulerNode

RESUME_TIMEOUT_S = 900.0
SUSPEND_TIMEOUT_S = 60.0
SUSPEND_TIME_S = 90.0
SLURMD_TIMEOUT_S = 300.0
SILENT_S = 60.0
"""A node that said nothing for so long has the flag NOT_RESPONDING."""

POWER = frozenset({"POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "POWER_DOWN"})


@dataclass(eq=False)
class SlurmNode:
    """Base state and flags; times are virtual seconds."""

    name: str
    base: str = "IDLE"
    flags: set[str] = field(default_factory=lambda: {"POWERED_DOWN"})
    reason: str = ""
    since: float = 0.0
    """Since when its power state is what it is."""
    heard_at: float = 0.0
    idle_at: float = 0.0
    job: int | None = None
    strange: str = ""
    """A word that no release has today, in place of its base state."""

    @property
    def states(self) -> frozenset[str]:
        """As the REST interface lists them."""
        base = "ALLOCATED" if self.job is not None and self.base == "IDLE" else self.base
        return frozenset({self.strange or base, "CLOUD", *self.flags})

    @property
    def can_start(self) -> bool:
        """Whether a job may be given to it."""
        refused = {"DRAIN", "POWERING_DOWN", "POWER_DOWN", "NOT_RESPONDING"}
        return self.base == "IDLE" and self.job is None and not self.flags & refused

    @property
    def up(self) -> bool:
        """Its slurmd has registered, and it is to stay up."""
        return not self.flags & POWER

    @property
    def usable(self) -> bool:
        """A job on it can run."""
        return self.up and self.base == "IDLE" and "NOT_RESPONDING" not in self.flags

    def power(self, flag: str, now: float) -> None:
        """Enter a power state, "" for none."""
        self.flags -= POWER | {"NOT_RESPONDING"}
        if flag:
            self.flags.add(flag)
        self.since = now

    def shown(self) -> SchedulerNode:
        """What an engine reads."""
        return SchedulerNode(self.name, self.states, self.reason, "", 2, 4000, None)
