"""A real Ceph object gateway for tests: monitor, one in-memory OSD and radosgw on loopback, from Debian's packages.

Invariant: every process is a child that ends with ``ceph_in``, and every file is below its folder.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PATIENCE_S = 90.0
_CAPS = "roles=*;user-policy=*"

_CONF = """\
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{monitor}
ms_bind_msgr2 = false
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
crash dir = {folder}/run
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd class load list = *
osd class default list = *
mon allow pool size one = true
mon max pg per osd = 5000
mon cluster log file = {folder}/log/cluster.log
paxos propose interval = 0.05
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw s3 auth use sts = true
rgw sts key = {sts_key}
rgw thread pool size = 32
rgw enable ops log = false
"""


@dataclass(frozen=True)
class Ceph:
    """A running gateway: its S3, STS and IAM endpoint, and the keys of a user that may make roles."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path

    def user(self, name: str, *, caps: str) -> tuple[str, str]:
        """A further user's two keys."""
        return _user(self.folder, name, caps)


def lacking() -> str | None:
    """Why there can be no cluster here; None if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {', '.join(absent)}: apt install radosgw ceph-mon ceph-osd ceph-common" if absent else None


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """One cluster for all tests, each with a bucket of its own."""
    if reason := lacking():
        pytest.skip(f"no Ceph here: {reason}")
    with ceph_in() as running:
        yield running


@contextmanager
def ceph_in(base: Path | None = None) -> Iterator[Ceph]:
    """A cluster in a new folder of a short name; gone with its data at the end."""
    folder = Path(tempfile.mkdtemp(prefix="burst-ceph-", dir=base))
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, started)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _start(folder: Path, started: list[subprocess.Popen[bytes]]) -> Ceph:
    for name in ("mon", "osd", "run", "log"):
        (folder / name).mkdir()
    (folder / "keyring").touch()
    monitor, port = _free_ports(2)
    facts = {"fsid": uuid.uuid4(), "monitor": monitor, "port": port, "sts_key": secrets.token_hex(8), "folder": folder}
    (folder / "ceph.conf").write_text(_CONF.format(**facts))

    def run(*command: str) -> None:
        _run(folder, *command)

    def daemon(program: str, *words: str) -> None:
        with (folder / f"log/{program}.out").open("wb") as out:
            command = [program, "-c", str(folder / "ceph.conf"), "-f", *words]
            surroundings = {"cwd": folder, "env": _environment(), "start_new_session": True}
            started.append(subprocess.Popen(command, stdout=out, stderr=out, **surroundings))

    # The default, to ask the monitor for settings first, gives up after a few tries on a busy machine.
    alone = "--no-mon-config"
    address = f"[v1:127.0.0.1:{monitor}]"
    run("monmaptool", "--create", "--fsid", str(facts["fsid"]), "--addv", "a", address, "monmap")
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap", "--keyring", "keyring")
    daemon("ceph-mon", "-i", "a")
    identity = str(uuid.uuid4())
    run("ceph", "--connect-timeout", "60", "osd", "new", identity)
    run("ceph-osd", alone, "-i", "0", "--mkfs", "--osd-uuid", identity)
    daemon("ceph-osd", alone, "-i", "0")
    daemon("radosgw", alone, "-n", "client.rgw")
    endpoint = f"http://127.0.0.1:{port}"
    _wait(endpoint, folder, started)
    return Ceph(endpoint, *_user(folder, "gw", _CAPS), folder)


def _user(folder: Path, name: str, caps: str) -> tuple[str, str]:
    words = (f"--uid={name}", f"--display-name={name}", "--gen-access-key", "--gen-secret")
    said = _run(
        folder, "radosgw-admin", "-n", "client.rgw", "user", "create", *words, *([f"--caps={caps}"] * bool(caps))
    )
    keys = json.loads(said)["keys"][0]
    return keys["access_key"], keys["secret_key"]


def _run(folder: Path, program: str, *words: str) -> str:
    command = [program, "-c", str(folder / "ceph.conf"), *words]
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", "HOME": "/nonexistent"}


def _wait(endpoint: str, folder: Path, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(httpx2.TransportError):
            httpx2.get(endpoint, timeout=2)
            return
        ended = [Path(process.args[0]).name for process in started if process.poll() is not None]
        assert not ended, f"ended: {ended}: {[_last_words(folder, program) for program in ended]}"
        assert time.monotonic() < deadline, "radosgw did not answer"
        threading.Event().wait(0.1)


def _last_words(folder: Path, program: str) -> str:
    return (folder / f"log/{program}.out").read_text(errors="replace")[-3000:]


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
