"""The form for machines that allow no containers, as an ordinary user meets it: every command in that user's own hands.

Run as root, the tests become a user without any right; run as somebody else, they stay who they are.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults import GATE, at_gate, kill, open_gate
from gateway_site import PATIENCE_S, Answer, Site, eventually, shared_cache

from examples import check_ising

pytestmark = pytest.mark.slow

NOBODY = 65534
CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples"
COMMAND = (sys.executable, "-m", "gateway.cli")
NOTE = 'echo "$SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0}" >> ran\n'


@dataclass(frozen=True)
class Person:
    """A user of this machine without any right, in a folder of that user's own, with no home."""

    folder: Path

    @cached_property
    def prefix(self) -> tuple[str, ...]:
        """What makes root that user; a checkout or a Python below root's own home is shown to the user all the same."""
        if os.geteuid() != 0:
            return ()
        needed = {Path(place).resolve() for place in (CHECKOUT, sys.prefix, sys.base_prefix, shared_cache())}
        view = (*(line for door in closed(needed) for line in self._open(door, needed)), 'exec "$@"')
        user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
        return ("unshare", "--mount", "--propagation=private", "sh", "-euc", "\n".join(view), "sh", *user)

    def _open(self, door: Path, needed: set[Path]) -> Iterator[str]:
        """Shell lines that leave nothing of a closed folder but the places that are needed."""
        kept = self.folder / "kept" / door.name
        kept.mkdir(parents=True, exist_ok=True)
        yield shlex.join(["mount", "--bind", str(door), str(kept)])
        yield shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "none", str(door)])
        for place in sorted(place for place in needed if place.is_relative_to(door)):
            yield shlex.join(["mkdir", "-p", str(place)])
            yield shlex.join(["mount", "--bind", str(kept / place.relative_to(door)), str(place)])

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "BURST_CACHE": str(shared_cache()),
            "BURST_CONFIG": str(self.folder / "client"),
            "TMPDIR": str(self.folder),
        }

    def run(self, *words: str, within_s: float = PATIENCE_S, **more: str) -> Answer:
        """A command, started in the user's folder."""
        done = subprocess.run(
            [*self.prefix, *words],
            cwd=self.folder,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def burst(self, *words: str, within_s: float = PATIENCE_S) -> Answer:
        """A ``burst`` command that must succeed."""
        done = self.run(*COMMAND, *words, within_s=within_s)
        assert done.code == 0, (words, done.err, done.out)
        return done

    def processes(self) -> list[str]:
        """What still runs of all that was started here, as command lines."""
        return [process.info["cmdline"] for process in psutil.process_iter(["cmdline", "environ", "cwd"])
                if str(self.folder) in f"{process.info}"]  # fmt: skip


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """Skips where this checkout cannot be shown to others, and where this machine lacks what the example needs."""
    folder = Path(tempfile.mkdtemp(prefix="burst-user-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    user = Person(folder)
    for words, lack in (
        ((sys.executable, "-c", "import gateway.bootstrap.serve"), "other users cannot be shown this checkout"),
        (("python3", "-c", "import numpy"), "the machine's Python has no NumPy: apt-get install python3-numpy"),
    ):
        if user.run(*words).code:
            shutil.rmtree(folder)
            pytest.skip(lack)
    yield user
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Used:
    """A gateway of the user's, taken down again, and what its commands said on the way."""

    up: Answer
    facts: dict[str, Any]
    reduction: dict[str, Any]
    receipts: list[dict[str, Any]]
    results: Path
    ran_on: set[str]
    down: Answer


@pytest.fixture(scope="module")
def used(person: Person) -> Used:
    """Up, login, the array example by its own script, fetch, receipts, wait until the nodes are gone, down."""
    directory = str(person.folder / "d")
    up = person.burst("up", "--dir", directory, "--json", "--set", "idle_s=3", within_s=300)
    try:
        return _use(person, up, directory)
    finally:
        person.run(*COMMAND, "down", "--dir", directory)


def _use(person: Person, up: Answer, directory: str) -> Used:
    facts = up.json
    person.burst("login", facts["url"], "--user", "demo", "--password-file", facts["users"]["demo"])
    submit = {"SBATCH": " ".join((*COMMAND, "submit"))}
    submitted = person.run(str(EXAMPLES / "ising-array/submit.sh"), **submit)
    assert submitted.code == 0, submitted.err
    reduction = submitted.out.split()[-1]
    job = person.burst("job", reduction, "--watch", "--json", within_s=280).json
    jobs = person.burst("jobs", "--json").json
    array = next(one for one in jobs if one["name"] == "ising")
    attempts = person.burst("job", str(array["id"]), "--json").json["attempts"]
    ran_on = {node for attempt in attempts for node in attempt["nodes"]}
    results = person.folder / "results"
    person.burst("fetch", reduction, "--to", str(results))
    receipts = [person.burst("receipt", str(one["id"]), "--json").json for one in jobs]
    eventually(lambda: person.burst("nodes", "--json").json == [], "the nodes are gone")
    return Used(up, facts, job, receipts, results, ran_on, person.burst("down", "--dir", directory))


def test_an_ordinary_user_gets_processes_and_is_told_why(used: Used) -> None:
    """Nothing was asked for: the form is chosen, and the reason is a sentence, for people and for programs."""
    assert used.facts["nodes"]["form"] == "process"
    assert used.facts["nodes"]["reason"].startswith("nodes are processes, not containers: only root")
    assert used.facts["nodes"]["reason"] in used.up.err


def test_the_array_and_its_reduction_have_the_known_answer(used: Used) -> None:
    """The reduction began when all tasks had ended, found their outputs, and its own came back verified."""
    assert used.reduction["state"] == "COMPLETED", used.reduction
    check_ising(used.results)
    assert len(used.ran_on) == 4


def test_every_job_has_its_receipt(used: Used) -> None:
    """Two jobs, two receipts, each for what its tasks used."""
    assert [len(receipt["lines"]) for receipt in used.receipts] == [1, 4]
    assert len({receipt["number"] for receipt in used.receipts}) == 2
    assert all(receipt["charged_ucr"] + receipt["refunded_ucr"] == receipt["held_ucr"] for receipt in used.receipts)


def test_down_leaves_no_process(person: Person, used: Used) -> None:
    """Neither a daemon nor a node, nor anything else that was started in the user's folder."""
    assert "gateway" in used.down.out
    assert person.processes() == []


def test_the_demo_of_an_ordinary_user(person: Person) -> None:
    """It says that there are no containers, shows what processes can, ends with the receipts, and nothing is left."""
    demo = person.burst("demo", "--dir", "demo", within_s=280)
    said = " ".join(demo.out.split())
    assert "nodes are processes, not containers" in said
    assert "standard errors from Onsager's" in said
    assert "no nodes are left" in said
    assert person.processes() == []


@pytest.fixture(scope="module")
def site(module_site: Callable[..., Site]) -> Site:
    """Processes by wish, of whoever runs the tests: of root too."""
    return module_site(nodes="process", idle_s=3)


def test_processes_may_be_asked_for(site: Site) -> None:
    """As root as well: the job runs on a node that is a process, its files and its receipt come, the node goes."""
    assert (site.form, site.facts["nodes"]["reason"]) == ("process", "nodes are processes, as the settings ask")
    job = site.finish(site.submit(NOTE))
    assert contents(site, job) == f"{job.id} 0\n"
    site.all_gone()


def test_gateway_dies_while_a_job_runs_on_a_process(site: Site) -> None:
    """The node, a process of the dead gateway's, is found again by the next one: one run, one receipt."""
    job = site.submit(NOTE + GATE)
    node = at_gate(site, job)

    kill(site, "gateway")
    open_gate(site, job, node)
    site.up()

    job = site.finish(job)
    assert (job.state, len(job.attempts)) == ("COMPLETED", 1)
    assert contents(site, job) == f"{job.id} 0\n"
    assert len(site.rows("SELECT number FROM receipts WHERE job = ?", job.burst_id)) == 1
    site.all_gone()


def closed(places: Iterable[Path]) -> set[Path]:
    """The topmost folders above places that other users may not enter."""
    doors = (folder for place in places for folder in (*reversed(place.parents), place))
    shut = [door for door in doors if door.is_dir() and not door.stat().st_mode & stat.S_IXOTH]
    return {door for door in shut if not any(above in door.parents for above in shut)}


def contents(site: Site, job: Any) -> str:
    """What the job noted, fetched and verified."""
    folder = site.directory / "fetched" / job.burst_id
    with site.login() as client:
        client.fetch(job.burst_id, folder)
    return (folder / "ran").read_text()
