"""OpenStack: Debian's Keystone, Placement, Glance, Neutron and Nova on this computer, private to one folder.

All are the real services, with their own database and message queue on free ports of the loopback interface; only
what is below Nova is not: its own fake driver stands for the hypervisor, so servers become ACTIVE and boot nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openstack_settings import SETTINGS

PROGRAMS = (
    *("mariadbd", "mariadb-install-db", "uwsgi", "keystone-manage", "placement-manage", "glance-api", "neutron-server"),
    *("neutron-linuxbridge-agent", "nova-api", "nova-scheduler", "nova-conductor", "nova-compute"),
)
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USERS = ("placement", "glance", "neutron", "nova")
START_S = 240
_STOP_S = 10
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> list[str]:
    """What must be installed first; [] if all is there."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return absent if RABBITMQ.exists() else [*absent, "rabbitmq-server"]


@dataclass
class OpenStack:
    """The services, as long as the context lasts. A project ``hpc`` with a user ``gateway`` is in it."""

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(12))

    def __enter__(self) -> Self:
        self._running: list[subprocess.Popen[bytes]] = []
        self._ports = dict(zip((*("keystone", "rabbit", "epmd"), *USERS), _free_ports(7), strict=True))
        for name in ("etc", "log", "db", "rabbit", "images", "keys", "cred", "neutron", "nova"):
            (self.folder / name).mkdir(parents=True)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def url(self) -> str:
        """Of Keystone."""
        return f"http://127.0.0.1:{self._ports['keystone']}/v3"

    def ask(self, service: str, method: str, path: str, body: object = None, project: str = "admin") -> Any:
        """A call of the administrator's, in the project ``project``; its JSON answer."""
        headers = {"X-Auth-Token": self._token(project), "X-OpenStack-Nova-API-Version": "2.79"}
        return _call(method, f"http://127.0.0.1:{self._ports[service]}{path}", body, headers)[1]

    def add_image(self, facts: dict[str, str]) -> str:
        """An image with a byte for content; its id."""
        made = str(self.ask("glance", "POST", "/v2/images", facts)["id"])
        url = f"http://127.0.0.1:{self._ports['glance']}/v2/images/{made}/file"
        headers = {"X-Auth-Token": self._token("admin"), "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(url, b"x", headers, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
        return made

    def _start(self) -> None:
        self._write_settings()
        self._start_database_and_queue()
        with ThreadPoolExecutor(4) as pool:
            others = [pool.submit(step) for step in (self._glance_schema, self._neutron_schema, self._nova_schema)]
            keystone, placement = pool.submit(self._keystone), pool.submit(self._placement)
            keystone.result()
            self._fill_catalog()
            placement.result()
            for each in others:
                each.result()
        self._daemon("glance", "glance-api")
        self._daemon("neutron", "neutron-server", "--config-file", str(self.folder / "etc/neutron.conf"))
        self._wait_for_port("rabbit")
        for name in ("conductor", "scheduler", "api"):
            self._daemon(f"nova-{name}", f"nova-{name}", settings="nova")
        for name in USERS:
            self._wait_for_http(name)
        self._daemon("nova-compute", "nova-compute", settings="nova")
        self._daemon("bridge", "neutron-linuxbridge-agent")
        self._wait(lambda: self._count("nova", "services where topic='compute'"), "nova-compute reports")
        self._run("nova-manage", "--config-file", self._conf("nova"), "cell_v2", "discover_hosts", log="discover")
        self._wait(lambda: self._count("neutron", "agents where agent_type='Linux bridge agent'"), "the agent reports")

    def _stop(self) -> None:
        for process in reversed(self._running):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)
            process.wait()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.folder / "epmd.pid").read_text()), signal.SIGKILL)

    def _start_database_and_queue(self) -> None:
        data = f"--datadir={self.folder / 'db/data'}"
        quiet = ("--auth-root-authentication-method=normal", "--skip-test-db")
        self._run("mariadb-install-db", "--no-defaults", "--user=root", data, *quiet, log="database")
        fast = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=256M", "--max-connections=400")
        self._spawn(
            "mariadb",
            "mariadbd",
            "--no-defaults",
            "--user=root",
            data,
            f"--socket={self._socket}",
            "--skip-networking",
            *fast,
        )
        (self.folder / "etc/rabbit.conf").touch()
        (self.folder / "etc/plugins").write_text("[].")
        name = f"burst{self._ports['rabbit']}@localhost"
        self._spawn("epmd", "epmd", "-address", "127.0.0.1", "-port", str(self._ports["epmd"]))
        self._spawn(
            "rabbit",
            str(RABBITMQ),
            RABBITMQ_NODENAME=name,
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self._ports["rabbit"]),
            RABBITMQ_DIST_PORT=str(_free_ports(1)[0]),
            RABBITMQ_MNESIA_BASE=str(self.folder / "rabbit"),
            RABBITMQ_LOG_BASE=str(self.folder / "log"),
            RABBITMQ_PID_FILE=str(self.folder / "rabbit.pid"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "etc/plugins"),
            RABBITMQ_CONFIG_FILE=str(self.folder / "etc/rabbit"),
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=str(self._ports["epmd"]),
        )
        self._wait(lambda: self._sql("select 1"), "the database answers")
        for database in ("keystone", *USERS, "nova_api", "nova_cell0"):
            self._sql(f"create database {database} character set utf8")

    def _keystone(self) -> None:
        config = ("keystone-manage", "--config-file", self._conf("keystone"))
        as_root = ("--keystone-user", "root", "--keystone-group", "root")
        self._run(*config, "db_sync", log="keystone-schema")
        self._run(*config, "fernet_setup", *as_root, log="keystone-schema")
        self._run(*config, "credential_setup", *as_root, log="keystone-schema")
        urls = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", self.url)]
        secret = ("--bootstrap-password", self.password, "--bootstrap-region-id", "RegionOne")
        self._run(*config, "bootstrap", *secret, *urls, log="keystone-schema")
        self._wsgi("keystone", "/usr/bin/keystone-wsgi-public", "--pyargv", f"--config-file {self._conf('keystone')}")
        self._wait_for_http("keystone")

    def _placement(self) -> None:
        self._run("placement-manage", "--config-file", self._conf("placement"), "db", "sync", log="placement-schema")
        self._wsgi("placement", "/usr/bin/placement-api", OS_PLACEMENT_CONFIG_DIR=str(self.folder / "etc"))

    def _glance_schema(self) -> None:
        self._run("glance-manage", "--config-file", self._conf("glance"), "db_sync", log="glance-schema")

    def _neutron_schema(self) -> None:
        config = ("neutron-db-manage", "--config-file", self._conf("neutron"))
        self._run(*config, "upgrade", "head", log="neutron-schema")

    def _nova_schema(self) -> None:
        config = ("nova-manage", "--config-file", self._conf("nova"))
        self._run(*config, "api_db", "sync", log="nova-schema")
        cell = ("--database_connection", self._database("nova_cell0"))
        self._run(*config, "cell_v2", "map_cell0", *cell, log="nova-schema")
        self._run(*config, "db", "sync", log="nova-schema")
        self._run(*config, "cell_v2", "create_cell", "--name=cell1", log="nova-schema")

    def _fill_catalog(self) -> None:
        """The services' users, the endpoints, and the gateway's own project and user."""
        roles = {each["name"]: each["id"] for each in self.ask("keystone", "GET", "/v3/roles")["roles"]}
        for project, users, role in (("service", USERS, "admin"), ("hpc", ("gateway",), "member")):
            made = self._make("project", {"name": project, "domain_id": "default"})
            for user in users:
                who = self._make("user", {"name": user, "password": self.password, "domain_id": "default"})
                self.ask("keystone", "PUT", f"/v3/projects/{made}/users/{who}/roles/{roles[role]}")
        kinds = {
            "nova": ("compute", "/v2.1"),
            "placement": ("placement", ""),
            "glance": ("image", ""),
            "neutron": ("network", ""),
        }
        for name, (kind, path) in kinds.items():
            service = self._make("service", {"name": name, "type": kind})
            for interface in ("public", "internal", "admin"):
                url = f"http://127.0.0.1:{self._ports[name]}{path}"
                place = {"service_id": service, "interface": interface, "region_id": "RegionOne", "url": url}
                self._make("endpoint", place)

    def _make(self, kind: str, what: dict[str, str]) -> str:
        return str(self.ask("keystone", "POST", f"/v3/{kind}s", {kind: what})[kind]["id"])

    def _token(self, project: str) -> str:
        domain = {"domain": {"id": "default"}}
        user = {"name": "admin", "password": self.password, **domain}
        scope = {"project": {"name": project, **domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        headers, _ = _call("POST", f"{self.url}/auth/tokens", {"auth": {"identity": identity, "scope": scope}}, {})
        return str(headers["X-Subject-Token"])

    def _write_settings(self) -> None:
        for name, text in SETTINGS.items():
            values = {
                "folder": self.folder,
                "port": self._ports.get(name, 0),
                "glance_port": self._ports["glance"],
                "database": self._database(name),
                "api_database": self._database("nova_api"),
                "rabbit": f"rabbit://guest:guest@127.0.0.1:{self._ports['rabbit']}/",
                **{f"as_{user}": self._as(user) for user in USERS},
            }
            (self.folder / f"etc/{name}.conf").write_text(text.format(**values))

    def _as(self, user: str) -> str:
        lines = {
            "auth_type": "password",
            "auth_url": self.url,
            "www_authenticate_uri": self.url,
            "project_domain_name": "Default",
            "user_domain_name": "Default",
            "project_name": "service",
            "region_name": "RegionOne",
            "username": user,
            "password": self.password,
        }
        return "\n".join(f"{key} = {value}" for key, value in lines.items())

    def _conf(self, name: str) -> str:
        return str(self.folder / f"etc/{name}.conf")

    @property
    def _socket(self) -> str:
        return str(self.folder / "db.sock")

    def _database(self, name: str) -> str:
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self._socket}"

    def _sql(self, query: str) -> str:
        words = ["mariadb", "--no-defaults", "-S", self._socket, "-uroot", "-N", "-e", query]
        return subprocess.run(
            words, capture_output=True, text=True, check=False, env=self._environment()
        ).stdout.strip()

    def _count(self, database: str, what: str) -> bool:
        return self._sql(f"select count(*) from {database}.{what}") not in {"", "0"}  # noqa: S608 - our own words

    def _daemon(self, name: str, program: str, *more: str, settings: str | None = None) -> None:
        self._spawn(name, program, *(more or ("--config-file", self._conf(settings or name))))

    def _wsgi(self, name: str, file: str, *more: str, **environment: str) -> None:
        served = ("--http-socket", f"127.0.0.1:{self._ports[name]}", "--wsgi-file", file)
        python = (
            "--plugins-dir",
            "/usr/lib/uwsgi/plugins",
            "--plugin",
            "python3",
            "--enable-threads",
            "--threads",
            "4",
        )
        # Without it their clients meet connections that uwsgi has closed meanwhile.
        close = ("--master", "--add-header", "Connection: close")
        self._spawn(name, "uwsgi", *python, *served, *close, *more, **environment)

    def _spawn(self, name: str, program: str, *words: str, **environment: str) -> None:
        with (self.folder / f"log/{name}.out").open("ab") as log:
            process = subprocess.Popen(
                [program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment() | environment,
                start_new_session=True,
            )
        self._running.append(process)

    def _run(self, *words: str, log: str) -> None:
        with (self.folder / f"log/{log}.out").open("ab") as out:
            done = subprocess.run(
                words, stdout=out, stderr=out, cwd=self.folder, env=self._environment(), check=False, timeout=START_S
            )
        assert done.returncode == 0, (self.folder / f"log/{log}.out").read_text()[-2000:]

    def _environment(self) -> dict[str, str]:
        return {"PATH": _PATH, "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def _wait_for_port(self, name: str) -> None:
        self._wait(lambda: _listens(self._ports[name]), f"{name} listens")

    def _wait_for_http(self, name: str) -> None:
        self._wait(lambda: _answers(self._ports[name]), f"{name} answers")

    def _wait(self, look: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not look():
            assert time.monotonic() < deadline, f"not within {START_S} s: {what}; see {self.folder / 'log'}"
            time.sleep(0.2)


def _call(method: str, url: str, body: object, headers: dict[str, str]) -> tuple[Any, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
        text = answer.read()
        return answer.headers, json.loads(text) if text else None


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    try:
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]
    finally:
        for each in opened:
            each.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
