"""Hosts that are already there behind the provider's contract: real systems, reached over real SSH."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import test_provider as contract
from bmc import PASSWORD, USER, redfish_bmc
from libcloud.common.exceptions import BaseHTTPError
from metal import Metal, MetalOutlet, metal_in, wait_for_login
from provider_sites import BOOT_S, Gateway, Handler, Site, nothing_left  # noqa: F401 - the last is a fixture
from test_provider import (  # noqa: F401 - the contract's own tests, run here on this file's site
    test_a_new_generation_is_a_new_machine,
    test_destroying_twice_is_no_error_and_leaves_nothing,
    test_only_the_own_cluster_is_listed,
    test_sizes_have_prices_in_micro_credits,
    test_the_same_order_twice_makes_one_machine,
)

from gateway.errors import Capacity, CloudAuth, CloudInvalid, CloudTransient, InvalidRequest, SetupError
from gateway.host_settings import HostSettings
from gateway.provisioning.host_checks import findings, standings
from gateway.provisioning.host_driver import HostDriver
from gateway.provisioning.hosts import open_hosts
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.node import Machine, MachineState, Size
from gateway.ssh.authority import Authority, make_private_key

pytestmark = pytest.mark.root

BMC_ID = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
AUTHORITY = Authority(make_private_key())
SIZES = (Size("small", 1, 512, 0, 1_250_000), Size("rare", 2, 512, 0, 6_000_000))


@dataclass(frozen=True)
class Hosts:
    """What the contract's tests need of a cloud."""

    metal: list[Metal]
    folder: Path
    form: str = "host"

    def provider(self, authority: Authority = AUTHORITY, **changed: HostSettings) -> LibcloudProvider:
        """A new one, as a gateway that starts makes it; ``changed``: hosts that are described otherwise."""
        known = {host.name: host.settings("rare" if host.name == "c" else "small") for host in self.metal}
        hosts = list({**known, **changed}.values())
        return open_hosts("hosts", hosts, SIZES, authority=authority, folder=self.folder)

    def driver(self) -> HostDriver:
        made = self.provider()._factory()
        assert isinstance(made, HostDriver)
        return made


class HostSite(Site):
    """The contract's site; its machines leave their traces on hosts."""

    def traces(self) -> list[str]:
        """What is not as it was at the first call."""
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda host: host.changes(AUTHORITY), self.cloud.metal)
            return [line for changes in found for line in changes]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSite]:
    """Three hosts that trust the authority: a and b are small, c is rare."""
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    folder = tmp_path_factory.mktemp("hosts")
    try:
        with metal_in(folder / "metal", cache, ["a", "b", "c"], AUTHORITY.public_line) as metal:
            wait_for_login(metal, AUTHORITY)
            yield from _with_gateway(Hosts(metal, folder / "notes"))
    except SetupError as error:
        pytest.skip(f"no containers here: {error.detail}")


