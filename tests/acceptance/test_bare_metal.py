"""A site's own hosts as elastic nodes: real systems that the gateway reaches over SSH, uses, and gives back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import kill
from gateway_site import NewSite, Site, eventually
from metal import Metal, metal_in, wait_for_login

from gateway.bootstrap.lifecycle import toml_text
from gateway.bootstrap.sealing_key import keeper, sealer_of
from gateway.settings import Settings
from gateway.ssh.authority import Authority

pytestmark = [pytest.mark.root, pytest.mark.slow]

SCRIPT = """
cat /etc/hostname > where.txt
id -un >> where.txt
cat /etc/munge/munge.key > /dev/null 2>&1 || echo "no reading the key" >> where.txt
touch /tmp/left-in-tmp /dev/shm/left-in-shm 2> /dev/null
touch /opt/left-in-opt 2> /dev/null || echo "no writing elsewhere" >> where.txt
setsid sleep 1000 > /dev/null 2>&1 &
"""


@dataclass(frozen=True)
class Rack:
    """A gateway and two hosts of its site."""

    site: Site
    hosts: list[Metal]
    authority: Authority

    def changes(self) -> list[str]:
        """What is not as it was, on all hosts."""
        return [f"{host.name}: {line}" for host in self.hosts for line in host.changes(self.authority)]


@contextmanager
def rack_in(folder: Path, new_site: NewSite) -> Iterator[Rack]:
    """The authority comes first, as on a site: its public line is installed on the hosts, then they are listed."""
    site = new_site(start=False, nodes="container", idle_s=3)
    secrets = site.directory / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    site.directory.chmod(0o711)
    keep = keeper(sealer_of(Settings(directory=site.directory)))
    authority = Authority.kept(secrets / "ssh-ca.key", site.directory / "ssh-ca.pub", keep)
    with metal_in(folder, site.cache, ["node-a", "node-b"], authority.public_line) as hosts:
        wait_for_login(hosts, authority)
        rack = Rack(site, hosts, authority)
        assert rack.changes() == []
        site.up(**settings_for(hosts))
        for host in hosts:
            # The hosts' own network knows no way to the gateway's.
            with host.login(authority) as session:
                way = ("ip", "route", "add", str(site.machine.cloud.host.network.subnet), "via", host.cloud.address)
                assert session.run(way).code == 0
        yield rack
        site.down()


def settings_for(hosts: list[Metal]) -> dict[str, str]:
    size = {"name": "metal", "cores": 1, "memory_mb": 512, "credits_per_hour": 2.0, "max_nodes": 2}
    inventory = [host.settings("metal").model_dump(mode="json") for host in hosts]
    cloud = {"name": "rack", "kind": "hosts", "poll_s": 0.3, "sizes": [size], "options": {"hosts": inventory}}
    return {"sizes": toml_text([{**size, "offers": ["rack/metal"]}]), "clouds": toml_text([cloud])}


@pytest.fixture(scope="module")
def rack(containers: None, module_site: NewSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    with rack_in(tmp_path_factory.mktemp("metal"), module_site) as running:
        yield running


def test_a_job_runs_on_a_host_which_is_then_as_it_was(rack: Rack) -> None:
    """Taken, joined, used, settled, released: no file, no process, no key stays; then the host serves again."""
    for _ in range(2):
        job = rack.site.submit(SCRIPT)
        ended = rack.site.finish(job)
        assert ended.state == "COMPLETED", (ended.reason, rack.site.last_words())

        out = rack.site.directory.parent / f"out{job.id}"
        fetched = rack.site.burst("fetch", str(job.id), "--to", str(out))
        assert fetched.code == 0, fetched.err
        (where,) = out.rglob("where.txt")
        host, user, *rest = where.read_text().splitlines()
        assert host in {"node-a", "node-b"}
        assert user == "nobody"
        assert rest == ["no reading the key", "no writing elsewhere"]

        eventually(lambda: not rack.site.nodes_up(), "nodes given back to Slurm")
        eventually(lambda: not rack.changes(), "hosts as they were")


def test_a_job_of_two_nodes_uses_both_hosts(rack: Rack) -> None:
    """srun starts a task on each: the hosts are nodes of one cluster."""
    job = rack.site.submit("srun --mpi=none hostname > names.txt", "--nodes=2")
    ended = rack.site.finish(job)

    assert ended.state == "COMPLETED", (ended.reason, rack.site.last_words())
    with rack.site.login() as gateway:
        assert len(gateway.job(job.burst_id).attempts[0].nodes) == 2
    eventually(lambda: not rack.changes(), "hosts as they were")


def test_a_killed_gateway_finds_its_hosts_again(rack: Rack) -> None:
    """kill -9 while a job runs on a host: the next gateway finishes the job and gives the host back."""
    job = rack.site.submit("sleep 8; echo done > kept.txt")
    rack.site.reach(job, "RUNNING")

    kill(rack.site, "gateway")
    rack.site.up()

    assert rack.site.finish(job).state == "COMPLETED"
    eventually(lambda: not rack.changes(), "hosts as they were")
