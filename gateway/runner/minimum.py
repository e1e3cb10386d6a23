"""MinimumRunner: keeps the first nodes of a size on where the settings want a minimum of it.

Invariant: it only ever asks Slurm to power up a node that is powered down and that nobody took out of service; Slurm
asks for the machine as for any other, and does not give it back for being idle (SuspendExcNodes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.engines.engine import Engine
from gateway.runner.periodic import Periodic

EVERY_S = 10.0


@dataclass
class MinimumRunner:
    """One thread; ``least`` is how many nodes of each size are kept on."""

    engine: Engine
    least: Mapping[str, int]

    def __post_init__(self) -> None:
        self._thread = Periodic("minimum", "keep the least nodes on", self.tick, EVERY_S)
        self._wanted = {f"{size}-{number}" for size, least in self.least.items() for number in range(1, least + 1)}

    def start(self) -> None:
        """Begin, if any are to be kept."""
        if self._wanted:
            self._thread.start()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._thread.stop()

    def tick(self) -> None:
        """Look once. Raises SchedulerUnavailable, SchedulerRefused."""
        off = [node.name for node in self.engine.nodes() if node.name in self._wanted and node.can_power_up]
        if off:
            self.engine.update_nodes(off, "POWER_UP")