def _with_gateway(hosts: Hosts) -> Iterator[HostSite]:
    server = ThreadingHTTPServer((hosts.metal[0].cloud.address, 0), Handler)
    server.gateway = gateway = Gateway(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    site = HostSite("hosts", hosts, gateway, hosts.provider)  # type: ignore[arg-type]
    assert site.traces() == []
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_heard(request: pytest.FixtureRequest) -> None:
    """Hellos of earlier stories do not count."""
    if "site" in request.fixturenames:
        request.getfixturevalue("site").gateway.heard.clear()


def state_of(provider: LibcloudProvider, machine: Machine, wanted: MachineState) -> Machine:
    """Wait until the provider lists it in that state."""
    deadline = time.monotonic() + BOOT_S
    while True:
        (found,) = (each for each in provider.machines("ours") if each.id == machine.id)
        if found.state is wanted:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.mark.parametrize(
    "story",
    [
        contract.test_a_cloud_without_client_tokens_is_asked_first,
        contract.test_no_room_is_said_as_such,
        contract.test_nothing_is_launched_at_an_unknown_price,
    ],
    ids=lambda story: story.__name__.removeprefix("test_"),
)
def test_more_of_the_contract(site: HostSite, story: Callable[[Site], None]) -> None:
    """Its tests that name the clouds they run on."""
    story(site)


def test_an_order_takes_a_host_that_joins_with_its_own_token(site: HostSite) -> None:
    """The host stays what it is: the agent runs in a unit of its own, and its words are in the host's journal."""
    provider = site.cloud.provider()

    machine = provider.create(site.order("small-1"))
    said = site.gateway.hello_of("small-1")

    assert machine.state is MachineState.PENDING
    assert (said["token"], said["first"]) == ("once-small-1-1", "systemd")
    listed = state_of(provider, machine, MachineState.RUNNING)
    assert listed.address in {host.address for host in site.cloud.metal}
    assert "hello from small-1" in provider.console(machine.id)
    assert site.traces() != []


def test_the_invitation_is_private_and_in_no_command_line(site: HostSite) -> None:
    """Only root of the host can read the one-time token, and nothing shows it while it is put there."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")
    (host,) = (each for each in site.cloud.metal if each.address == machine.address)

    with host.login(AUTHORITY) as session:
        modes = session.run(("stat", "-c", "%a %U", "/etc/burst/join.json", "/var/lib/burst")).text
        journal = session.run(("journalctl", "--no-pager")).text

    assert modes.splitlines() == ["600 root", "700 root"]
    assert "once-small-1" not in journal


def test_hosts_are_taken_one_by_one_and_given_back(site: HostSite) -> None:
    """Two orders at once take two hosts; a third finds none free until one is given back."""
    provider = site.cloud.provider()
    with ThreadPoolExecutor(2) as pool:
        machines = list(pool.map(provider.create, map(site.order, ("small-1", "small-2"))))
    assert len({machine.address for machine in machines}) == 2

    with pytest.raises(Capacity, match="of 2 hosts of size small none is free"):
        provider.create(site.order("small-3"))
    provider.destroy(machines[0].id)

    assert provider.create(site.order("small-3")).address == machines[0].address


def test_a_gateway_that_starts_again_finds_its_hosts(site: HostSite, tmp_path: Path) -> None:
    """Also one that has lost its notes: the lease is on the host."""
    machine = site.cloud.provider().create(site.order("small-1"))
    site.gateway.hello_of("small-1")

    again = replace(site.cloud, folder=tmp_path / "none").provider()

    (found,) = again.machines("ours")
    assert (found.id, found.token, found.created_at) == (machine.id, machine.token, machine.created_at)
    again.destroy(found.id)
    assert again.machines("ours") == ()


@pytest.mark.parametrize("cut", ["take", "begin"])
def test_a_create_call_that_was_cut_off_is_completed(site: HostSite, monkeypatch, cut: str) -> None:
    """The same order goes on where the first try ended, on the same host."""
    from gateway.provisioning import host_lease  # noqa: PLC0415 - its functions are where the call is cut

    real = getattr(host_lease, cut)

    def dying(session, what):
        if cut == "take":
            real(session, what)
        raise KeyboardInterrupt

    monkeypatch.setattr(host_lease, cut, dying)
    with pytest.raises(KeyboardInterrupt):
        site.cloud.provider().create(site.order("small-1"))
    monkeypatch.undo()
    provider = site.cloud.provider()
    (half,) = provider.machines("ours")

    machine = provider.create(site.order("small-1"))

    assert machine.id == half.id
    assert site.gateway.hello_of("small-1")["token"] == "once-small-1-1"


def test_another_gateway_finds_no_free_host_and_ends_none(site: HostSite, tmp_path: Path) -> None:
    """A lease that is not its own is not listed, cannot be ended and is in the way."""
    machine = site.cloud.provider().create(site.order("rare-1", size="rare"))
    stranger = replace(site.cloud, folder=tmp_path / "theirs").driver()
    stranger._owner = "another gateway"

    size = stranger.list_sizes()[1]
    assert stranger.list_nodes() == []
    with pytest.raises(BaseHTTPError, match="none is free"):
        stranger.create_node("rare-9", size, ex_userdata=site.order("rare-9").user_data)

    assert [each.id for each in site.cloud.provider().machines("ours")] == [machine.id]


def test_a_host_with_another_key_is_refused(site: HostSite) -> None:
    """Nothing is put on it, and the reason is told; other hosts of the size are used instead."""
    (a, _, c) = site.cloud.metal
    swapped = c.settings("rare").model_copy(update={"host_key": a.host_key})

    with pytest.raises(CloudAuth, match="another host key"):
        site.cloud.provider(c=swapped).create(site.order("rare-1", size="rare"))

    swapped = a.settings("small").model_copy(update={"host_key": c.host_key})
    assert site.cloud.provider(a=swapped).create(site.order("small-1")).address != a.address


def test_a_user_who_may_become_root_will_do(site: HostSite) -> None:
    """By sudo, without a password: root need not be let in."""
    (_, _, c) = site.cloud.metal
    provider = site.cloud.provider(c=c.settings("rare").model_copy(update={"user": "debian"}))

    machine = provider.create(site.order("rare-1", size="rare"))
    assert site.gateway.hello_of("rare-1")["token"] == "once-rare-1-1"
    provider.destroy(machine.id)

    assert provider.machines("ours") == ()
    assert site.traces() == []


def test_a_gateway_that_no_host_trusts_is_told(site: HostSite) -> None:
    """With what is to be done."""
    with pytest.raises(CloudAuth, match="refuses the login"):
        site.cloud.provider(Authority(make_private_key())).create(site.order("small-1"))


def test_a_host_without_slurm_is_passed_over(site: HostSite) -> None:
    """What is missing is said."""
    (_, _, c) = site.cloud.metal
    with c.login(AUTHORITY) as session:
        session.run(("mv", "/usr/sbin/slurmd", "/usr/sbin/slurmd.away"))
        try:
            with pytest.raises(Capacity, match="c: slurmd is not installed"):
                site.cloud.provider().create(site.order("rare-1", size="rare"))
        finally:
            session.run(("mv", "/usr/sbin/slurmd.away", "/usr/sbin/slurmd"))


def test_a_host_with_less_than_its_size_promises_is_set_aside(site: HostSite, tmp_path: Path) -> None:
    """No lease is put on it, now or at the next order, until it is looked at and found whole."""
    (_, _, c) = site.cloud.metal
    big = (SIZES[0], replace(SIZES[1], cores=512))
    host = c.settings("rare")
    provider = open_hosts("hosts", [host], big, authority=AUTHORITY, folder=tmp_path)
    for number in (1, 2):
        with pytest.raises(Capacity, match=r"c: it has .* cores of the 512 that its size promises"):
            provider.create(site.order(f"rare-{number}", size="rare"))
    assert next(each.health for each in standings(provider)).startswith("set aside: it has")
    assert [(each.check, each.ok) for each in findings(provider)] == [
        ("ssh", True),
        ("sudo", True),
        ("inventory", False),
    ]

    whole = open_hosts("hosts", [host], SIZES, authority=AUTHORITY, folder=tmp_path)
    assert ("use", True) in [(each.check, each.ok) for each in findings(whole)]
    whole.destroy(whole.create(site.order("rare-3", size="rare")).id)


def test_hosts_are_shown_and_checked(site: HostSite) -> None:
    """Which node each is, whether by this gateway's lease, and what is wrong with it."""
    (a, _, c) = site.cloud.metal
    swapped = c.settings("rare").model_copy(update={"host_key": a.host_key})
    provider = site.cloud.provider(c=swapped)
    machine = provider.create(site.order("small-1"))

    shown = {each.host: each for each in standings(provider)}
    checked = {(each.host, each.check): each for each in findings(provider)}

    taken = next(each for each in shown.values() if each.lease)
    assert (taken.lease, taken.health, taken.power) == ("small-1", "ok", "not switched")
    assert machine.address in taken.address
    assert "another host key" in shown["c"].health
    assert checked["c", "ssh"].ok is False
    assert checked["c", "inventory"].ok is None
    assert checked["a", "inventory"].ok is True


def test_a_host_that_is_off_is_switched_on_for_an_order_and_off_again(site: HostSite, tmp_path: Path) -> None:
    """By its controller; tests/contract/test_woken_hosts.py has what may go wrong."""
    (_, _, c) = site.cloud.metal
    c.shut_down()
    outlet = MetalOutlet(metal=c)
    with redfish_bmc(tmp_path / "bmc", {BMC_ID: outlet}) as bmc:
        power = {"kind": "redfish", "url": bmc.url, "ca_file": str(bmc.ca_file)}
        host = c.settings("rare", power=power)
        login = {"user": USER, "password": PASSWORD}
        provider = open_hosts("hosts", [host], SIZES, authority=AUTHORITY, folder=tmp_path, secret=login)
        _until(lambda: not c.on)
        assert [each.power for each in standings(provider)] == ["off"]

        machine = provider.create(site.order("rare-1", size="rare"))
        assert site.gateway.hello_of("rare-1")["token"] == "once-rare-1-1"
        provider.destroy(machine.id)

        _until(lambda: not provider.machines("ours"))
        assert not c.on
        assert outlet.asked == ["On"]
    c.switch_on()
    wait_for_login([c], AUTHORITY)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOOT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_silent_host_keeps_its_node(site: HostSite) -> None:
    """Its lease is remembered: it is neither free nor gone, and ending it is tried again."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("rare-1", size="rare"))
    site.gateway.hello_of("rare-1")
    (_, _, c) = site.cloud.metal
    silent = c.settings("rare").model_copy(update={"port": 9})

    later = site.cloud.provider(c=silent)

    (listed,) = later.machines("ours")
    assert (listed.id, listed.state) == (machine.id, MachineState.PENDING)
    with pytest.raises(Capacity):
        later.create(site.order("rare-2", size="rare"))
    with pytest.raises(CloudTransient, match="does not answer"):
        later.destroy(machine.id)
    assert [each.id for each in later.machines("ours")] == [machine.id]


def test_a_node_that_ended_by_itself_is_listed_as_stopped(site: HostSite) -> None:
    """It holds its host until it is destroyed."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")
    (host,) = (each for each in site.cloud.metal if each.address == machine.address)

    with host.login(AUTHORITY) as session:
        session.run(("systemctl", "stop", "burst-node"))

    state_of(provider, machine, MachineState.STOPPED)


