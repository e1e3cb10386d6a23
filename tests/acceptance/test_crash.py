"""Sudden deaths: the gateway, each daemon beside it, a node's machine are killed (SIGKILL) while a job is on its way.

Each job waits for a gate that the test opens, so that what dies, dies at the moment that the sentence names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from faults import GATE, at_gate, cut_power, finish, group, kill, kill_supervisor, open_gate, pid, stopped
from gateway_site import Site, eventually

from gateway.wire import JobView

pytestmark = [pytest.mark.root, pytest.mark.slow]

NOTE = 'echo "$SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0}" >> ran\n'
FILES = 1200
"""More than two batches of presigned URLs: the node needs the gateway in the middle of staging out."""
MANY = f"for n in $(seq {FILES}); do echo content $n > many-$n; done\n"
HOLDS = "SELECT job FROM holds JOIN jobs ON jobs.id = job WHERE name = ?"


@pytest.fixture(scope="module")
def gateway(containers: None, module_site: Callable[..., Site]) -> Site:
    """One gateway for all deaths: each finds it as the one before left it."""
    return module_site(nodes="container", idle_s=5)


@pytest.fixture(autouse=True)
def _no_traceback(gateway: Site) -> Iterator[None]:
    """Whatever dies, the gateway tells it in a sentence; one that a failed test left dead is brought back first."""
    if pid(gateway, "gateway") is None:
        gateway.up()
    log = gateway.directory / "log/gateway.log"
    before = log.stat().st_size
    yield
    with log.open("rb") as lines:
        lines.seek(before)
        said = lines.read().decode(errors="replace")
    assert "Traceback" not in said, said


def test_gateway_dies_while_nodes_boot(gateway: Site) -> None:
    """Its nodes boot on without it, and the next gateway lets them in: two machines were made, not four."""
    job = gateway.submit(NOTE, "--nodes=2")
    with gateway.login() as client:
        eventually(lambda: [node.state for node in client.nodes()] == ["booting"] * 2, "two nodes boot")
    machines = {node.id for node in gateway.list_nodes()}

    kill(gateway, "gateway")
    gateway.up()

    job = gateway.reach(job, "RUNNING")
    assert {node.id for node in gateway.list_nodes()} == machines
    ran_once(gateway, gateway.finish(job))
    no_node_is_left(gateway)


def test_gateway_dies_while_a_job_runs(gateway: Site) -> None:
    """The job never learns of it; that it ended meanwhile is seen by the next gateway."""
    job = gateway.submit(NOTE + GATE)
    node = at_gate(gateway, job)

    kill(gateway, "gateway")
    open_gate(gateway, job, node)
    gateway.up()

    ran_once(gateway, gateway.finish(job))
    no_node_is_left(gateway)


def test_gateway_dies_while_outputs_are_staged_out(gateway: Site) -> None:
    """The node goes on where it was: every file is in the store once, with the digest of what the job wrote."""
    job = gateway.submit(NOTE + MANY)
    eventually(lambda: len(stored(gateway, job)) > 50, "some files are in the store")

    kill(gateway, "gateway")
    assert "manifest.json" not in stored(gateway, job)
    assert not gateway.rows("SELECT node FROM manifest_parts WHERE job = ?", job.burst_id), "it had staged out already"
    gateway.up()

    files = ran_once(gateway, gateway.finish(job))
    assert {f"many-{n}": digest(f"content {n}\n") for n in range(1, FILES + 1)}.items() <= files.items()
    no_node_is_left(gateway)


def test_gateway_dies_between_the_hold_and_slurms_answer(gateway: Site) -> None:
    """The money is held, Slurm has the job, nobody heard its answer: asked again, it is one job with one hold."""
    name = "unheard"
    with ThreadPoolExecutor(1) as client:
        with stopped(gateway, "slurmrestd"):
            # One call of the client repeats its request, with one Idempotency-Key, until a gateway answers.
            asked = client.submit(gateway.submit, NOTE, f"--job-name={name}")
            eventually(lambda: gateway.rows(f"{HOLDS} AND stage = 'staged-in'", name), "a hold")
            kill(gateway, "gateway")
        heard = eventually(lambda: in_slurm(gateway, name), "Slurm has the job")
        gateway.up()
        job = asked.result()

    ran_once(gateway, gateway.finish(job))
    assert [job.id] == heard == in_slurm(gateway, name)
    assert gateway.rows(HOLDS, name) == [(job.burst_id,)]


@pytest.mark.parametrize("daemon", ["munged", "slurmctld", "slurmrestd", "store"])
def test_a_daemon_dies_while_a_job_runs(gateway: Site, daemon: str) -> None:
    """It is started again where it was, and the job completes as if nothing had been."""
    job = gateway.submit(NOTE + GATE)
    at_gate(gateway, job)
    addresses = where(gateway)
    saved(gateway, job)

    dead = kill(gateway, daemon)
    eventually(lambda: pid(gateway, daemon) not in {None, dead}, f"{daemon} was started again")

    assert where(gateway) == addresses
    ran_once(gateway, finish(gateway, job))


def test_slurmctld_dies_before_it_saved_a_job(gateway: Site) -> None:
    """A job that it forgot is given to it again by the gateway, one whose end it forgot is ended: each ran once."""
    ended = gateway.finish(gateway.submit(NOTE))
    job = gateway.submit(NOTE)

    kill(gateway, "slurmctld")

    ran_once(gateway, gateway.finish(job))
    ran_once(gateway, ended)
    no_node_is_left(gateway)


def test_a_supervisor_dies_while_its_container_runs(gateway: Site) -> None:
    """systemd-nspawn is gone, the node in it is not: the job is left in peace, and the node ends in its time."""
    job = gateway.submit(NOTE + GATE)
    node = at_gate(gateway, job)

    kill_supervisor(gateway, node)
    open_gate(gateway, job, node)

    ran_once(gateway, gateway.finish(job))
    no_node_is_left(gateway)


def test_a_machine_dies_while_a_job_runs(gateway: Site) -> None:
    """Slurm runs the job again on another, at once; both runs are on the one receipt, the outputs are the second's."""
    job = gateway.submit(NOTE + GATE)
    lost = at_gate(gateway, job)

    cut_power(gateway, lost)

    done = finish(gateway, job)
    ran_once(gateway, done, requeued=1)
    assert done.attempts[0].nodes == (lost,)
    with gateway.login() as client:
        lines = client.receipt(job.burst_id).lines
    assert len(lines) == 2
    pause = (done.attempts[1].started_at - done.attempts[0].started_at).total_seconds()
    assert lines[0].quantity < pause, "the time between the runs is nobody's to pay"


