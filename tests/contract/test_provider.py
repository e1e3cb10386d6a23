"""What every node provider must do, run on the local cloud in both its forms: real containers and real processes."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.errors import Capacity, CloudInvalid, PriceUnknown, SetupError
from gateway.provisioning.cgroups import hierarchies
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.local_driver import PROVIDER, register
from gateway.provisioning.node import MachineState, NodeOrder
from gateway.provisioning.process_host import ProcessHost
from gateway.provisioning.user_data import UserData, render
from gateway.settings import CREDIT, Settings, SizeSettings

SIZES = (
    SizeSettings(name="small", cores=1, memory_mb=512, credits_per_hour=1.25, max_nodes=8),
    SizeSettings(name="rare", cores=2, memory_mb=512, credits_per_hour=6, max_nodes=1),
)
BOOT_S = 60

AGENT = b'''\
"""Stands for the node agent: says hello to the gateway that invited it, leaves a child behind, and stays."""
import json, signal, subprocess, sys, urllib.request
path = sys.argv[sys.argv.index("--join") + 1] if "--join" in sys.argv else "/etc/burst/join.json"
invitation = json.loads(open(path).read())
first = open("/proc/1/comm").read().strip()
subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & exec sleep 1000"])
said = json.dumps({"node": invitation["node"], "token": invitation["token"], "first": first}).encode()
print("hello from", invitation["node"], flush=True)
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

    def hello_of(self, node: str) -> dict[str, str]:
        """Wait for a node's hello and take it."""
        with self.news:
            ready = self.news.wait_for(lambda: any(said["node"] == node for said in self.heard), BOOT_S)
            assert ready, f"{node} was not heard of within {BOOT_S} s"
            said = next(said for said in self.heard if said["node"] == node)
            self.heard.remove(said)
            return said


@dataclass
class Site:
    """A local cloud under test."""

    cloud: LocalCloud
    gateway: Gateway

    def order(self, node: str, *, generation: int = 1, size: str = "small", cluster: str = "ours") -> NodeOrder:
        data = UserData(
            node=node,
            gateway_url=self.gateway.url,
            token=f"once-{node}-{generation}",
            agent_url=f"{self.gateway.url}/node-agent.py",
            agent_sha256=sha256(AGENT).hexdigest(),
        )
        return NodeOrder(cluster=cluster, node=node, generation=generation, size=size, user_data=render(data))

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