def test_the_owner_takes_the_host_back(site: HostSite) -> None:
    """One script on the host ends the node and removes everything, gateway or not."""
    provider = site.cloud.provider()
    machine = provider.create(site.order("small-1"))
    site.gateway.hello_of("small-1")
    (host,) = (each for each in site.cloud.metal if each.address == machine.address)

    with host.login(AUTHORITY) as session:
        done = session.run(("sh", "/var/lib/burst/release"))

    assert (done.code, done.err) == (0, b"")
    assert provider.machines("ours") == ()
    assert site.traces() == []


def test_user_data_that_invites_nobody_is_refused_before_a_host_is_taken(site: HostSite) -> None:
    """There is nothing to start."""
    order = replace(site.order("small-1"), user_data="#cloud-config\nruncmd: [id]\n")
    provider = site.cloud.provider()

    with pytest.raises(CloudInvalid, match="writes no /etc/burst/join"):
        provider.create(order)

    assert provider.machines("ours") == ()


def test_an_inventory_with_a_mistake_is_refused(tmp_path: Path) -> None:
    """Before any host is connected to."""
    good = HostSettings(name="a", address="192.0.2.1", host_key=AUTHORITY.public_line, size="small")

    def opened(*hosts: HostSettings) -> None:
        open_hosts("hosts", hosts, SIZES, authority=AUTHORITY, folder=tmp_path)

    with suppress(ValueError):
        opened(good)
    with pytest.raises(SetupError, match="of size huge, which is none"):
        opened(good.model_copy(update={"size": "huge"}))
    with pytest.raises(SetupError, match="two hosts have one name"):
        opened(good, good)
    with pytest.raises(InvalidRequest, match="host key of 192"):
        opened(good.model_copy(update={"host_key": "ssh-ed25519 nonsense"}))
