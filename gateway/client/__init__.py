"""The client library of commands and notebooks.

    from gateway import client as burst

    job = burst.submit("job.sh", nodes=2)
    burst.wait(job)
    burst.result(job).json("result.json")

``%load_ext gateway.client`` gives a notebook the cell magic ``%%sbatch``.

Invariant: nothing is loaded before it is asked for, so that commands start fast.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    **dict.fromkeys(("cancel", "logs", "outputs", "receipt", "result", "status", "submit", "wait"), "job"),
    **dict.fromkeys(("Job", "Result"), "job"),
    "Simulation": "simulation",
    "load_ipython_extension": "notebook",
    "login": "sign_in",
}
"""Name → the module below this package that has it."""

__all__ = [
    "Job", "Result", "Simulation",
    "cancel", "login", "logs", "outputs", "receipt", "result", "status", "submit", "wait",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load one public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
