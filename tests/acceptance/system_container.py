"""Hosts for an administrator's tools: system containers with systemd and sshd, booted by the project's own local cloud.

Invariant: a host knows one user, by one key made for it, and its host key is known beforehand; it reaches Debian's
archive through a proxy on this machine and nothing else outside; leaving ``hosts_in`` leaves no container.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gateway_site import PATIENCE_S, eventually, shared_cache

from gateway.provisioning.local_cloud import LocalCloud
from gateway.settings import Settings, SizeSettings

USER = "deploy"
_SIZE = SizeSettings(name="host", cores=2, memory_mb=3072, credits_per_hour=1, max_nodes=4)


@dataclass(frozen=True)
class Host:
    """One machine, reached by SSH."""

    name: str
    address: str
    folder: Path
    """Holds ``key`` and ``known_hosts``."""

    def run(self, *words: str, check: bool = True, within_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """A shell line there, as root."""
        command = ["ssh", *self.options, f"{USER}@{self.address}", "sudo", "sh", "-c", _quoted(" ".join(words))]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=within_s
        )
        assert not check or done.returncode == 0, f"{self.name}: {words}: {done.stdout}{done.stderr}"
        return done

    def says(self, *words: str) -> str:
        """What a shell line prints, without its last line end."""
        return self.run(*words).stdout.rstrip("\n")

    @property
    def options(self) -> list[str]:
        """For ssh(1)."""
        known = f"UserKnownHostsFile={self.folder / 'known_hosts'}"
        return ["-i", str(self.folder / "key"), "-o", known, "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"]

    @property
    def inventory(self) -> dict[str, object]:
        """Its entry in an Ansible inventory."""
        options = f"-o UserKnownHostsFile={self.folder / 'known_hosts'}"
        return {
            "ansible_host": self.address,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": options,
        }


@contextmanager
def hosts_in(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Booted hosts by name, all reachable; they are gone at the end."""
    settings = Settings(directory=folder / "cloud", cache=shared_cache(), nodes="container", sizes=(_SIZE,))
    cloud = LocalCloud.open(settings)
    try:
        with _archive_proxy(cloud.address) as proxy:
            hosts = {name: _boot(cloud, name, folder / name, proxy) for name in names}
            for host in hosts.values():
                eventually(
                    lambda host=host: host.run("cloud-init status --wait", check=False).returncode == 0, host.name
                )
            yield hosts
    finally:
        cloud.teardown()


def _boot(cloud: LocalCloud, name: str, folder: Path, proxy: str) -> Host:
    folder.mkdir()
    for key in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / key], check=True)
    user = {
        "name": USER,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [(folder / "key.pub").read_text().strip()],
    }
    data = {
        "users": [user],
        "ssh_keys": {
            "ed25519_private": (folder / "host_key").read_text(),
            "ed25519_public": (folder / "host_key.pub").read_text(),
        },
        "write_files": [{"path": "/etc/apt/apt.conf.d/90proxy", "content": f'Acquire::http::Proxy "{proxy}";\n'}],
    }
    driver = cloud.driver()
    node = driver.create_node(name, driver.list_sizes()[0], ex_userdata="#cloud-config\n" + json.dumps(data))
    (address,) = node.private_ips
    (folder / "known_hosts").write_text(f"{address} {(folder / 'host_key.pub').read_text()}")
    return Host(name, address, folder)


@contextmanager
def _archive_proxy(address: str) -> Iterator[str]:
    """An HTTP proxy on ``address`` that fetches as this machine does; yields its URL."""
    server = ThreadingHTTPServer((address, 0), _Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield "http://{}:{}".format(*server.server_address[:2])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Proxy(BaseHTTPRequestHandler):
    """GET of absolute http URLs, and tunnels for https (RFC 9110 §9.3.6)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        kept = {
            name: text for name, text in self.headers.items() if not name.lower().startswith(("proxy-", "connection"))
        }
        upstream = http.client.HTTPConnection(place.netloc, timeout=PATIENCE_S)
        upstream.request("GET", urllib.parse.urlunsplit(("", "", *place[2:4], "")), headers=kept)
        with upstream.getresponse() as answer:
            body = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, text in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_CONNECT(self) -> None:
        name, _, port = self.path.rpartition(":")
        with socket.create_connection((name, int(port)), timeout=PATIENCE_S) as upstream:
            self.send_response_only(200)
            self.end_headers()
            back = threading.Thread(target=_pour, args=(upstream, self.connection), daemon=True)
            back.start()
            _pour(self.connection, upstream)
            back.join()
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"
