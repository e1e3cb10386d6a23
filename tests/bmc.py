"""Management controllers: sushy-tools' Redfish emulator and OpenIPMI's ipmi_sim, each with machines that tests make.

Invariant: the emulators are what answers; added here is what they lack and real controllers have: TLS, sessions,
preconditions, tasks, and faults on demand.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "operator", "correct-horse"
_START_S = 20.0

Environ = dict[str, Any]
Start = Callable[..., Any]


@dataclass
class Outlet:
    """What a controller switches. ``changed``: called with whether there is power now. ``stuck``: it does not move."""

    on: bool = False
    stuck: bool = False
    changed: Callable[[bool], None] = lambda _: None
    asked: list[str] = field(default_factory=list)

    def is_on(self) -> bool:
        """What the controller reads."""
        return self.on

    def switch(self, *, on: bool, word: str) -> None:
        """As the controller is asked to."""
        self.asked.append(word)
        if not self.stuck and on != self.on:
            self.on = on
            self.changed(on)


@dataclass
class Faults:
    """What goes wrong at a Redfish controller: the next requests are answered so, until it is taken back."""

    busy: bool = False
    """503 to everything."""
    released: threading.Event = field(default_factory=threading.Event)
    """While it is not set, no request is answered."""
    silent_reset: bool = False
    """A reset is done, and not answered before ``released``."""
    strict: bool = False
    """A reset needs If-Match and makes a task."""
    failing_task: bool = False


@dataclass
class RedfishBmc:
    """A running emulator. ``outlets``: system id → what it switches."""

    url: str
    ca_file: Path
    outlets: Mapping[str, Outlet]
    faults: Faults
    sessions: set[str]


@contextmanager
def redfish_bmc(folder: Path, outlets: Mapping[str, Outlet]) -> Iterator[RedfishBmc]:
    """sushy-tools' application on its fake driver, on this computer, over TLS. ``outlets``: UUID → machine."""
    from sushy_tools.emulator import main  # noqa: PLC0415 - it takes a second to import
    from werkzeug.serving import make_server  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = _certificate(folder)
    _sushy(main, folder, outlets)
    faults = Faults()
    faults.released.set()
    bmc = RedfishBmc("", certificate, outlets, faults, set())
    server = make_server(
        "127.0.0.1", 0, _Front(main.app.wsgi_app, bmc), threaded=True, ssl_context=(str(certificate), str(key))
    )
    server.daemon_threads = True
    bmc.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield bmc
    finally:
        faults.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _sushy(main: Any, folder: Path, outlets: Mapping[str, Outlet]) -> None:
    """Its fake driver keeps the records; an outlet is switched at once, and not seconds later."""
    from sushy_tools.emulator.resources.systems import fakedriver  # noqa: PLC0415

    class Switching(_fake_driver(fakedriver)):  # type: ignore[misc]
        def get_power_state(self, identity: str) -> str:
            return "On" if outlets[identity].is_on() else "Off"

        def set_power_state(self, identity: str, state: str) -> None:
            super().set_power_state(identity, state)
            outlets[identity].switch(on="On" in state, word=state)

    users = folder / "users"
    users.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    systems = [
        {"uuid": uuid, "name": f"machine {number}", "power_state": "Off", "nics": [], "external_notifier": False}
        for number, uuid in enumerate(outlets, 1)
    ]
    main.app.__dict__.pop("_cache", None)
    main.app.wsgi_app = type(main.app).wsgi_app.__get__(main.app)
    fakedriver.FakeDriver = Switching
    main.app.configure(
        extra_config={
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_FAKE_SYSTEMS": systems,
            "SUSHY_EMULATOR_STATE_DIR": str(folder),
            "SUSHY_EMULATOR_AUTH_FILE": str(users),
        }
    )


def _fake_driver(module: Any) -> Any:
    """The emulator's own, also when an earlier test put another there."""
    return next(
        each
        for each in module.FakeDriver.__mro__
        if each.__module__ == module.__name__ and each.__name__ == "FakeDriver"
    )


