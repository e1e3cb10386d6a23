"""Machines that are off until a job wants them: power on, boot, join, work, release, power off, and nothing left."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bmc import PASSWORD, USER, RedfishBmc, redfish_bmc
from faults import kill
from gateway_site import NewSite, Site, eventually
from metal import Metal, MetalOutlet, metal_in, wait_for_login

from gateway.bootstrap.lifecycle import toml_text
from gateway.bootstrap.sealing_key import keeper, sealer_of
from gateway.settings import Settings
from gateway.ssh.authority import Authority

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(1500)]

UUID = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
BOOT_S = 300
SCRIPT = """
cat /etc/hostname > where.txt
touch /tmp/left-in-tmp /dev/shm/left-in-shm 2> /dev/null
setsid sleep 1000 > /dev/null 2>&1 &
"""

Files = Mapping[str, str]
"""Path → kind, mode, owner and content."""


@dataclass(frozen=True)
class Rack:
    """A gateway, one machine that is off, and the controller that switches it."""

    site: Site
    host: Metal
    bmc: RedfishBmc
    outlet: MetalOutlet
    before: Files
    by_boot: frozenset[str]
    """Files that a boot alone writes anew."""

    def changes(self) -> list[str]:
        """What a lease left on its disk, beside what a boot writes anyway."""
        now = on_disk(self.host)
        listed = sorted(set(now) ^ set(self.before))
        return listed + [path for path in now if path in self.before and self._differs(path, now)]

    def _differs(self, path: str, now: Files) -> bool:
        content = 2  # the modes and owners are to be equal even of what a boot writes
        old, new = (files[path].split(" ") for files in (self.before, now))
        return old[:content] != new[:content] if path in self.by_boot else old != new


def on_disk(host: Metal) -> Files:
    """What a machine that is off has beside its image; what is there as in the image was only touched."""
    folder = host.cloud.settings.cloud_dir / host.name
    top, image = folder / "upper", (folder / "image").resolve()
    found = {}
    for place, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(place, name)
            told = str(path.relative_to(top))
            passing = told.startswith(("var/log/", "var/tmp/systemd-private", "tmp/"))
            if not passing and (facts := _facts(path)) != _facts(image / told):
                found[told] = facts
    return found


def _facts(path: Path) -> str:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return ""
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    return f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"


@contextmanager
def rack_in(folder: Path, new_site: NewSite) -> Iterator[Rack]:
    """The machine is booted twice before the gateway knows it, to learn what a boot writes; then it is off."""
    site = new_site(start=False, nodes="container", idle_s=3, resume_timeout_s=BOOT_S + 180)
    secrets = site.directory / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    site.directory.chmod(0o711)
    authority = Authority.kept(
        secrets / "ssh-ca.key", site.directory / "ssh-ca.pub", keeper(sealer_of(Settings(directory=site.directory)))
    )
    login = secrets / "rack.json"
    login.write_text(json.dumps({"user": USER, "password": PASSWORD}))
    login.chmod(0o600)
    with metal_in(folder / "metal", site.cache, ["node-a"], authority.public_line) as (host,):
        wait_for_login([host], authority)
        site.up()
        _know_the_way(host, authority, str(site.machine.cloud.host.network.subnet))
        site.down()
        once, before = (_off(host, authority) for _ in range(2))
        outlet = MetalOutlet(metal=host)
        with redfish_bmc(folder / "bmc", {UUID: outlet}) as bmc:
            site.up(**settings_for(host, bmc))
            by_boot = frozenset(path for path in before if once.get(path) != before[path])
            yield Rack(site, host, bmc, outlet, before, by_boot)
            site.down()


def _know_the_way(host: Metal, authority: Authority, subnet: str) -> None:
    """The hosts' own network knows no way to the gateway's; this one is there after each boot."""
    route = f"[Route]\nDestination={subnet}\nGateway={host.cloud.address}\n"
    with host.login(authority) as session:
        folder = "/etc/systemd/network/10-host0.network.d"
        assert session.run(("mkdir", "-p", folder)).code == 0
        session.put_file(f"{folder}/way.conf", route.encode(), 0o644)


def _off(host: Metal, authority: Authority) -> Files:
    """Boot it if it is off, switch it off as a person does, and read its disk."""
    if not host.on:
        host.switch_on()
        wait_for_login([host], authority)
    host.shut_down()
    eventually(lambda: not host.on, "the machine is off")
    return on_disk(host)


def settings_for(host: Metal, bmc: RedfishBmc) -> dict[str, str]:
    size = {"name": "metal", "cores": 1, "memory_mb": 512, "credits_per_hour": 2.0, "max_nodes": 1}
    power = {"kind": "redfish", "url": bmc.url, "ca_file": str(bmc.ca_file)}
    described = host.settings("metal", power=power, boot_s=BOOT_S).model_dump(mode="json", exclude_unset=True)
    cloud = {"name": "rack", "kind": "hosts", "poll_s": 0.3, "sizes": [size], "options": {"hosts": [described]}}
    return {"sizes": toml_text([{**size, "offers": ["rack/metal"]}]), "clouds": toml_text([cloud])}


@pytest.fixture(scope="module")
def rack(containers: None, module_site: NewSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    with rack_in(tmp_path_factory.mktemp("metal"), module_site) as running:
        yield running


def test_a_job_wakes_a_machine_that_is_then_off_again_as_it_was(rack: Rack) -> None:
    """Off, wanted, on, joined by SSH, worked on, released, off; its disk has not one file more, less or otherwise."""
    shown = rack.site.burst("hosts", "--dir", str(rack.site.directory), "--json")
    assert [(each["power"], each["lease"], each["health"]) for each in shown.json["hosts"]] == [("off", "", "ok")]

    for _ in range(2):
        assert not rack.host.on
        job = rack.site.submit(SCRIPT)
        ended = rack.site.finish(job)
        assert ended.state == "COMPLETED", (ended.reason, rack.site.last_words())

        out = rack.site.directory.parent / f"out{job.id}"
        assert rack.site.burst("fetch", str(job.id), "--to", str(out)).code == 0
        assert next(out.rglob("where.txt")).read_text() == "node-a\n"

        eventually(lambda: not rack.site.nodes_up(), "the node is given back to Slurm", BOOT_S)
        eventually(lambda: not rack.host.on, "the machine is off", BOOT_S)
        eventually(lambda: not any((rack.site.directory / "hosts" / "rack").glob("*.json")), "nothing is left to do")
        assert rack.changes() == []
    assert rack.outlet.asked == ["On", "On"]


def test_a_gateway_killed_while_the_machine_boots_goes_on_with_it(rack: Rack) -> None:
    """kill -9 between power and lease: the next one takes it over, the job runs there, and it is off in the end."""
    job = rack.site.submit("echo kept > kept.txt")
    eventually(lambda: rack.host.on, "the machine has power")

    kill(rack.site, "gateway")
    rack.site.up()

    assert rack.site.finish(job).state == "COMPLETED"
    eventually(lambda: not rack.host.on, "the machine is off", BOOT_S)
    assert rack.changes() == []
