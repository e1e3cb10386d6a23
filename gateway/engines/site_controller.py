"""SiteController: a site's slurmctld as its administrator asks it, with the site's own commands.

Invariant: asking changes nothing; only ``reconfigure`` makes slurmctld read its files again.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.engines.distribution import Distribution

_PATIENCE_S = 60.0
_READY_WITHIN_S = 45.0
_TICK_S = 0.25
_ENTRY = re.compile(r"^(\w[\w\[\]]*)\s+=\s?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class SiteController:
    """Reaches the slurmctld that ``slurm_conf`` names."""

    programs: Distribution
    slurm_conf: Path
    patience_s: float = _PATIENCE_S
    ready_within_s: float = field(default=_READY_WITHIN_S)

    def config(self) -> Mapping[str, str]:
        """What slurmctld itself says that it is configured with; empty where it does not answer."""
        shown = self._scontrol("show", "config")
        return {key: value.strip() for key, value in _ENTRY.findall(shown.stdout)} if shown.returncode == 0 else {}

    def trouble(self) -> str:
        """What ``scontrol`` has against it; "" where slurmctld answers."""
        shown = self._scontrol("show", "config")
        return _last(shown.stderr or shown.stdout) if shown.returncode else ""

    def up(self) -> bool:
        """Whether the primary slurmctld answers."""
        said = self._scontrol("ping")
        return said.returncode == 0 and "DOWN" not in said.stdout

    def has_partition(self, name: str) -> bool:
        """Whether slurmctld knows it."""
        return self._scontrol("show", "partition", name).returncode == 0

    def reconfigure(self) -> str:
        """Have the files read again; what was said against it, "" when nothing was."""
        said = self._scontrol("reconfigure")
        return _last(said.stderr or said.stdout) if said.returncode else ""

    def becomes(self, wanted: Callable[[], bool]) -> bool:
        """Whether slurmctld answers and ``wanted`` holds within a while; it is away while it begins anew."""
        deadline = time.monotonic() + self.ready_within_s
        while not (self.up() and wanted()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK_S)
        return True

    def _scontrol(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.programs.program("scontrol")), *words]
        environment = {"SLURM_CONF": str(self.slurm_conf), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        try:
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=self.patience_s
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer within {self.patience_s:.0f} s")


def _last(text: str) -> str:
    """The line that says most: the first error, without the program's name."""
    lines = [line.split("error: ", 1)[-1].split("fatal: ", 1)[-1] for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "it said nothing"
