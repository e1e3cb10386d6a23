"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let SIGINT interrupt: what a shell starts in the background, and all its children, have it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
