"""Listener: the socket that Fn gives a function to listen on.

Source: Fn's format of functions (fnproject/docs, fn-format): the socket is bound under another name, made writable for
all, and linked to under the name that Fn waits for once it serves; the link is relative.

Invariant: the name that Fn waits for appears only when calls are taken, and is gone after the end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import SetupError
from gateway.settings import SOCKET_PATH_MAX

FORMAT = "http-stream"
_SCHEME = "unix:"


@dataclass(frozen=True)
class FnListener:
    """``path`` is where Fn looks; the socket itself lies beside it."""

    path: Path

    @classmethod
    def of_environment(cls, environment: dict[str, str]) -> FnListener:
        """From FN_FORMAT and FN_LISTENER, as Fn sets them. Raises SetupError."""
        if (form := environment.get("FN_FORMAT", "")) != FORMAT:
            raise SetupError(f"FN_FORMAT is {form!r} and not {FORMAT!r}", hint="Fn sets it; use --http without Fn")
        address = environment.get("FN_LISTENER", "")
        path = address.removeprefix(_SCHEME)
        if path == address or not path.startswith("/"):
            raise SetupError(f"FN_LISTENER is {address!r}", hint="it has the form unix:/tmp/iofs/lsnr.sock")
        if len(os.fsencode(path)) + len(_ASIDE) > SOCKET_PATH_MAX:
            raise SetupError(f"FN_LISTENER is longer than {SOCKET_PATH_MAX} bytes", hint="use a shorter folder")
        return cls(Path(path))

    @contextmanager
    def bound(self) -> Iterator[socket.socket]:
        """The bound socket, not yet to be found by Fn."""
        aside = self.path.with_name(_ASIDE + self.path.name)
        aside.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.fspath(aside))
            aside.chmod(0o666)
            try:
                yield opened
            finally:
                self.withdraw()

    def announce(self) -> None:
        """Let Fn find it."""
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(_ASIDE + self.path.name)

    def withdraw(self) -> None:
        """Leave neither the name nor the socket."""
        for path in (self.path, self.path.with_name(_ASIDE + self.path.name)):
            path.unlink(missing_ok=True)


_ASIDE = "at-"
