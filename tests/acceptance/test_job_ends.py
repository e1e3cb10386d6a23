"""Every way that a job can go: in tasks, cancelled, out of time, run again, asked for twice; each ends in one receipt.

All jobs are submitted at once, so that they wait for their nodes together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gateway_site import Answer, Site, eventually

from gateway.client.session import Session
from gateway.errors import BurstError, Conflict, NotFound
from gateway.wire import JobView, Receipt, SubmitRequest

pytestmark = pytest.mark.root

LATER = "--begin=now+1hour"
USER = "bob"

SCRIPTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "requeued": (
        'echo "run ${SLURM_RESTART_COUNT:-0}" | tee run.txt; [ "${SLURM_RESTART_COUNT:-0}" = 1 ] || exec sleep 600',
        ("--time=10", "--requeue"),
    ),
    "running": ("echo begun | tee kept.txt; exec sleep 600", ("--time=10",)),
    "pending": ("echo never", ("--time=10", LATER)),
    "failing": ("echo bad > kept.txt; echo trouble >&2; exit 7", ("--time=10", "--error=err.txt")),
    "array": (
        'n=$SLURM_ARRAY_TASK_ID; echo "$n" > "part-$n.txt"; echo "$((n * n))" > same.txt',
        ("--time=10", "--array=1-3"),
    ),
}


@dataclass(frozen=True)
class Cast:
    """The jobs of this module by name, and how each ended once that was asked."""

    site: Site
    jobs: dict[str, JobView]
    ended: dict[str, JobView] = field(default_factory=dict)

    def settled(self, name: str) -> JobView:
        """The job's last view."""
        if name not in self.ended:
            self.ended[name] = self.site.finish(self.jobs[name], USER)
        return self.ended[name]

    def burst(self, *words: str) -> Answer:
        """A command of their owner."""
        return self.site.burst(*words, user=USER)

    def prints(self, name: str, text: str) -> None:
        """Wait until the job has printed this."""
        with self.site.login(USER) as gateway:
            eventually(lambda: text in gateway.logs(self.jobs[name].burst_id), f"the {name} job prints {text!r}")

    def files(self, name: str, folder: Path) -> dict[str, str]:
        """Fetched outputs: path → text."""
        with self.site.login(USER) as gateway:
            gateway.fetch(self.jobs[name].burst_id, folder)
        return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}

    def receipt(self, name: str) -> Receipt:
        """Its only receipt, which must add up."""
        job = self.settled(name)
        rows = self.site.rows("SELECT document FROM receipts WHERE job = ?", job.burst_id)
        assert len(rows) == 1
        with self.site.login(USER) as gateway:
            receipt = gateway.receipt(job.burst_id)
        assert receipt.held_ucr == job.hold_ucr == receipt.charged_ucr + receipt.refunded_ucr
        return receipt


@pytest.fixture(scope="module")
def cast(site: Site, limited: JobView) -> Iterator[Cast]:
    """Submit all of them; whatever still runs at the end is cancelled."""
    jobs = {"limited": limited}
    jobs |= {name: site.submit(script, *options, user=USER) for name, (script, options) in SCRIPTS.items()}
    reduction = ("cat part-*.txt > sum.txt", "--time=10", f"--dependency=afterok:{jobs['array'].id}")
    jobs["reduction"] = site.submit(*reduction, user=USER)
    yield Cast(site, jobs)
    with site.login(USER) as gateway:
        for job in jobs.values():
            gateway.cancel(job.burst_id)
        for job in jobs.values():
            site.finish(job, USER)


def test_a_pending_job_is_cancelled_for_nothing(cast: Cast) -> None:
    """Given a job that waits, when it is cancelled, then it never ran and all that was held comes back."""
    answer = cast.burst("cancel", cast.jobs["pending"].burst_id)
    assert answer.code == 0, answer.err
    job = cast.settled("pending")
    assert (job.state, job.attempts) == ("CANCELLED", ())
    receipt = cast.receipt("pending")
    assert (receipt.charged_ucr, receipt.refunded_ucr, receipt.lines) == (0, job.hold_ucr, ())


