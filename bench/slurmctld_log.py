"""SlurmctldLog: slurmctld's lines with the moment at which each appeared, good to a few milliseconds.

slurmctld in the foreground writes no times, and its own have only the precision of its settings; reading along needs
neither another setting nor a patched Slurm.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_LOOK_S = 0.002


class SlurmctldLog:
    """Reads along with a log, from its present end, for the time of a ``with``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def first(self, pattern: str, after: float) -> float:
        """When the first line that matches appeared, as Unix time. Raises LookupError."""
        wanted = re.compile(pattern)
        for at, line in list(self._lines):
            if at >= after and wanted.search(line):
                return at
        raise LookupError(f"slurmctld did not say {pattern!r}")

    def _read(self) -> None:
        with self._path.open() as log:
            log.seek(0, 2)
            part = ""
            while not self._ended.is_set():
                part += log.readline()
                if part.endswith("\n"):
                    self._lines.append((time.time(), part))
                    part = ""
                else:
                    self._ended.wait(_LOOK_S)