@dataclass
class _Front:
    """WSGI before the emulator: sessions (DSP0266 §13.3), preconditions, tasks, faults."""

    app: Callable[[Environ, Start], Iterable[bytes]]
    bmc: RedfishBmc

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        faults = self.bmc.faults
        faults.released.wait(_START_S)
        if faults.busy:
            return _answered(start, "503 Service Unavailable", _error("The manager is busy."))
        place, method = environ["PATH_INFO"].rstrip("/"), environ["REQUEST_METHOD"]
        if place.startswith("/redfish/v1/SessionService/Sessions"):
            return self._session(environ, start, place, method)
        if environ.get("HTTP_X_AUTH_TOKEN") in self.bmc.sessions:
            environ["HTTP_AUTHORIZATION"] = _basic()
        if place.startswith("/redfish/v1/TaskMonitors/"):
            return self._task(start, place)
        if place.endswith("/Actions/ComputerSystem.Reset"):
            return self._reset(environ, start)
        status, headers, body = self._inner(environ)
        if place == "/redfish/v1":
            facts = json.loads(body)
            facts["Links"] = {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}
            return _answered(start, status, facts)
        if place.startswith("/redfish/v1/Systems/"):
            headers.append(("ETag", 'W/"7"'))
        start(status, headers)
        return [body]

    def _session(self, environ: Environ, start: Start, place: str, method: str) -> Iterable[bytes]:
        if method == "DELETE":
            self.bmc.sessions.discard(place.rpartition("/")[2])
            return _answered(start, "204 No Content", None)
        said = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if (said["UserName"], said["Password"]) != (USER, PASSWORD):
            return _answered(start, "401 Unauthorized", _error("The user name or password is wrong."))
        token = os.urandom(8).hex()
        self.bmc.sessions.add(token)
        where = f"/redfish/v1/SessionService/Sessions/{token}"
        return _answered(start, "201 Created", {"Id": token}, ("X-Auth-Token", token), ("Location", where))

    def _reset(self, environ: Environ, start: Start) -> Iterable[bytes]:
        faults = self.bmc.faults
        if faults.strict and environ.get("HTTP_IF_MATCH") != 'W/"7"':
            return _answered(start, "428 Precondition Required", _error("If-Match is missing."))
        status, headers, body = self._inner(environ)
        if faults.silent_reset:
            faults.released.clear()
            faults.released.wait(_START_S)
        if faults.strict and status.startswith("20"):
            return _answered(start, "202 Accepted", {"TaskState": "New"}, ("Location", "/redfish/v1/TaskMonitors/1"))
        start(status, headers)
        return [body]

    def _task(self, start: Start, place: str) -> Iterable[bytes]:
        if self.bmc.faults.failing_task:
            failed = {"TaskState": "Exception", "Messages": [{"Message": "The power supply is missing."}]}
            return _answered(start, "202 Accepted", failed)
        if place.endswith("/1"):
            return _answered(
                start, "202 Accepted", {"TaskState": "Running"}, ("Location", "/redfish/v1/TaskMonitors/2")
            )
        return _answered(start, "204 No Content", None)

    def _inner(self, environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        told: list[Any] = []
        body = b"".join(self.app(environ, lambda status, headers, _=None: told.append((status, headers))))
        status, headers = told[-1]
        return status, [each for each in headers if each[0].lower() != "content-length"], body


def _answered(start: Start, status: str, facts: object, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = b"" if facts is None else json.dumps(facts).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


def _error(text: str) -> object:
    return {"error": {"code": "Base.1.0.GeneralError", "message": text}}


def _basic() -> str:
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """As controllers have it: signed by itself, for its address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bmc")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "bmc.pem", folder / "bmc.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


@dataclass
class IpmiBmc:
    """A running ipmi_sim, one chassis. It is asked by a script, so its outlet is a file."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def on(self) -> bool:
        return (self.folder / "power").read_text().strip() == "1"

    @property
    def asked(self) -> list[str]:
        """The orders, in order."""
        asked = self.folder / "asked"
        return asked.read_text().splitlines() if asked.exists() else []

    def stick(self, *, stuck: bool) -> None:
        """Whether orders are taken and not followed."""
        (self.folder / "stuck").write_text("1" if stuck else "")


_LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{folder}/control"
  user 1 true "" "" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
_CONTROL = """\
#!/bin/sh
cd {folder}
what=$1; shift
while [ $# -gt 0 ]; do
  case $what in
    get) if [ "$1" = power ]; then echo "power:$(cat power)"; else echo "$1:0"; fi; shift;;
    set)
      echo "$1 $2" >> asked
      if [ ! -s stuck ]; then
        case $1 in power) echo "$2" > power;; shutdown) echo 0 > power;; esac
      fi
      shift 2;;
    *) shift;;
  esac
done
"""
"""As OpenIPMI's ipmi_sim_chassiscontrol; "shutdown" is what a soft power-off asks for."""


@contextmanager
def ipmi_bmc(folder: Path) -> Iterator[IpmiBmc]:
    """ipmi_sim on this computer, the chassis off."""
    program = shutil.which("ipmi_sim")
    assert program, "ipmi_sim is not installed"
    (folder / "state").mkdir(parents=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "power").write_text("0\n")
    (folder / "lan.conf").write_text(_LAN.format(port=port, folder=folder, user=USER, password=PASSWORD))
    (folder / "bmc.emu").write_text(_EMULATION)
    (folder / "control").write_text(_CONTROL.format(folder=folder))
    (folder / "control").chmod(0o755)
    command = [program, "-c", "lan.conf", "-f", "bmc.emu", "-s", "state", "-n"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_bound(port)
        yield IpmiBmc(port, folder, process)
    finally:
        process.kill()
        process.wait()


def _until_bound(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        assert time.monotonic() < deadline, f"ipmi_sim does not listen on port {port}"
        time.sleep(0.02)