def test_a_running_job_is_cancelled_with_what_it_made(cast: Cast, tmp_path: Path) -> None:
    """Given a job that runs, when it is cancelled, then what there was is staged out and only used time is paid."""
    cast.prints("running", "begun")
    assert cast.burst("cancel", str(cast.jobs["running"].id)).code == 0
    job = cast.settled("running")
    assert job.state == "CANCELLED"
    assert cast.files("running", tmp_path)["kept.txt"] == "begun\n"
    receipt = cast.receipt("running")
    assert 0 < receipt.charged_ucr < receipt.held_ucr
    again = cast.burst("cancel", str(job.id), "--json")
    assert (again.code, again.json[0]["state"]) == (0, "CANCELLED")


def test_a_failing_job_keeps_its_exit_code_and_outputs(cast: Cast, tmp_path: Path) -> None:
    """A non-zero exit code is the job's own: outputs and stderr come back, the receipt is as any other."""
    job = cast.settled("failing")
    assert (job.state, job.exit_code) == ("FAILED", 7)
    files = cast.files("failing", tmp_path)
    assert (files["kept.txt"], files["err.txt"]) == ("bad\n", "trouble\n")
    assert cast.burst("logs", "--stderr", str(job.id)).out == "trouble\n"
    assert cast.receipt("failing").charged_ucr > 0


def test_an_array_runs_each_task_on_its_own(cast: Cast, tmp_path: Path) -> None:
    """Three tasks, three attempts, three manifests; a path that tasks disagree on is kept once for each."""
    job = cast.settled("array")
    assert job.state == "COMPLETED"
    assert [attempt.task for attempt in job.attempts] == [1, 2, 3]
    assert all(attempt.staged_out for attempt in job.attempts)
    files = cast.files("array", tmp_path)
    assert {name: files[f"part-{name}.txt"] for name in "123"} == {"1": "1\n", "2": "2\n", "3": "3\n"}
    assert [files[f"task-{task}/same.txt"] for task in (1, 2, 3)] == ["1\n", "4\n", "9\n"]
    assert len(cast.receipt("array").lines) == 3


def test_a_dependent_reduction_reads_what_the_array_wrote(cast: Cast, tmp_path: Path) -> None:
    """--dependency=afterok waits for every task, and finds their files where a shared folder would have them."""
    job = cast.settled("reduction")
    assert job.state == "COMPLETED", job.reason
    files = cast.files("reduction", tmp_path)
    assert files["sum.txt"] == "1\n2\n3\n"
    assert "part-1.txt" not in files
    begun = job.attempts[0].started_at
    assert begun is not None
    assert all(attempt.ended_at is not None and attempt.ended_at <= begun for attempt in cast.settled("array").attempts)


def test_a_requeued_job_is_a_second_attempt_and_one_bill(cast: Cast, tmp_path: Path) -> None:
    """When Slurm's own scontrol requeues it, it runs again from its inputs; both runs are on one receipt."""
    cast.prints("requeued", "run 0")
    cast.site.slurm("scontrol", "requeue", str(cast.jobs["requeued"].id))
    job = cast.settled("requeued")
    assert (job.state, job.exit_code) == ("COMPLETED", 0)
    assert [attempt.number for attempt in job.attempts] == [0, 1]
    assert cast.files("requeued", tmp_path)["run.txt"] == "run 1\n"
    manifests = [key for key, _ in cast.site.store.list(f"jobs/{job.burst_id}/") if key.endswith("/manifest.json")]
    assert manifests == [f"jobs/{job.burst_id}/{number}/manifest.json" for number in (0, 1)]
    assert len(cast.receipt("requeued").lines) == 2


