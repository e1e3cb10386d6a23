"""An institution's OpenID Connect provider: canaille, which nobody here wrote, as a process with people and clients."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

SERVER = Path(__file__).with_name("canaille_server.py")
SERVED_AT = "localhost"  # another site than 127.0.0.1, so that the browser's rules for cookies of other sites hold


@dataclass(frozen=True)
class Client:
    """Somebody that people sign in to with their account at the institution."""

    id: str
    redirect_uri: str
    secret: str


@dataclass(frozen=True)
class Provider:
    """A running provider; ``people`` are name → password."""

    port: int
    people: dict[str, str]
    clients: tuple[Client, ...]

    @property
    def issuer(self) -> str:
        return f"http://{SERVED_AT}:{self.port}"


@contextmanager
def provider_of(folder: Path, provider: Provider) -> Iterator[Provider]:
    """Run it until the block ends."""
    facts = {
        "served_at": SERVED_AT,
        "port": provider.port,
        "people": provider.people,
        "clients": [vars(each) for each in provider.clients],
    }
    (folder / "provider.json").write_text(json.dumps(facts))
    with (folder / "provider.log").open("w") as log:
        command = [sys.executable, str(SERVER), str(folder / "provider.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait(f"{provider.issuer}/.well-known/openid-configuration", process, folder / "provider.log")
            yield provider
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    transport = httpx2.HTTPTransport(retries=10)  # a refused connection is tried again, longer each time
    with httpx2.Client(transport=transport, timeout=60) as http:
        while True:
            assert process.poll() is None, log.read_text()
            try:
                assert http.get(url).status_code == 200, log.read_text()
            except httpx2.ConnectError:
                continue
            return
