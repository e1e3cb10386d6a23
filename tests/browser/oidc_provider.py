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
from gateway_site import eventually

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
    """A provider, and the port of the gateway that is its first client; ``people`` are name → password."""

    folder: Path
    port: int
    gateway_port: int
    people: dict[str, str]
    clients: tuple[Client, ...]

    @property
    def issuer(self) -> str:
        return f"http://{SERVED_AT}:{self.port}"


@contextmanager
def running(provider: Provider) -> Iterator[Provider]:
    """Serve it until the block ends."""
    folder, clients = provider.folder, [vars(each) for each in provider.clients]
    facts = {"served_at": SERVED_AT, "port": provider.port, "people": provider.people, "clients": clients}
    (folder / "provider.json").write_text(json.dumps(facts))
    with (folder / "provider.log").open("w") as log:
        command = [sys.executable, str(SERVER), str(folder / "provider.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            eventually(lambda: _answers(provider, process), "the institution's sign-in answers")
            yield provider
        finally:
            process.terminate()
            process.wait()


def _answers(provider: Provider, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (provider.folder / "provider.log").read_text()
    try:
        return httpx2.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=60).is_success
    except httpx2.TransportError:
        return False
