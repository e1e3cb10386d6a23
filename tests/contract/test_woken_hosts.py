"""Hosts that are off until they are wanted: real systems, a Redfish controller that switches them, real SSH."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import test_provider as contract
from bmc import PASSWORD, USER, RedfishBmc, redfish_bmc
from metal import Metal, MetalOutlet, metal_in, wait_for_login
from provider_sites import Gateway, Handler, Site, nothing_left  # noqa: F401 - the last is a fixture
from test_provider import (  # noqa: F401 - the contract's own tests, run here on this file's site
    test_a_new_generation_is_a_new_machine,
    test_destroying_twice_is_no_error_and_leaves_nothing,
    test_only_the_own_cluster_is_listed,
    test_the_same_order_twice_makes_one_machine,
)

from gateway.errors import Capacity, SetupError
from gateway.host_settings import HostSettings
from gateway.provisioning.host_errands import Patience
from gateway.provisioning.host_notes import Stage
from gateway.provisioning.hosts import HostProvider, open_hosts
from gateway.provisioning.node import Machine, MachineState, Size
from gateway.ssh.authority import Authority, make_private_key

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(900)]

AUTHORITY = Authority(make_private_key())
SIZES = (Size("small", 1, 512, 0, 1_250_000), Size("rare", 2, 512, 0, 6_000_000))
SECRET = {"user": USER, "password": PASSWORD}
PATIENCE = Patience(switch=30, shutdown=90, look=0.2, login=5, silent=10, again=0.5, power=0.1)
IDS = {
    "a": "27946b59-9e44-4fa7-8e91-f3527a1ef094",
    "b": "0f3c5a11-2b6c-4d7e-9a41-6d1f1b8a2c33",
    "c": "5b0a6f52-74c1-4d0e-8f0c-1f2d3e4c5b6a",
}
LONG_S = 240


@dataclass
class Rack:
    """Three machines behind one controller, as an administrator describes them."""

    metal: dict[str, Metal]
    bmc: RedfishBmc
    folder: Path
    form: str = "host"
    opened: dict[str, HostProvider] = field(default_factory=dict)

    def described(self, name: str, **more: object) -> HostSettings:
        power = {"kind": "redfish", "url": self.bmc.url, "system": IDS[name], "ca_file": str(self.bmc.ca_file)}
        size = "rare" if name == "c" else "small"
        return self.metal[name].settings(size, **{"power": power, "boot_s": LONG_S, **more})

    def provider(
        self,
        folder: Path | None = None,
        sizes: tuple[Size, ...] = SIZES,
        secret: dict[str, str] = SECRET,
        **more: object,
    ) -> HostProvider:
        """That of one gateway: two of one folder would do its errands twice. ``more``: said of every host."""
        hosts = [self.described(name, **more) for name in self.metal]
        place = folder or self.folder
        key = repr((place, sizes, secret, more))
        if key not in self.opened:
            self.opened[key] = open_hosts(
                "hosts", hosts, sizes, authority=AUTHORITY, folder=place, secret=secret, patience=PATIENCE
            )
        return self.opened[key]

    def outlet(self, name: str) -> MetalOutlet:
        outlet = self.bmc.outlets[IDS[name]]
        assert isinstance(outlet, MetalOutlet)
        return outlet


class RackSite(Site):
    """The contract's site; between two stories every host is off."""

    cloud: Rack  # type: ignore[assignment]

    def listed(self, *machine_ids: str, cluster: str = "ours") -> tuple[Machine, ...]:
        """As every site's; a host takes the time of a boot and a shutdown."""
        until(lambda: {machine.id for machine in self.provider().machines(cluster)} == set(machine_ids))
        return self.provider().machines(cluster)

    def traces(self) -> list[str]:
        """Hosts that are on, and notes that say more than that a host rests."""
        found = [f"{name} is on" for name, metal in self.cloud.metal.items() if metal.on]
        notes = self.cloud.provider().errands.notes
        held = ((name, notes.read(name)) for name in self.cloud.metal)
        return found + [f"{name}: {note}" for name, note in held if note is not None and note.stage is not Stage.UNFIT]