def test_an_idle_machine_dies(gateway: Site) -> None:
    """Slurm is told, the node's name becomes free, and the next job that wants it gets a new machine."""
    first = gateway.finish(gateway.submit(NOTE))
    name = first.attempts[-1].nodes[0]
    (before,) = (node.id for node in gateway.list_nodes() if node.name == name)

    cut_power(gateway, name)

    eventually(lambda: before not in {node.id for node in gateway.list_nodes()}, "its machine was removed")
    job = gateway.submit(NOTE + GATE, f"--nodelist={name}")
    assert at_gate(gateway, job) == name
    assert before not in {node.id for node in gateway.list_nodes()}
    ran_once(gateway, finish(gateway, job))


def test_nothing_is_left_of_it_all(gateway: Site) -> None:
    """Slurm has every node powered down, no machine and no control group of one is there, and all money is settled."""
    gateway.all_gone()
    assert not [node for node in gateway.sinfo() if group(gateway, node).pids()]
    assert gateway.rows("SELECT id FROM jobs WHERE stage != 'settled'") == []
    assert gateway.rows("SELECT job FROM holds WHERE state != 'settled'") == []


def ran_once(site: Site, job: JobView, *, requeued: int = 0) -> dict[str, str]:
    """The last run is the only one that counts: its outputs are in the store once and paid once. Path → SHA-256."""
    assert job.state == "COMPLETED", (job.reason, site.last_words())
    assert [attempt.number for attempt in job.attempts] == list(range(requeued + 1))
    folder = site.directory / "fetched" / job.burst_id
    with site.login() as client:
        files = client.fetch(job.burst_id, folder).files
    nodes = len(job.attempts[-1].nodes)
    assert (folder / "ran").read_text() == f"{job.id} {requeued}\n"
    assert len([key for key in stored(site, job, requeued) if key.startswith("files/")]) == len(files) >= nodes
    assert "manifest.json" in stored(site, job, requeued)
    paid_once(site, job)
    return {file.path: file.sha256 for file in files}


def paid_once(site: Site, job: JobView) -> None:
    """One receipt, whose charge is what the hold was settled for, and a ledger whose chain holds."""
    with site.login() as client:
        receipt = client.receipt(job.burst_id)
    assert site.rows("SELECT number FROM receipts WHERE job = ?", job.burst_id) == [(receipt.number,)]
    settled = site.rows("SELECT state, charged_ucr FROM holds WHERE job = ?", job.burst_id)
    assert settled == [("settled", receipt.charged_ucr)]
    assert receipt.charged_ucr == sum(line.amount_ucr for line in receipt.lines) > 0
    with site.work() as work:
        work.ledger.verify_chain()


def stored(site: Site, job: JobView, number: int = 0) -> set[str]:
    """The keys of a run's objects, below its prefix."""
    prefix = f"jobs/{job.burst_id}/{number}/"
    return {key.removeprefix(prefix) for key, _ in site.store.list(prefix)}


def in_slurm(site: Site, name: str) -> list[int]:
    """The ids of all jobs of that name that Slurm remembers."""
    return [int(line) for line in site.slurm("squeue", "-h", "-t", "all", "-n", name, "-o", "%A").split()]


def saved(site: Site, job: JobView) -> None:
    """Wait until slurmctld has the job's present state on its disk, which it writes some seconds after a change."""
    file = site.directory / "slurm/state/job_state"
    before = file.stat().st_mtime_ns if file.exists() else 0
    site.slurm("scontrol", "update", f"jobid={job.id}", "comment=to be saved")
    eventually(lambda: file.exists() and file.stat().st_mtime_ns > before, "slurmctld saved its jobs")


def where(site: Site) -> tuple[str, ...]:
    """Where the daemons are found by those who were told before."""
    slurm, store = site.machine.slurm, site.machine.store.access
    return slurm.url, slurm.conf_server, store.user_endpoint, store.node_endpoint


def no_node_is_left(site: Site) -> None:
    """The cloud has no machine, and the gateway knows of none."""
    with site.login() as client:
        eventually(lambda: not site.list_nodes() and not client.nodes(), "no node is left")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
