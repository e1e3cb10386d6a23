"""Virtual machines behind the provider's contract; one of the tests waits for one to boot."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from provider_sites import AGENT, Gateway, Handler

from gateway.errors import Capacity, CloudInvalid, SetupError
from gateway.provisioning import seed
from gateway.provisioning.instance import Instances
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.network import NodeNetwork
from gateway.provisioning.node import MachineState, NodeOrder, Size
from gateway.provisioning.node_image import NodeImage
from gateway.provisioning.user_data import UserData, render
from gateway.provisioning.vm_driver import open_vms

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(900)]

BOOT_S = 800
"""On a machine that does much else every instruction is translated slowly."""
SIZES = (Size("vm", 1, 512, 0, 1_000_000),)


@dataclass(frozen=True)
class Vms:
    """A cloud of virtual machines under test."""

    folder: Path
    image: NodeImage

    def provider(self) -> LibcloudProvider:
        """A new one, as a gateway that starts makes it."""
        return open_vms("vms", SIZES, most={"vm": 2}, image=self.image, folder=self.folder)

    def traces(self) -> list[str]:
        """What is left of machines: folders, processes, interfaces."""
        bridge = NodeNetwork.of(self.folder).bridge
        found = [path.name for path in self.folder.iterdir() if path.is_dir()]
        found += [path.name for path in Path("/sys/class/net").iterdir() if bridge[-6:] in path.name]
        return found + [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if bridge in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


class SeedHandler(Handler):
    """GET gives a machine's seed or the agent, POST is a hello."""

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        if not self.path.startswith(seed.SEED_PATH):
            self._answer(AGENT)
            return
        address, name = self.path.removeprefix(seed.SEED_PATH).split("/")
        content = seed.read(self.server.folder, address, name)  # type: ignore[attr-defined]
        self._answer(content) if content is not None else self.send_error(404)


@contextmanager
def gateway_for(vms: Vms) -> Iterator[Gateway]:
    """A gateway that listens on the machines' own bridge."""
    network = NodeNetwork.of(vms.folder)
    network.up()
    with ThreadingHTTPServer((str(network.gateway), 0), SeedHandler) as server:
        server.gateway = gateway = Gateway(server)  # type: ignore[attr-defined]
        server.folder = vms.folder  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield gateway
        server.shutdown()
        thread.join()


def order(node: str, *, generation: int = 1, url: str = "http://192.0.2.1:1") -> NodeOrder:
    data = UserData(
        node, url, f"once-{node}", f"{url}/node-agent.py", sha256(AGENT).hexdigest(), "burst", 1, "ssh-ed25519 A"
    )
    return NodeOrder("ours", node, generation, "vm", render(data))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Vms:
    """With an image that is built once, and kept."""
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    vms = Vms(tmp_path_factory.mktemp("vms"), NodeImage(cache, "trixie", (), kernel=True))
    try:
        vms.provider()
    except SetupError as error:
        pytest.skip(f"no virtual machines here: {error.detail}")
    return vms


@pytest.fixture
def vms(built: Vms) -> Iterator[Vms]:
    """Afterwards every machine is destroyed and must have left no trace."""
    yield built
    for machine in built.provider().machines("ours"):
        built.provider().destroy(machine.id)
    assert built.traces() == []


def test_a_machine_is_a_process_that_a_new_gateway_finds(vms: Vms) -> None:
    """Listed with its tags and its address by whoever looks into the folder; ended twice without an error."""
    machine = vms.provider().create(order("vm-1"))

    again = vms.provider()
    (found,) = again.machines("ours")

    assert (found.id, found.token, found.state) == (machine.id, order("vm-1").token, MachineState.RUNNING)
    assert found.address == machine.address
    assert vms.traces() != []
    again.destroy(found.id)
    again.destroy(found.id)
    assert vms.traces() == []


def test_the_same_order_twice_makes_one_machine(vms: Vms) -> None:
    """Also at the same moment."""
    provider = vms.provider()

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(provider.create, [order("vm-1")] * 3))

    assert len({machine.id for machine in made}) == 1
    assert len(provider.machines("ours")) == 1


def test_room_and_sizes(vms: Vms) -> None:
    """No more machines than the settings allow, and of known sizes only; each has an address of its own."""
    provider = vms.provider()
    machines = [provider.create(order(name)) for name in ("vm-1", "vm-2")]

    with pytest.raises(Capacity, match="all 2 machines of size vm"):
        provider.create(order("vm-3"))
    with pytest.raises(CloudInvalid):
        provider.create(NodeOrder("ours", "big-1", 1, "big", order("vm-1").user_data))
    assert len({machine.address for machine in machines}) == 2
    provider.destroy(machines[0].id)
    assert [machine.node for machine in provider.machines("ours")] == ["vm-2"]


def test_the_address_of_the_seed_is_in_no_command_line(vms: Vms) -> None:
    """Who can list processes cannot read user-data: qemu reads the address from a private file."""
    vms.provider().create(order("vm-1"))
    (instance,) = Instances(vms.folder)
    address = (instance.folder / "seed-address").read_text()

    lines = [_text(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    readable = [path for path in instance.folder.rglob("*") if path.stat().st_mode & stat.S_IROTH]

    assert any("-smbios\0file=smbios.bin" in line for line in lines)
    assert not any(address in line for line in lines)
    assert not any(address.encode() in path.read_bytes() for path in readable if path.is_file())


def test_user_data_that_invites_nobody_makes_a_failed_machine(vms: Vms) -> None:
    """It is listed, because it is there, and its console says why it never ran."""
    provider = vms.provider()
    machine = provider.create(NodeOrder("ours", "vm-1", 1, "vm", "#cloud-config\n{}\n"))

    (found,) = provider.machines("ours")

    assert found.state is MachineState.ERROR
    assert "writes no /etc/burst/join.json" in provider.console(machine.id)


def test_a_machine_boots_reads_its_seed_and_joins(vms: Vms) -> None:
    """Its own kernel starts systemd, cloud-init fetches the seed over HTTP, and the promised agent runs."""
    with gateway_for(vms) as gateway:
        machine = vms.provider().create(order("vm-1", url=gateway.url))

        with gateway.news:
            assert gateway.news.wait_for(lambda: gateway.heard, BOOT_S), vms.provider().console(machine.id)

        assert gateway.heard == [{"node": "vm-1", "token": "once-vm-1", "first": "systemd"}]
