"""The clouds that the provider's contract suite runs on, each with a gateway for its machines to say hello to."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ec2_server import REGION, Ec2Server
from openstack_services import OpenStack, missing

from gateway.errors import SetupError
from gateway.provisioning.cgroups import hierarchies
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import GangUserData, render_gang
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.node import Machine, NodeOrder
from gateway.provisioning.process_host import ProcessHost
from gateway.provisioning.user_data import JOIN_FILE, UserData, file_in, render
from gateway.settings import CloudSettings, CloudSizeSettings, Settings, SizeSettings

LOCAL = [pytest.param("container", marks=pytest.mark.root), "process"]
BOOTING = [*LOCAL, "ec2"]
EVERY = [*BOOTING, pytest.param("openstack", marks=[pytest.mark.root, pytest.mark.long, pytest.mark.timeout(900)])]

SIZES = (
    SizeSettings(name="small", cores=1, memory_mb=512, credits_per_hour=1.25, max_nodes=8),
    SizeSettings(name="rare", cores=2, memory_mb=512, credits_per_hour=6, max_nodes=1),
)
INSTANCES = pytest.param("instances", marks=pytest.mark.root)
"""EC2's protocol, where an instance is a container with a cloud-init of its own."""

BOOT_S = 120
SECRET = "of the gang"

AGENT = b'''\
"""Stands for the node agent: says hello to the gateway that invited it, leaves a child behind, and stays."""
import base64, hmac, json, signal, subprocess, sys, urllib.request
path = sys.argv[sys.argv.index("--join") + 1] if "--join" in sys.argv else "/etc/burst/join.json"
invitation = json.loads(open(path).read())
first = open("/proc/1/comm").read().strip()
subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & exec sleep 1000"])
node, token = invitation.get("node") or f"{invitation['gang']} {invitation['number']}", invitation.get("token")
if token is None:
    proof = hmac.digest(invitation["secret"].encode(), str(invitation["number"]).encode(), "sha256")
    token = base64.urlsafe_b64encode(proof).decode().rstrip("=")
said = json.dumps({"node": node, "token": token, "first": first}).encode()
print("hello from", node, flush=True)
urllib.request.urlopen(invitation["gateway_url"] + "/hello", said, timeout=30).read()
signal.pause()
'''


@dataclass
class Gateway:
    """Serves the agent and hears the nodes' hellos."""

    server: ThreadingHTTPServer
    heard: list[dict[str, str]] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.server.server_address[:2])

    def hello_of(self, node: str, token: str | None = None) -> dict[str, str]:
        """Wait for a node's hello and take it; ``token``: of that machine, not of an earlier test's that was late."""

        def mine() -> list[dict[str, str]]:
            return [said for said in self.heard if said["node"] == node and token in {None, said["token"]}]

        with self.news:
            ready = self.news.wait_for(mine, BOOT_S)
            assert ready, f"{node} was not heard of within {BOOT_S} s"
            said = mine()[0]
            self.heard.remove(said)
            return said


