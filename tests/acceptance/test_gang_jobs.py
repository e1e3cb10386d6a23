"""A job of several nodes and clouds with little room: real Slurm, real nodes, real MPI; only the refusals are made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_site import Site, eventually, site_in

from gateway.bootstrap.presence import READY_FILE
from gateway.provisioning.lifecycle import NodeState

EAST, WEST = "local/small@east", "local/small@west"

PROGRAM = """
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
  int rank, size, sum;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (!rank) printf("%d ranks, sum %d\\n", size, sum);
  MPI_Finalize();
  return 0;
}
"""


@dataclass(frozen=True)
class Zoned:
    """A gateway with process nodes in two zones."""

    site: Site
    room_file: Path

    def room(self, **zones: int) -> None:
        """So many machines at most, by zone."""
        new = self.room_file.with_suffix(".new")
        new.write_text(json.dumps(zones))
        new.replace(self.room_file)

    def events(self, *names: str) -> list[tuple[str, str]]:
        """What happened to these nodes' present generations."""
        with self.site.work() as work:
            return [(event.kind, event.text) for name in names for event in work.fleet.timeline(name)]

    def blocked(self) -> list[str]:
        """Reasons of the nodes that no zone has room for."""
        with self.site.work() as work:
            return [node.reason for node in work.fleet.all([NodeState.CAPACITY_BLOCKED])]

    def nodes_of(self, job: int) -> dict[str, str]:
        """Node → supply, of a job that runs."""
        with self.site.work() as work:
            return {node.name: node.supply or "" for node in work.fleet.all() if node.job == job}

    def reason(self, job: int) -> str:
        """What squeue prints as the job's reason."""
        folder = self.room_file.parent / "commands"
        if not folder.exists():
            assert self.site.burst("commands", str(folder)).code == 0
        self.site.login().close()
        words = [str(folder / "squeue"), "-h", "-j", str(job), "-o", "%r"]
        done = subprocess.run(words, env=self.site.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def zoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoned]:
    """Up, with room for nobody yet."""
    room = tmp_path_factory.mktemp("room") / "room.json"
    with site_in(start=False) as site:
        site.directory.mkdir(mode=0o711)
        size = 'name = "small", cores = 2, memory_mb = 512, credits_per_hour = 1, max_nodes = 4'
        text = f'nodes = "process"\nidle_s = 2\ncapacity_wait_s = 8\nsizes = [{{{size}}}]\n'
        (site.directory / "burst.toml").write_text(text)
        program = Path(__file__).with_name("faulty_gateway.py")
        command = [sys.executable, str(program), str(site.directory), str(room)]
        process = subprocess.Popen(command, env=site.environment(None), cwd=program.parents[2])
        threading.Thread(target=process.wait, daemon=True).start()  # so that it is gone once it has ended
        ready = site.directory / "run" / READY_FILE
        eventually(lambda: process.poll() is not None or ready.exists(), "the gateway ready")
        assert process.poll() is None, site.last_words()
        yield Zoned(site.up(), room)


@pytest.fixture(scope="module")
def mpi(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job script that runs an MPI program, one rank a node."""
    if not shutil.which("mpicc") or not shutil.which("mpiexec.hydra"):
        pytest.skip("no MPICH here (Debian: mpich, libmpich-dev)")
    folder = tmp_path_factory.mktemp("mpi")
    folder.chmod(0o755)
    (folder / "sum.c").write_text(PROGRAM)
    subprocess.run(["mpicc", "sum.c", "-o", "sum"], cwd=folder, check=True)
    return f"mpiexec.hydra -launcher slurm {folder}/sum"


def test_i06_a_job_of_two_nodes_starts_whole_in_the_zone_that_has_both(zoned: Zoned, mpi: str, tmp_path: Path) -> None:
    """The first zone has one machine only: it is given back, and both come from the second."""
    zoned.room(east=1, west=2)
    job = zoned.site.submit(f"{mpi}; sleep 3", "-N", "2", "--ntasks-per-node=1")
    zoned.site.reach(job, "RUNNING")
    nodes = zoned.nodes_of(job.id)
    assert set(nodes.values()) == {WEST}
    assert len(nodes) == 2
    assert len(zoned.site.list_nodes()) == 2
    for node in nodes:  # a node that joined before the other was refused is in its second generation by now
        asked = [text.split(": ")[0] for kind, text in zoned.events(node) if kind in {"requested", "capacity-blocked"}]
        assert asked in ([f"asking for {EAST}", EAST, f"asking for {WEST}"], [f"asking for {WEST}"])

    ended = zoned.site.finish(job)
    assert ended.state == "COMPLETED", ended.reason
    fetched = zoned.site.burst("fetch", str(job.id), "--to", str(tmp_path))
    assert fetched.code == 0, fetched.err
    assert "2 ranks, sum 1" in (tmp_path / f"slurm-{job.id}.out").read_text()
    assert len(ended.attempts) == 1
    zoned.site.all_gone()


def test_i05_a_job_that_no_zone_has_room_for_says_why_and_runs_once_there_is_room(zoned: Zoned, mpi: str) -> None:
    """One machine in each zone is not two: squeue and `burst job` say so; Slurm requeues and runs it."""
    site = zoned.site
    zoned.room(east=1, west=1)
    job = site.submit(mpi, "-N", "2", "--ntasks-per-node=1")

    eventually(lambda: len(zoned.blocked()) == 2, "both nodes blocked")
    reason = eventually(lambda: (said := zoned.reason(job.id)).startswith("no_capacity:") and said, "squeue says why")
    assert f"{EAST}:_zone_east_has_no_room" in reason
    assert f"{WEST}:_zone_west_has_no_room" in reason
    shown = eventually(lambda: "no room" in (said := site.burst("job", str(job.id)).out) and said, "burst job says why")
    assert f"{EAST}: zone east has no room" in shown

    eventually(lambda: _restarts(site, job.id) > 0, "Slurm has it in its queue again")
    assert site.list_nodes() == []
    zoned.room(east=0, west=2)
    ended = site.finish(job)
    assert ended.state == "COMPLETED", ended.reason
    site.all_gone()


def _restarts(site: Site, job: int) -> int:
    return max(task.restarts for task in site.engine().job(job))
