"""``burst-function FOLDER``: serve one simulation as a function, to Fn or over HTTP.

Invariant: without Fn it takes no call that does not show the token, and listens where it was told only.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import uvicorn

from gateway.client.gateway import Gateway
from gateway.client.session import Session
from gateway.client.simulation import Simulation
from gateway.errors import BurstError, SetupError
from gateway.functions.app import create_app
from gateway.functions.listener import FnListener

_SHORTEST_TOKEN = 16


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without --http it is an Fn function and listens where FN_LISTENER says. It submits its jobs with the login "
    "that `burst login` kept (BURST_CONFIG, BURST_PROFILE).",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--http", metavar="ADDRESS:PORT", help="Listen on TCP instead, e.g. 127.0.0.1:8100; port 0 is any free.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Its content is what callers over TCP must show.")
def main(folder: Path, http: str | None, token_file: Path | None) -> None:
    """Serve the simulation that FOLDER/simulation.toml describes."""
    try:
        simulation = Simulation.load(folder, Gateway(Session.saved()))
        with ExitStack() as held:
            if http is None:
                listener = FnListener.of_environment(dict(os.environ))
                _serve(simulation, None, held.enter_context(listener.bound()), listener.announce, listener.withdraw)
            else:
                opened = held.enter_context(_tcp(http))
                where = ":".join(map(str, opened.getsockname()))
                _serve(simulation, _token(token_file), opened, lambda: click.echo(f"http://{where}/call"), opened.close)
    except (BurstError, OSError) as error:
        hint = getattr(error, "hint", None)
        raise click.ClickException(f"{error}; {hint}" if hint else str(error)) from None


class _Announcing(uvicorn.Server):
    """Says when it takes calls and when it takes none any more; after the second, a signal may end the process."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], withdraw: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._withdraw = withdraw

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._withdraw()


def _serve(
    simulation: Simulation,
    token: str | None,
    opened: socket.socket,
    announce: Callable[[], None],
    withdraw: Callable[[], None],
) -> None:
    app = create_app(simulation, token)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5)
    _Announcing(config, announce, withdraw).run(sockets=[opened])


def _tcp(place: str) -> socket.socket:
    address, _, port = place.rpartition(":")
    if not address or not port.isdecimal():
        raise SetupError(f"--http {place!r} is not ADDRESS:PORT", hint="e.g. --http 127.0.0.1:8100")
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, int(port)))
    return opened


def _token(file: Path | None) -> str:
    """Raises SetupError: whoever may call spends the credits of the login."""
    text = file.read_text().strip() if file is not None else ""
    if len(text) < _SHORTEST_TOKEN:
        raise SetupError(
            f"--http needs a token of {_SHORTEST_TOKEN} characters or more",
            hint="openssl rand -hex 32 > token && chmod 600 token, then --token-file token",
        )
    return text


if __name__ == "__main__":
    main()