def test_one_key_sent_ten_times_at_once_is_one_job(cast: Cast) -> None:
    """Ten clients with the same Idempotency-Key and request get the same job; with another request, a refusal."""
    with cast.site.login(USER) as gateway:
        profile = gateway.session.profile
    request = SubmitRequest(script="#!/bin/sh\ntrue\n", options=("--time=1", LATER))
    how: dict[str, Any] = {"headers": {"Idempotency-Key": "the-same-key"}}

    def send(_: int) -> JobView:
        with Session(profile, patience_s=60) as session:
            return session.post("/jobs", request, JobView, **how)

    (before,) = cast.site.rows("SELECT count(*) FROM jobs")[0]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(10)))
    assert len({answer.burst_id for answer in answers}) == 1
    job = cast.jobs["keyed"] = answers[0]
    assert cast.site.rows("SELECT count(*) FROM jobs") == [(before + 1,)]
    assert cast.site.rows("SELECT count(*) FROM holds WHERE job = ?", job.burst_id) == [(1,)]
    assert cast.site.squeue().count(job.id or 0) == 1
    with Session(profile) as session, pytest.raises(Conflict):
        session.post("/jobs", request.model_copy(update={"script": "#!/bin/sh\nfalse\n"}), JobView, **how)


@pytest.mark.parametrize("ask", ["job", "cancel", "outputs", "receipt", "logs"])
def test_a_job_of_somebody_else_is_not_there(cast: Cast, ask: str) -> None:
    """To another user a job answers as one that never was, by any of its names, whatever is asked of it."""
    job = cast.settled("failing")
    with cast.site.login("demo") as demo:
        for name in (job.id, job.burst_id, 999_999):
            with pytest.raises(NotFound) as refused:
                getattr(demo, ask)(name)
            assert refused.value.detail == f"There is no job {name}."
        assert job.burst_id not in {listed.burst_id for listed in demo.jobs()}
        assert USER not in {balance.account for balance in demo.balance()}


def test_an_admin_sees_every_job_and_gives_credit(cast: Cast) -> None:
    """The admin lists everybody's jobs; only the admin can give credits, and the ledger shows them."""
    with cast.site.login("admin") as admin, cast.site.login(USER) as owner:
        assert {job.burst_id for job in cast.jobs.values()} <= {job.burst_id for job in admin.jobs()}
        (before,) = owner.balance()
        admin.credit(USER, 1_500_000, "a grant")
        (after,) = owner.balance()
        assert after.available_ucr == before.available_ucr + 1_500_000
        with pytest.raises(BurstError):
            owner.credit(USER, 1_500_000, "to myself")


def test_a_job_out_of_time_keeps_what_it_made(cast: Cast, tmp_path: Path) -> None:
    """Given --time=1, Slurm ends it as TIMEOUT; outputs are staged out, the bill is at most the hold."""
    job = cast.settled("limited")
    assert job.state == "TIMEOUT"
    assert cast.files("limited", tmp_path)["kept.txt"] == "begun\n"
    receipt = cast.receipt("limited")
    assert 0 < receipt.charged_ucr <= receipt.held_ucr
    assert cast.burst("job", str(job.id), "--json").json["exit_code"] != 0


def test_the_ledger_is_whole_after_all_of_them(cast: Cast) -> None:
    """Every hold of a settled job is settled, the chain is unbroken and sums to zero."""
    for name in [name for name in cast.jobs if name != "keyed"]:
        cast.settled(name)
    with cast.site.work() as work:
        work.ledger.verify_chain()
    ids = [job.burst_id for job in cast.ended.values()]
    marks = ",".join("?" * len(ids))
    assert cast.site.rows(f"SELECT DISTINCT state FROM holds WHERE job IN ({marks})", *ids) == [("settled",)]  # noqa: S608 - marks
    documents = cast.site.rows(f"SELECT document FROM receipts WHERE job IN ({marks})", *ids)  # noqa: S608
    numbers = [json.loads(document)["number"] for (document,) in documents]
    assert len(set(numbers)) == len(ids)
