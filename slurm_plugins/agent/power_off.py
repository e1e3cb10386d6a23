"""PowerOff: the end of this machine, by itself.

Invariant: it needs no credential. A cloud that was asked to (EC2: instance-initiated shutdown = terminate) ends a
machine that powers off; elsewhere it is at least off, and the gateway's reaper takes a stopped machine for a live one.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import time

FORCE_AFTER_S = 120.0
_WAYS = (
    ("systemctl", "poweroff"),
    ("systemctl", "poweroff", "--force"),
    ("systemctl", "poweroff", "--force", "--force"),
)

log = logging.getLogger("agent")


def power_off(reason: str) -> None:
    """Power off; each further way, if the machine still runs after a while, asks fewer programs for their consent."""
    for way in _WAYS:
        log.warning("powering off: %s: %s", reason, " ".join(way))
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(way, check=False, timeout=FORCE_AFTER_S)
            # SIGTERM ends this process on the way down.
            time.sleep(FORCE_AFTER_S if done.returncode == 0 else 1)
