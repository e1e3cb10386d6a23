"""What every node provider must do, run on the local cloud in both its forms, on EC2's protocol and on OpenStack."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from api_server import ApiServer
from provider_sites import BOOT_S, BOOTING, EVERY, FAR, LOCAL, SIZES, Site, cloud_site, nothing_left, opened

from gateway.errors import Ambiguous, Capacity, CloudAuth, CloudInvalid, PriceUnknown
from gateway.provisioning import ec2
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.local_driver import PROVIDER, register
from gateway.provisioning.node import Machine, MachineState, NodeOrder
from gateway.settings import CREDIT

__all__ = ["cloud_site", "nothing_left"]

on_local = pytest.mark.parametrize("site", LOCAL, indirect=True, scope="module")
on_booting = pytest.mark.parametrize("site", BOOTING, indirect=True, scope="module")


def inside(machine_id: str, site: Site, *command: str) -> str:
    """Run a command in a container node and return what it wrote."""
    pid = (site.cloud.settings.cloud_dir / machine_id.partition(".")[0] / "machine.pid").read_text().split()[0]
    first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    entered = ["nsenter", f"--target={first}", "--mount", "--root", "--net", "--pid", "--uts", "--ipc", *command]
    done = subprocess.run(entered, capture_output=True, text=True, check=False, timeout=BOOT_S)
    return done.stdout + done.stderr


def test_an_order_becomes_a_machine_that_joins_with_its_own_token(site: Site) -> None:
    """Create returns at once; the machine has its tags from birth, boots, and reads its user-data."""
    provider = site.provider()

    machine = provider.create(site.order("small-1"))

    assert machine.state is MachineState.PENDING
    assert (machine.node, machine.generation, machine.token) == ("small-1", 1, site.order("small-1").token)
    assert site.told(machine) == "once-small-1-1"
    (running,) = _running(site, machine.id)
    assert (running.node, running.generation, running.token) == ("small-1", 1, machine.token)
    assert running.address
    assert not site.boots or running.address == machine.address


@on_local
def test_a_container_boots_a_real_system(site: Site) -> None:
    """systemd is process 1, cloud-init ends well, no unit has failed, and the address is the one that was announced."""
    if site.cloud.form != "container":
        pytest.skip("a process node is not a system")
    machine = site.provider().create(site.order("small-1"))

    assert site.gateway.hello_of("small-1")["first"] == "systemd"
    assert "status: done" in inside(machine.id, site, "cloud-init", "status", "--wait")
    assert inside(machine.id, site, "systemctl", "--failed", "--plain", "--no-legend") == ""
    assert inside(machine.id, site, "hostname").strip() == "small-1"
    assert machine.address in inside(machine.id, site, "ip", "-4", "address", "show", "host0")


@on_local
def test_containers_reach_each_other_and_this_host_only(site: Site) -> None:
    """Nodes know each other by name; there is no way to any other network."""
    if site.cloud.form != "container":
        pytest.skip("process nodes share this computer's network")
    provider = site.provider()
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
    """Where the cloud knows client tokens also when both are sent at the same moment, by threads with drivers of
    their own."""
    provider = site.provider()

    with ThreadPoolExecutor(4 if site.takes_tokens else 1) as pool:
        made = list(pool.map(provider.create, [site.order("small-1")] * 4))

    assert len({machine.id for machine in made}) == 1
    assert len(provider.machines("ours")) == 1
    site.told(made[0])
    assert site.gateway.heard == []


def test_a_lost_reply_is_found_again(site: Site) -> None:
    """The order was carried out and nobody heard: its outcome is unknown, and the same order leads to that machine."""
    provider = site.provider()
    with _losing_the_reply(site, provider), pytest.raises(Ambiguous):
        provider.create(site.order("small-1"))
    (made,) = site.provider().machines("ours")

    assert provider.create(site.order("small-1")).id == made.id
    assert site.listed(made.id)


@contextmanager
def _losing_the_reply(site: Site, provider: LibcloudProvider) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if site.far is not None:
            site.far.lose_reply()
        else:
            order = provider._driver.create_node

            def lost(**how: object) -> None:
                order(**how)
                raise requests.ConnectionError("the connection was closed before an answer came")

            patch.setattr(provider._driver, "create_node", lost)
        yield


def test_a_listing_has_all_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """More machines than a page has are all in it, each once."""
    monkeypatch.setattr(ec2, "PAGE", 3)
    monkeypatch.setattr(ApiServer, "most", 3)
    provider = site.provider()

    made = [provider.create(site.order(f"small-{number}")).id for number in range(1, 8)]

    assert sorted(machine.id for machine in provider.machines("ours")) == sorted(made)


@pytest.mark.parametrize("site", ["ec2", *FAR, *EVERY[-1:]], indirect=True, scope="module")
def test_a_wrong_credential_is_said_as_such(site: Site) -> None:
    """The gateway's credential was taken back: nothing is known of the machines, and it is not taken for none."""
    right = site.keep_secret({})
    wrong = {key: text if key in _NOT_SECRET else f"x{text}" for key, text in right.items()}
    site.keep_secret(site.far.wrong if site.far is not None else wrong)
    try:
        provider = site.provider()
        with pytest.raises(CloudAuth):
            provider.machines("ours")
        with pytest.raises(CloudAuth):
            provider.create(site.order("small-1"))
    finally:
        site.keep_secret(right)


