"""The three examples, as their READMEs say to run them, each against its known answer; all run at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_site import PATIENCE_S, Site

from examples import CHECKS
from gateway.wire import JobView

pytestmark = pytest.mark.root

FOLDER = Path(__file__).resolve().parents[2] / "examples"
USER = "eve"


@dataclass(frozen=True)
class Shown:
    """The examples' jobs: folder → its job, the last one where there are two."""

    site: Site
    jobs: dict[str, str]
    before: set[Path]
    """All that was below ``examples/`` before they were submitted."""

    def ended(self, folder: str) -> JobView:
        """The settled job, which must have succeeded."""
        with self.site.login(USER) as gateway:
            job = self.site.finish(gateway.job(self.jobs[folder]), USER)
            words = gateway.logs(self.jobs[folder]) if job.attempts else ""
        assert (job.state, job.exit_code) == ("COMPLETED", 0), f"{job.reason}\n{words}"
        return job


@pytest.fixture(scope="module")
def shown(site: Site, limited: JobView) -> Shown:
    """Submit them by the real commands, the array and its reduction by the example's own script."""
    site.add_user(USER)
    before = set(FOLDER.rglob("*"))
    jobs = {}
    for folder in ("mpi-madelung", "caffeine-xtb"):
        answer = site.burst("submit", "--parsable", "job.sh", user=USER, cwd=FOLDER / folder)
        assert answer.code == 0, answer.err
        jobs[folder] = answer.out.strip()
    jobs["ising-array"] = _submit_ising(site)
    return Shown(site, jobs, before)


@pytest.mark.parametrize("folder", sorted(CHECKS))
def test_an_example_has_its_known_answer(shown: Shown, folder: str, tmp_path: Path) -> None:
    """Given the example as it is, when its job has run on new nodes, then what was fetched is the known result."""
    shown.ended(folder)
    fetched = shown.site.burst("fetch", shown.jobs[folder], "--to", str(tmp_path), user=USER)
    assert fetched.code == 0, fetched.err
    CHECKS[folder](tmp_path)


def test_mpi_ran_on_two_elastic_nodes(shown: Shown) -> None:
    """Slurm placed the MPI job on two nodes, and both put what they had into the store."""
    job = shown.ended("mpi-madelung")
    (attempt,) = job.attempts
    assert len(set(attempt.nodes)) == 2
    assert {event.text.split()[0] for event in job.timeline if event.kind == "staging-out"} == set(attempt.nodes)


def test_an_examples_folder_stays_as_it_is(shown: Shown) -> None:
    """Submitting and running wrote nothing beside the scripts."""
    for folder in shown.jobs:
        shown.ended(folder)
    assert set(FOLDER.rglob("*")) == shown.before


def _submit_ising(site: Site) -> str:
    """Run submit.sh with the command in sbatch's place; the reduction's id is the last word that it prints."""
    site.burst("whoami", user=USER)
    environment = {**site.environment(USER), "SBATCH": f"{sys.executable} -m gateway.cli submit"}
    done = subprocess.run(
        [os.fspath(FOLDER / "ising-array/submit.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]