@pytest.fixture(name="site", scope="module")
def rack_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RackSite]:
    """Three hosts that trust the authority and are off: a and b are small, c is rare."""
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    folder = tmp_path_factory.mktemp("rack")
    try:
        with metal_in(folder / "metal", cache, list(IDS), AUTHORITY.public_line) as metal:
            wait_for_login(metal, AUTHORITY)
            for host in metal:
                host.shut_down()
            until(lambda: not any(host.on for host in metal))
            outlets = {IDS[host.name]: MetalOutlet(metal=host) for host in metal}
            with redfish_bmc(folder / "bmc", outlets) as bmc, listening(metal[0].cloud.address) as gateway:
                rack = Rack({host.name: host for host in metal}, bmc, folder / "notes")
                yield RackSite("hosts", rack, gateway, rack.provider)  # type: ignore[arg-type]
    except SetupError as error:
        pytest.skip(f"no containers here: {error.detail}")


@pytest.fixture(autouse=True)
def as_it_was(site: RackSite) -> Iterator[None]:
    """No host rests, no controller fails, nobody was heard."""
    site.gateway.heard.clear()
    yield
    for name in IDS:
        outlet = site.cloud.outlet(name)
        outlet.stuck = outlet.deaf = outlet.dead = False
        outlet.asked.clear()
    site.cloud.bmc.faults.busy = False
    site.cloud.bmc.faults.released.set()
    until(lambda: not site.cloud.provider().machines("ours") and not site.cloud.provider().machines("theirs"))
    for name in IDS:
        site.cloud.provider().errands.notes.drop(name)