_NOT_SECRET = {"key", "user", "project", "domain"}


@pytest.mark.parametrize("site", EVERY[-1:], indirect=True, scope="module")
def test_openstack_takes_an_order_and_then_has_no_room(site: Site) -> None:
    """Its scheduler says so later: the record that is left is known for what it is, and can be removed."""
    made = site.provider().create(site.order("rare-1", size="rare"))
    deadline = time.monotonic() + BOOT_S
    # Nova writes down why a moment after it has given up.
    while not (found := site.listed(made.id)[0]).no_room:
        assert time.monotonic() < deadline, found

    assert (found.state, "No valid host was found" in found.no_room) == (MachineState.ERROR, True)
    site.provider().destroy(made.id)
    assert site.listed() == ()


@on_local
def test_a_cloud_without_client_tokens_is_asked_first(site: Site) -> None:
    """Then the machine that an earlier, lost call made is found by the token among its tags."""
    kind = replace(DIALECTS["local"], token=None)
    provider = LibcloudProvider("bare", site.cloud.driver, sizes=site.provider().sizes(), dialect=kind)

    first = provider.create(site.order("small-1"))

    assert provider.create(site.order("small-1")).id == first.id
    assert len(provider.machines("ours")) == 1


@on_local
def test_nothing_is_launched_at_an_unknown_price(site: Site) -> None:
    """A price of nothing is a price that nobody looked up."""
    (small, _) = site.provider().sizes()
    free = (replace(small, price_ucr_per_hour=0),)
    provider = LibcloudProvider("free", site.cloud.driver, sizes=free, dialect=DIALECTS["local"])

    with pytest.raises(PriceUnknown, match="small"):
        provider.create(site.order("small-1"))

    assert provider.machines("ours") == ()


def test_a_new_generation_is_a_new_machine(site: Site) -> None:
    """A name is free again once its machine is gone, and an id is never used twice."""
    provider = site.provider()
    first = provider.create(site.order("small-1"))
    provider.destroy(first.id)
    site.listed()

    second = provider.create(site.order("small-1", generation=2))
    provider.destroy(first.id)

    assert [machine.id for machine in provider.machines("ours")] == [second.id]
    assert second.id != first.id


def test_a_gateway_that_starts_again_finds_its_machines(site: Site) -> None:
    """A provider made anew sees them with their tags and can end them."""
    machine = site.provider().create(site.order("small-1"))
    site.told(machine)

    again = site.provider() if not site.boots or site.ec2 is not None else opened(site.cloud.settings).provider()

    (found,) = again.machines("ours")
    assert (found.id, found.token, found.created_at) == (machine.id, machine.token, found.created_at)
    again.destroy(found.id)
    assert site.listed() == ()


