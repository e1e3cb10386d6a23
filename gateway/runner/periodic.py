"""Periodic: one thread that does one thing again and again.

Invariant: what fails is told, and the next turn tries again; no error ends the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from gateway.errors import BurstError

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Periodic:
    """Does ``action``, which ``what`` names for the log, every ``every_s`` seconds until it is stopped."""

    def __init__(self, name: str, what: str, action: Callable[[], None], every_s: float) -> None:
        self._what = what
        self._action = action
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn that is under way; nothing if it never began."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            attempt(self._what, self._action, failed=None)


def attempt(what: str, action: Callable[[], T], *, failed: T) -> T:
    """The edge of a thread: what ``action`` gives; ``failed`` when it raised something, which is told."""
    try:
        return action()
    except BurstError as error:
        log.warning("could not", what=what, error=error.detail)
    except Exception:
        log.exception("could not", what=what)
    return failed