@pytest.fixture(scope="module", params=[pytest.param("container", marks=pytest.mark.root), "process"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A local cloud of one form, with a gateway for its nodes to talk to."""
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    directory = tmp_path_factory.mktemp("gateway")
    settings = Settings(directory=directory, cache=cache, nodes=request.param, sizes=SIZES)
    try:
        cloud = opened(settings)
    except SetupError as error:
        pytest.skip(f"no containers here: {error.detail}")
    server = ThreadingHTTPServer((cloud.address, 0), Handler)
    server.gateway = gateway = Gateway(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Site(cloud, gateway)
    cloud.teardown()
    server.shutdown()
    thread.join()
    server.server_close()
    if cloud.form == "container":
        assert not cloud.host.network.is_up
        assert not [top for top in hierarchies() if (top / cloud.host.network.bridge).exists()]


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


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each story every machine is destroyed and must have left no trace."""
    yield
    if "site" not in request.fixturenames:
        return
    site = request.getfixturevalue("site")
    provider = site.cloud.provider()
    for cluster in ("ours", "theirs"):
        for machine in provider.machines(cluster):
            provider.destroy(machine.id)
    assert site.traces() == []


def opened(settings: Settings) -> LocalCloud:
    """A local cloud; in the form of processes these run the stand-in agent."""
    if settings.nodes != "process":
        return LocalCloud.open(settings)
    settings.cloud_dir.mkdir(exist_ok=True)
    agent = settings.directory / "agent.py"
    agent.write_bytes(AGENT)
    return LocalCloud(settings, ProcessHost(settings.cloud_dir, agent), "under test")


def inside(machine_id: str, site: Site, *command: str) -> str:
    """Run a command in a container node and return what it wrote."""
    pid = (site.cloud.settings.cloud_dir / machine_id.partition(".")[0] / "machine.pid").read_text().split()[0]
    first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    entered = ["nsenter", f"--target={first}", "--mount", "--root", "--net", "--pid", "--uts", "--ipc", *command]
    done = subprocess.run(entered, capture_output=True, text=True, check=False, timeout=BOOT_S)
    return done.stdout + done.stderr


def test_an_order_becomes_a_machine_that_joins_with_its_own_token(site: Site) -> None:
    """Create returns at once; the machine boots, reads its user-data, and runs the very agent that was promised."""
    provider = site.cloud.provider()

    machine = provider.create(site.order("small-1"))
    said = site.gateway.hello_of("small-1")

    assert machine.state is MachineState.PENDING
    assert (machine.node, machine.generation, machine.token) == ("small-1", 1, site.order("small-1").token)
    assert said["token"] == "once-small-1-1"
    (listed,) = provider.machines("ours")
    assert (listed.id, listed.state, listed.address) == (machine.id, MachineState.RUNNING, machine.address)


def test_a_container_boots_a_real_system(site: Site) -> None:
    """systemd is process 1, cloud-init ends well, no unit has failed, and the address is the one that was announced."""
    if site.cloud.form != "container":
        pytest.skip("a process node is not a system")
    machine = site.cloud.provider().create(site.order("small-1"))

    assert site.gateway.hello_of("small-1")["first"] == "systemd"
    assert "status: done" in inside(machine.id, site, "cloud-init", "status", "--wait")
    assert inside(machine.id, site, "systemctl", "--failed", "--plain", "--no-legend") == ""
    assert inside(machine.id, site, "hostname").strip() == "small-1"
    assert machine.address in inside(machine.id, site, "ip", "-4", "address", "show", "host0")


def test_containers_reach_each_other_and_this_host_only(site: Site) -> None:
    """Nodes know each other by name; there is no way to any other network."""
    if site.cloud.form != "container":
        pytest.skip("process nodes share this computer's network")
    provider = site.cloud.provider()
    one, two = (provider.create(site.order(name)) for name in ("small-1", "small-2"))
    for machine in (one, two):
        site.gateway.hello_of(machine.node)
    inside(two.id, site, "cloud-init", "status", "--wait")
    call = "import socket,sys; s=socket.socket(); s.settimeout(5); print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))"

    assert inside(one.id, site, "python3", "-c", call, "small-2", "22").strip() == "0"
    assert inside(one.id, site, "python3", "-c", call, "198.51.100.1", "80").strip() == str(errno.ENETUNREACH)
    with socket.create_connection((two.address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"


def test_the_same_order_twice_makes_one_machine(site: Site) -> None:
    """Also when both are sent at the same moment, by threads with drivers of their own."""
    provider = site.cloud.provider()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(provider.create, [site.order("small-1")] * 4))

    assert len({machine.id for machine in made}) == 1
    assert len(provider.machines("ours")) == 1
    site.gateway.hello_of("small-1")
    assert site.gateway.heard == []


def test_a_cloud_without_client_tokens_is_asked_first(site: Site) -> None:
    """Then the machine that an earlier, lost call made is found by the token among its tags."""
    kind = replace(DIALECTS["local"], token=None)
    provider = LibcloudProvider("bare", site.cloud.driver, sizes=site.cloud.provider().sizes(), dialect=kind)

    first = provider.create(site.order("small-1"))

    assert provider.create(site.order("small-1")).id == first.id
    assert len(provider.machines("ours")) == 1


def test_nothing_is_launched_at_an_unknown_price(site: Site) -> None:
    """A price of nothing is a price that nobody looked up."""
    (small, _) = site.cloud.provider().sizes()
    free = (replace(small, price_ucr_per_hour=0),)
    provider = LibcloudProvider("free", site.cloud.driver, sizes=free, dialect=DIALECTS["local"])

    with pytest.raises(PriceUnknown, match="small"):
        provider.create(site.order("small-1"))

    assert provider.machines("ours") == ()


def test_a_new_generation_is_a_new_machine(site: Site) -> None:
    """A name is free again once its machine is gone, and an id is never used twice."""
    provider = site.cloud.provider()
    first = provider.create(site.order("small-1"))
    provider.destroy(first.id)

    second = provider.create(site.order("small-1", generation=2))
    provider.destroy(first.id)

    assert [machine.id for machine in provider.machines("ours")] == [second.id]
    assert second.id != first.id


def test_a_gateway_that_starts_again_finds_its_machines(site: Site) -> None:
    """A provider made anew, over the same directory, sees them with their tags and can end them."""
    machine = site.cloud.provider().create(site.order("small-1"))
    site.gateway.hello_of("small-1")

    again = opened(site.cloud.settings).provider()

    (found,) = again.machines("ours")
    assert (found.id, found.token, found.created_at) == (machine.id, machine.token, machine.created_at)
    again.destroy(found.id)
    assert again.machines("ours") == ()


KILLED = """
import json, os, signal, sys
from dataclasses import dataclass, fields
from pathlib import Path
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.node import NodeOrder
from gateway.settings import Settings
from tests.contract.test_provider import opened

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

settings = Settings.model_validate_json(sys.argv[1])
order, moment = NodeOrder(*json.loads(sys.argv[2])), sys.argv[3]
cloud = opened(settings)
kind = type(cloud.host)

@dataclass(frozen=True)
class Dying(kind):
    def furnish(self, instance, taken):
        made = super().furnish(instance, taken)
        return die() if moment == "furnishing" else made
    def start(self, instance):
        if moment == "recorded":
            die()
        super().start(instance)
        die()

host = Dying(**{field.name: getattr(cloud.host, field.name) for field in fields(kind)})
LocalCloud(settings, host, "dying").provider().create(order)
"""


def killed_while_creating(order: NodeOrder, site: Site, moment: str) -> None:
    """Run a create call in another process that is killed at ``moment``."""
    fields = json.dumps([order.cluster, order.node, order.generation, order.size, order.user_data])
    command = [sys.executable, "-c", KILLED, site.cloud.settings.model_dump_json(), fields, moment]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["furnishing", "recorded", "started"])
def test_a_killed_gateway_leaves_only_what_can_be_found_again(site: Site, moment: str) -> None:
    """kill -9 in the middle of a create call: the same order then leads to one machine that boots."""
    order = site.order("small-1")
    killed_while_creating(order, site, moment)
    provider = site.cloud.provider()

    listed = provider.machines("ours")
    machine = provider.create(order)

    assert len(listed) == (0 if moment == "furnishing" else 1)
    assert {each.id for each in listed} <= {machine.id}
    assert site.gateway.hello_of("small-1")["token"] == "once-small-1-1"


def test_a_half_made_machine_can_be_destroyed(site: Site) -> None:
    """What was recorded but never started costs money, too."""
    killed_while_creating(site.order("small-1"), site, "recorded")
    provider = site.cloud.provider()
    (machine,) = provider.machines("ours")

    provider.destroy(machine.id)

    assert provider.machines("ours") == ()
    assert site.traces() == []


def test_destroying_twice_is_no_error_and_leaves_nothing(site: Site) -> None:
    """Even the children that a node detached from itself are gone when destroy returns."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")

    provider.destroy(machine.id)

    assert site.traces() == []
    provider.destroy(machine.id)
    provider.destroy("never.was")


def test_only_the_own_cluster_is_listed(site: Site) -> None:
    """Two gateways may share one cloud."""
    provider = site.cloud.provider()
    ours = provider.create(site.order("small-1"))
    theirs = provider.create(site.order("small-2", cluster="theirs"))

    assert [machine.id for machine in provider.machines("ours")] == [ours.id]
    assert [machine.id for machine in provider.machines("theirs")] == [theirs.id]


def test_six_machines_at_once(site: Site) -> None:
    """They are ordered, boot, join and end side by side, each with an address of its own."""
    provider = site.cloud.provider()
    names = [f"small-{number}" for number in range(1, 7)]

    with ThreadPoolExecutor(6) as pool:
        machines = list(pool.map(provider.create, map(site.order, names)))
        tokens = {site.gateway.hello_of(name)["token"] for name in names}
        list(pool.map(provider.destroy, [machine.id for machine in machines]))

    assert tokens == {f"once-{name}-1" for name in names}
    if site.cloud.form == "container":
        assert len({machine.address for machine in machines}) == 6
    assert provider.machines("ours") == ()


def test_no_room_is_said_as_such(site: Site) -> None:
    """A size that is used up is a matter of capacity, not of the request; other sizes are still to be had."""
    provider = site.cloud.provider()
    provider.create(site.order("rare-1", size="rare"))

    with pytest.raises(Capacity, match="rare"):
        provider.create(site.order("rare-2", size="rare"))

    assert provider.create(site.order("small-1")).node == "small-1"
    with pytest.raises(CloudInvalid, match="huge"):
        provider.create(site.order("huge-1", size="huge"))


def test_sizes_have_prices_in_micro_credits(site: Site) -> None:
    """1.25 credits an hour are 1,250,000 micro-credits."""
    small, _ = site.cloud.provider().sizes()

    assert (small.name, small.cores, small.memory_mb, small.gpus) == ("small", 1, 512, 0)
    assert small.price_ucr_per_hour == 1_250_000 == 1.25 * CREDIT


def test_the_console_tells_what_the_machine_said(site: Site) -> None:
    """It is plain text, without a terminal's control sequences, and is empty for a machine that is gone."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")

    deadline = time.monotonic() + BOOT_S
    while not re.search(r"hello from small-1|Welcome to .*Debian", text := provider.console(machine.id)):
        assert time.monotonic() < deadline, text

    assert "\x1b" not in text
    provider.destroy(machine.id)
    assert provider.console(machine.id) == ""


def test_a_machine_that_ends_by_itself_stays_listed_as_stopped(site: Site) -> None:
    """A stopped machine still costs money in most clouds: it is listed until somebody destroys it."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")
    folder = site.cloud.settings.cloud_dir / "small-1"
    (folder / "identity.json").touch()
    pid = int((folder / "machine.pid").read_text().split()[0])

    # A container ends with its first process, as one that is powered off from inside does.
    first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0] if site.cloud.form == "container" else pid
    os.kill(int(first), signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    deadline = time.monotonic() + BOOT_S
    while [each.state for each in provider.machines("ours")] != [MachineState.STOPPED]:
        assert time.monotonic() < deadline
    assert provider.machines("ours")[0].id == machine.id


def test_the_driver_is_an_ordinary_libcloud_driver(site: Site) -> None:
    """Found by name, it lists, creates, reboots and destroys as any other."""
    from libcloud.compute.providers import get_driver  # noqa: PLC0415 - what a user of libcloud would write

    register()
    driver = get_driver(PROVIDER)(site.cloud.settings.cloud_dir, node_host=site.cloud.host, sizes=SIZES)
    size, image = driver.list_sizes()[0], driver.list_images()[0]

    node = driver.create_node(name="small-1", size=size, image=image, ex_userdata=site.order("small-1").user_data)
    site.gateway.hello_of("small-1")
    assert driver.reboot_node(node)
    site.gateway.hello_of("small-1")

    assert [each.name for each in driver.list_nodes()] == ["small-1"]
    assert (driver.list_nodes()[0].size.ram, driver.list_locations()[0].driver) == (512, driver)
    assert driver.destroy_node(node)
    assert driver.list_nodes() == []