KILLED = """
import json, os, signal, sys
from dataclasses import dataclass, fields
from pathlib import Path
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.node import NodeOrder
from gateway.settings import Settings
sys.path[:0] = ["tests", "tests/contract"]
from provider_sites import opened

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


@on_local
@pytest.mark.parametrize("moment", ["furnishing", "recorded", "started"])
def test_a_killed_gateway_leaves_only_what_can_be_found_again(site: Site, moment: str) -> None:
    """kill -9 in the middle of a create call: the same order then leads to one machine that boots."""
    order = site.order("small-1")
    killed_while_creating(order, site, moment)
    provider = site.provider()

    listed = provider.machines("ours")
    machine = provider.create(order)

    assert len(listed) == (0 if moment == "furnishing" else 1)
    assert {each.id for each in listed} <= {machine.id}
    site.gateway.hello_of("small-1", "once-small-1-1")


@on_local
def test_a_half_made_machine_can_be_destroyed(site: Site) -> None:
    """What was recorded but never started costs money, too."""
    killed_while_creating(site.order("small-1"), site, "recorded")
    provider = site.provider()
    (machine,) = provider.machines("ours")

    provider.destroy(machine.id)

    assert provider.machines("ours") == ()
    assert site.traces() == []


def test_destroying_twice_is_no_error_and_leaves_nothing(site: Site) -> None:
    """Even the children that a node detached from itself are gone when destroy returns."""
    provider = site.provider()
    machine = provider.create(site.order("small-1"))
    site.told(machine)

    provider.destroy(machine.id)

    site.listed()
    assert site.traces() == []
    provider.destroy(machine.id)
    provider.destroy(site.never)


def test_only_the_own_cluster_is_listed(site: Site) -> None:
    """Two gateways may share one cloud."""
    provider = site.provider()
    ours = provider.create(site.order("small-1"))
    theirs = provider.create(site.order("small-2", cluster="theirs"))

    assert [machine.id for machine in provider.machines("ours")] == [ours.id]
    assert [machine.id for machine in provider.machines("theirs")] == [theirs.id]


@on_booting
def test_six_machines_at_once(site: Site) -> None:
    """They are ordered, boot, join and end side by side, each with an address of its own."""
    provider = site.provider()
    names = [f"small-{number}" for number in range(1, 7)]

    with ThreadPoolExecutor(6) as pool:
        # A generation of their own, so that no late word of an earlier test's machine is taken for theirs.
        machines = list(pool.map(provider.create, [site.order(name, generation=6) for name in names]))
        for name in names:
            site.gateway.hello_of(name, f"once-{name}-6")
        list(pool.map(provider.destroy, [machine.id for machine in machines]))

    if site.cloud.form == "container":
        assert len({machine.address for machine in machines}) == 6
    assert site.listed() == ()


@pytest.mark.parametrize("site", [*BOOTING, *FAR], indirect=True, scope="module")
def test_no_room_is_said_as_such(site: Site) -> None:
    """A size that is used up is a matter of capacity, not of the request; other sizes are still to be had."""
    provider = site.provider()
    provider.create(site.order("rare-1", size="rare"))
    if site.far is not None:
        site.far.full.add("rare")

    with pytest.raises(Capacity, match="rare"):
        provider.create(site.order("rare-2", size="rare"))

    assert provider.create(site.order("small-1")).node == "small-1"
    with pytest.raises(CloudInvalid, match="huge"):
        provider.create(site.order("huge-1", size="huge"))


def test_sizes_have_prices_in_micro_credits(site: Site) -> None:
    """1.25 credits an hour are 1,250,000 micro-credits."""
    small, _ = site.provider().sizes()

    assert (small.name, small.cores, small.memory_mb, small.gpus) == ("small", 1, 512, 0)
    assert small.price_ucr_per_hour == 1_250_000 == 1.25 * CREDIT


@on_booting
def test_the_console_tells_what_the_machine_said(site: Site) -> None:
    """It is plain text, without a terminal's control sequences, and is empty for a machine that is gone."""
    provider = site.provider()
    machine = provider.create(site.order("small-1"))
    try:
        site.gateway.hello_of("small-1")
        deadline = time.monotonic() + BOOT_S
        while not re.search(r"hello from small-1|Welcome to .*Debian", text := provider.console(machine.id)):
            assert time.monotonic() < deadline, text
        assert "\x1b" not in text
    finally:
        provider.destroy(machine.id)
    assert provider.console(machine.id) == ""


@on_booting
def test_a_machine_that_ends_by_itself_stays_listed_as_stopped(site: Site) -> None:
    """A stopped machine still costs money in most clouds: it is listed until somebody destroys it."""
    provider = site.provider()
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


@on_local
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


def _running(site: Site, machine_id: str) -> tuple[Machine, ...]:
    """The listing, once its machine runs."""
    deadline = time.monotonic() + BOOT_S
    while (found := site.listed(machine_id))[0].state is not MachineState.RUNNING:
        assert time.monotonic() < deadline, found
    return found