@contextmanager
def listening(address: str) -> Iterator[Gateway]:
    server = ThreadingHTTPServer((address, 0), Handler)
    server.gateway = gateway = Gateway(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield gateway
    server.shutdown()
    thread.join()
    server.server_close()


def until(true: Callable[[], object], within_s: float = LONG_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def listed(provider: HostProvider, machine: Machine, wanted: MachineState) -> Machine:
    """Wait until the provider lists it in that state."""
    deadline = time.monotonic() + LONG_S
    while True:
        (found,) = (each for each in provider.machines("ours") if each.id == machine.id)
        if found.state is wanted:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_no_room_is_said_as_such(site: RackSite) -> None:
    """See the contract."""
    contract.test_no_room_is_said_as_such(site)


def test_a_host_is_switched_on_for_an_order_and_off_after_it(site: RackSite) -> None:
    """The order is taken at once; the host boots, is leased, joins, and ends as it was: off."""
    provider = site.cloud.provider()

    machine = provider.create(site.order("rare-1", size="rare"))

    assert machine.state is MachineState.PENDING
    assert machine.boot_s > LONG_S
    assert site.gateway.hello_of("rare-1")["token"] == "once-rare-1-1"
    listed(provider, machine, MachineState.RUNNING)
    provider.destroy(machine.id)
    assert [each.state for each in provider.machines("ours")] in ([MachineState.TERMINATING], [])
    until(lambda: not provider.machines("ours"))
    assert not site.cloud.metal["c"].on
    assert site.cloud.outlet("c").asked == ["On"]  # and the host switched itself off


def test_a_host_that_was_on_is_not_switched_off(site: RackSite) -> None:
    """It is taken before another is woken, and left on."""
    (a, b) = (site.cloud.metal[name] for name in "ab")
    b.switch_on()
    wait_for_login([b], AUTHORITY)
    try:
        provider = site.cloud.provider()
        for host in provider.errands.sessions.hosts:
            provider.errands.sessions.forget(host)  # a minute has passed since it was found silent
        machine = provider.create(site.order("small-1"))
        assert machine.address == b.address
        assert not a.on
        provider.destroy(machine.id)
        assert provider.machines("ours") == ()
        assert b.on
    finally:
        b.cut()


def test_a_host_stays_on_where_the_settings_say_so(site: RackSite) -> None:
    """It is then taken without a boot, and not switched off by a gateway that did not switch it on."""
    provider = site.cloud.provider(switch_off="never")
    machine = provider.create(site.order("rare-1", size="rare"))
    site.gateway.hello_of("rare-1")
    try:
        provider.destroy(machine.id)
        until(lambda: not provider.machines("ours"))
        assert site.cloud.metal["c"].on
    finally:
        site.cloud.metal["c"].cut()


def test_a_node_that_is_ended_while_its_host_boots(site: RackSite) -> None:
    """It never joins, and the host is off again."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("rare-1", size="rare"))
    until(lambda: site.cloud.metal["c"].on)

    provider.destroy(machine.id)

    until(lambda: not provider.machines("ours"))
    assert not site.cloud.metal["c"].on
    assert site.gateway.heard == []


def test_a_system_that_hears_no_button_is_cut_off(site: RackSite) -> None:
    """Only after it was asked, and had its time."""
    rack = site.cloud
    provider = rack.provider()
    machine = provider.create(site.order("rare-1", size="rare"))
    site.gateway.hello_of("rare-1")
    with rack.metal["c"].login(AUTHORITY) as session:
        session.run(("systemctl", "mask", "--runtime", "poweroff.target"))
    provider.errands.patience = replace(PATIENCE, shutdown=2)

    provider.destroy(machine.id)

    until(lambda: not provider.machines("ours"))
    assert not rack.metal["c"].on
    assert rack.outlet("c").asked[-1] == "ForceOff"


def test_a_woken_host_that_loses_its_power_is_booted_to_be_put_back(site: RackSite) -> None:
    """Else the lease would lie on its disk for whoever boots it next."""
    rack = site.cloud
    provider = rack.provider()
    machine = provider.create(site.order("rare-1", size="rare"))
    site.gateway.hello_of("rare-1")
    lease = rack.metal["c"].cloud.settings.cloud_dir / "c/upper/var/lib/burst/lease.json"
    assert lease.exists()
    rack.metal["c"].cut()

    provider.destroy(machine.id)

    until(lambda: not provider.machines("ours"))
    assert not lease.exists()
    assert not rack.metal["c"].on


FAULTS: dict[str, tuple[Callable[[Rack], object], str]] = {
    "busy": (lambda rack: setattr(rack.bmc.faults, "busy", True), "c: redfish .* answers 503"),
    "hanging": (lambda rack: rack.bmc.faults.released.clear(), "c: redfish .* (no|not) answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_controller_that_does_not_answer_is_no_room(site: RackSite, fault: str) -> None:
    """With the reason, so that the next supply is asked; and no host is thought to be on."""
    arrange, words = FAULTS[fault]
    arrange(site.cloud)
    provider = site.cloud.provider()

    with pytest.raises(Capacity, match=words):
        provider.create(site.order("rare-1", size="rare"))

    assert provider.machines("ours") == ()


def test_a_wrong_password_of_a_controller_is_no_room(site: RackSite) -> None:
    """It says whose login is refused, and not with which password."""
    with pytest.raises(Capacity, match=f"c: redfish .* refuses the login of {USER}") as refused:
        site.cloud.provider(secret={"user": USER, "password": "guessed"}).create(site.order("rare-1", size="rare"))

    assert "guessed" not in refused.value.detail


@pytest.mark.parametrize(("fault", "words"), [("stuck", "the power is off, not on"), ("dead", "did not answer by SSH")])
def test_a_host_that_does_not_come_up_is_no_room(site: RackSite, fault: str, words: str) -> None:
    """The machine says so, as a cloud does that has no room after all; it is switched off, and rests."""
    rack = site.cloud
    setattr(rack.outlet("c"), fault, True)
    provider = rack.provider(boot_s=10)
    provider.errands.patience = replace(PATIENCE, switch=2)
    machine = provider.create(site.order("rare-1", size="rare"))

    failed = listed(provider, machine, MachineState.ERROR)
    assert "c: " in failed.no_room
    assert words in failed.no_room
    provider.destroy(machine.id)
    until(lambda: not provider.machines("ours"))

    assert not rack.outlet("c").is_on()
    asked = len(rack.outlet("c").asked)
    with pytest.raises(Capacity, match=words):
        provider.create(site.order("rare-2", size="rare"))
    assert len(rack.outlet("c").asked) == asked


def test_a_host_with_less_than_promised_is_set_aside(site: RackSite) -> None:
    """It is switched on once to learn that, off again, and asked no more before somebody has looked."""
    rack = site.cloud
    big = (SIZES[0], replace(SIZES[1], cores=512))
    provider = rack.provider(sizes=big)
    machine = provider.create(site.order("rare-1", size="rare"))

    failed = listed(provider, machine, MachineState.ERROR)
    assert "of the 512 that its size promises" in failed.no_room
    provider.destroy(machine.id)
    until(lambda: not provider.machines("ours"))

    assert not rack.metal["c"].on
    with pytest.raises(Capacity, match="of the 512"):
        rack.provider(sizes=big).create(site.order("rare-2", size="rare"))
    assert site.gateway.heard == []
    # The settings promise something else now.
    again = rack.provider().create(site.order("rare-3", size="rare"))
    assert again.state is MachineState.PENDING


KILLED = """
import pickle, sys
path, hosts, sizes, key, folder, secret, order = pickle.loads(bytes.fromhex(sys.argv[1]))
sys.path[:0] = path
from pathlib import Path
from gateway.host_settings import HostSettings
from gateway.provisioning.hosts import open_hosts
from gateway.provisioning.node import NodeOrder, Size
from gateway.ssh.authority import Authority
hosts = [HostSettings.model_validate_json(each) for each in hosts]
sizes, order = [Size(*each) for each in sizes], NodeOrder(**order)
made = open_hosts("hosts", hosts, sizes, authority=Authority(key), folder=Path(folder), secret=secret)
print("ordered", made.create(order).id, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("joins", [True, False], ids=["taken over", "released"])
def test_a_killed_gateway_s_hosts_are_taken_over_or_released(site: RackSite, joins: bool) -> None:
    """kill -9 while a host boots: the next gateway knows what it was switched on for."""
    rack = site.cloud
    order = site.order("rare-1", size="rare")
    facts = (
        sys.path,
        [rack.described(name).model_dump_json() for name in rack.metal],
        [astuple(size) for size in SIZES],
        AUTHORITY.private_key,
        str(rack.folder),
        SECRET,
        {name: getattr(order, name) for name in ("cluster", "node", "generation", "size", "user_data")},
    )
    command = [sys.executable, "-c", KILLED, pickle.dumps(facts).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = next(line for line in process.stdout if line.startswith("ordered")).split()[1]
        until(lambda: rack.metal["c"].on)
        process.send_signal(signal.SIGKILL)
    provider = rack.provider()

    (machine,) = provider.machines("ours")
    assert machine.id == told
    if joins:
        assert site.gateway.hello_of("rare-1")["token"] == "once-rare-1-1"
        assert provider.create(site.order("rare-1", size="rare")).id == told
    provider.destroy(machine.id)

    until(lambda: not provider.machines("ours"))
    assert not rack.metal["c"].on


def test_two_gateways_that_wake_one_host_do_not_share_it(site: RackSite, tmp_path: Path) -> None:
    """Who puts the lease on it first has it; the other's machine is no room, and its end does not switch it off."""
    rack = site.cloud
    providers = (rack.provider(), rack.provider(folder=tmp_path / "theirs"))
    for provider in providers[1:]:
        provider.owner = "theirs"
    # Both read "off" and ask for power, which is slow to come.
    rack.outlet("c").stuck = True
    orders = (site.order("rare-1", size="rare"), site.order("rare-2", size="rare"))
    machines = [provider.create(order) for provider, order in zip(providers, orders, strict=True)]
    until(lambda: rack.outlet("c").asked == ["On", "On"])
    rack.outlet("c").stuck = False
    rack.metal["c"].switch_on()

    def states() -> set[MachineState]:
        return {
            each.state
            for provider, machine in zip(providers, machines, strict=True)
            for each in provider.machines("ours")
            if each.id == machine.id
        }

    until(lambda: states() == {MachineState.RUNNING, MachineState.ERROR})
    for provider, machine in zip(providers, machines, strict=True):
        if any(each.state is MachineState.ERROR and each.id == machine.id for each in provider.machines("ours")):
            provider.destroy(machine.id)
    until(lambda: states() == {MachineState.RUNNING})
    assert rack.metal["c"].on
    for provider, machine in zip(providers, machines, strict=True):
        if any(each.id == machine.id for each in provider.machines("ours")):
            provider.destroy(machine.id)
    until(lambda: not states())
    assert not rack.metal["c"].on
