"""Names of signals, as scancel(1) takes them.

Invariant: only a number that is a signal's is ever sent: Slurm takes an unknown name for some signal all the same.
"""

from __future__ import annotations

import signal

from gateway.errors import SchedulerRefused


def signal_number(name: str) -> str:
    """The number of "USR1", "SIGUSR1" or "10". Raises SchedulerRefused."""
    if name.isdigit():
        return name
    known = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(known, signal.Signals):
        raise SchedulerRefused(f"Unknown signal {name}")
    return str(known.value)