@dataclass
class Site:
    """A cloud under test. ``cloud``: the local one, which is what boots the machines of all but OpenStack."""

    kind: str
    cloud: LocalCloud
    gateway: Gateway
    open: Callable[[], LibcloudProvider]
    ec2: Ec2Server | None = None
    openstack: OpenStack | None = None

    def provider(self) -> LibcloudProvider:
        """A new one, as a gateway that starts again would make it."""
        return self.open()

    @property
    def boots(self) -> bool:
        """Whether its machines run, and not only are said to."""
        return self.openstack is None

    @property
    def takes_tokens(self) -> bool:
        """Whether two create calls at the same moment with one token are one."""
        return self.openstack is None

    def told(self, machine: Machine) -> str:
        """The join token that a machine got in its user-data: what it says itself, or else what Nova has for it."""
        if self.openstack is None:
            return self.gateway.hello_of(machine.node)["token"]
        server = self.openstack.ask("nova", "GET", f"/v2.1/servers/{machine.id}")["server"]
        user_data = base64.b64decode(server["OS-EXT-SRV-ATTR:user_data"]).decode()
        return str(json.loads(file_in(user_data, JOIN_FILE))["token"])

    def listed(self, *machine_ids: str, cluster: str = "ours") -> tuple[Machine, ...]:
        """The listing, once it has these machines and no others: clouds take their time to end one."""
        deadline = time.monotonic() + BOOT_S
        provider = self.provider()
        found = provider.machines(cluster)
        while {machine.id for machine in found} != set(machine_ids):
            assert time.monotonic() < deadline, (found, machine_ids)
            found = provider.machines(cluster)
        return found

    def order(self, node: str, *, generation: int = 1, size: str = "small", cluster: str = "ours") -> NodeOrder:
        data = UserData(
            node=node,
            gateway_url=self.gateway.url,
            token=f"once-{node}-{generation}",
            agent_url=f"{self.gateway.url}/node-agent.py",
            agent_sha256=sha256(AGENT).hexdigest(),
            audience="burst",
            generation=generation,
            user_authority="ssh-ed25519 AAAA",
        )
        return NodeOrder(cluster=cluster, node=node, generation=generation, size=size, user_data=render(data))

    def gang(self, *nodes: str, generation: int = 1, size: str = "small", **how: Any) -> GangOrder:
        """The order of a gang; ``how``: more of each order."""
        orders = tuple(
            replace(self.order(node, generation=generation, size=size), user_data="", **how) for node in nodes
        )
        token = GangOrder(orders, "").token
        data = GangUserData(
            gang=token,
            secret=SECRET,
            gateway_url=self.gateway.url,
            agent_url=f"{self.gateway.url}/node-agent.py",
            agent_sha256=sha256(AGENT).hexdigest(),
            audience="burst",
            user_authority="ssh-ed25519 AAAA",
        )
        return GangOrder(orders, render_gang(data))

    def traces(self) -> list[str]:
        """All that is left of machines: folders, processes, mounts, control groups, interfaces."""
        folder = self.cloud.settings.cloud_dir
        found = [str(path) for path in folder.iterdir() if path.is_dir() and path.name != ".hosts"]
        found += [f"process {process.name}" for process in Path("/proc").glob("[0-9]*") if _is_of(process, folder)]
        if self.cloud.form == "container":
            bridge = self.cloud.host.network.bridge
            found += [str(path) for top in hierarchies() for path in (top / bridge).glob("*/")]
            found += [path.name for path in Path("/sys/class/net", bridge, "brif").glob("*")]
        return found


def _is_of(process: Path, folder: Path) -> bool:
    """Whether a process works, was started or has something mounted below ``folder``, or is a zombie of ours."""
    try:
        zombie = f"Z (zombie)\nTgid:\t{process.name}\nNgid:\t0\nPid:\t{process.name}\nPPid:\t{os.getpid()}\n"
        return (
            zombie in (process / "status").read_text()
            or os.fsencode(folder) in (process / "cmdline").read_bytes()
            or f"{folder}/" in (process / "mountinfo").read_text()
            or (process / "cwd").readlink().is_relative_to(folder)
        )
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    """GET gives the agent, POST is a hello."""

    def do_GET(self) -> None:
        self._answer(AGENT)

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        gateway: Gateway = self.server.gateway  # type: ignore[attr-defined]
        with gateway.news:
            gateway.heard.append(said)
            gateway.news.notify_all()
        self._answer(b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def opened(settings: Settings) -> LocalCloud:
    """A local cloud; in the form of processes these run the stand-in agent."""
    if settings.nodes != "process":
        return LocalCloud.open(settings)
    settings.cloud_dir.mkdir(exist_ok=True)
    agent = settings.directory / "agent.py"
    agent.write_bytes(AGENT)
    return LocalCloud(settings, ProcessHost(settings.cloud_dir, agent), "under test")


@pytest.fixture(name="site", scope="module", params=EVERY)
def cloud_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A cloud of one kind, with a gateway for its nodes to talk to."""
    kind = request.param
    if kind == "openstack":
        _require_openstack()
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    form = "container" if kind in {"container", "instances"} else "process"
    settings = Settings(directory=tmp_path_factory.mktemp("gateway"), cache=cache, nodes=form, sizes=SIZES)
    try:
        cloud = opened(settings)
    except SetupError as error:
        pytest.skip(f"no containers here: {error.detail}")
    with ExitStack() as stack:
        gateway = stack.enter_context(_listening(cloud))
        stack.callback(_torn_down, cloud)
        match kind:
            case "ec2" | "instances":
                yield _ec2(
                    cloud, gateway, stack.enter_context(Ec2Server(cloud, {size.name: size.name for size in SIZES}))
                )
            case "openstack":
                yield _openstack(cloud, gateway, stack.enter_context(OpenStack(tmp_path_factory.mktemp("openstack"))))
            case _:
                yield Site(kind, cloud, gateway, cloud.provider)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each story every machine is destroyed and must have left no trace."""
    if "site" not in request.fixturenames:
        yield
        return
    site: Site = request.getfixturevalue("site")
    yield
    provider = site.provider()
    for cluster in ("ours", "theirs"):
        for machine in provider.machines(cluster):
            provider.destroy(machine.id)
        site.listed(cluster=cluster)
    if site.ec2 is not None:
        site.ec2.forget_tokens()
    # A cloud says that a machine is gone as soon as it will go.
    deadline = time.monotonic() + BOOT_S
    while left := site.traces():
        assert time.monotonic() < deadline, left


def _require_openstack() -> None:
    if absent := missing():
        pytest.skip(f"no OpenStack here: {', '.join(absent)} not installed")


@contextmanager
def _listening(cloud: LocalCloud) -> Iterator[Gateway]:
    server = ThreadingHTTPServer((cloud.address, 0), Handler)
    server.gateway = gateway = Gateway(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _torn_down(cloud: LocalCloud) -> None:
    cloud.teardown()
    if cloud.form == "container":
        assert not cloud.host.network.is_up
        assert not [top for top in hierarchies() if (top / cloud.host.network.bridge).exists()]


def _ec2(cloud: LocalCloud, gateway: Gateway, server: Ec2Server) -> Site:
    facts = {"kind": "ec2", "region": REGION, "endpoint": server.url, "image": server.image}
    site = _of_settings(cloud, gateway, facts, {"key": server.key, "secret": server.secret})
    site.ec2 = server
    return site


def _openstack(cloud: LocalCloud, gateway: Gateway, services: OpenStack) -> Site:
    """Two flavors, of which no host has room for one; an image without content, which the fake hypervisor boots."""
    # A disk has no quota in Nova, so only the scheduler can say no to the second.
    for size, disk_gb in (("small", 1), ("rare", 2_000_000)):
        flavor = {"name": size, "vcpus": 1, "ram": 512, "disk": disk_gb}
        services.ask("nova", "POST", "/v2.1/flavors", {"flavor": flavor})
    image = {"name": "node", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    services.add_image(image)
    services.ask(
        "neutron",
        "POST",
        "/v2.0/networks",
        {"network": {"name": "nodes", "shared": True}},
    )
    network = services.ask("neutron", "GET", "/v2.0/networks?name=nodes")["networks"][0]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"}
    services.ask("neutron", "POST", "/v2.0/subnets", {"subnet": subnet})
    facts = {"kind": "openstack", "region": "RegionOne", "endpoint": services.url, "image": "node", "network": network}
    site = _of_settings(
        cloud, gateway, facts, {"user": "gateway", "password": services.password, "project": "hpc", "domain": "Default"}
    )
    site.openstack = services
    return site


def _of_settings(cloud: LocalCloud, gateway: Gateway, facts: dict[str, Any], secret: dict[str, str]) -> Site:
    """A cloud opened from its settings and its credential file, as the gateway opens it."""
    sizes = tuple(CloudSizeSettings(**size.model_dump(include=set(CloudSizeSettings.model_fields))) for size in SIZES)
    of_it = CloudSettings(name="far", sizes=sizes, **facts)
    file = cloud.settings.secrets_dir / "far.json"
    file.parent.mkdir(mode=0o700)
    file.touch(mode=0o600)
    file.write_text(json.dumps(secret))

    def provider() -> LibcloudProvider:
        opened = open_cloud(of_it, cloud.settings)
        assert isinstance(opened, LibcloudProvider)
        return opened

    return Site(facts["kind"], cloud, gateway, provider)
