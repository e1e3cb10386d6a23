"""How a job's tasks stand together, which attempts they are, and what Slurm is given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.engine import SchedulerJob
from gateway.engines.run import Place, attempts_of, hand_over, standing, submission_of, superseded
from gateway.errors import SchedulerRefused
from gateway.jobs.job import NO_TASK, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage
from gateway.slurm.dependencies import named

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDS = sorted(SchedulerJob.BASE_STATES - {"PENDING", "RUNNING", "SUSPENDED"})


def task(*states: str, index: int | None = None, **facts: object) -> SchedulerJob:
    """A job, or task ``index`` of an array, in these states."""
    job = SchedulerJob(
        id=12 + (index or 0),
        array_job_id=None if index is None else 12,
        array_task_id=index,
        token="f" * 32,
        states=frozenset(states),
        reason="",
        nodes=("small-1",),
        batch_host="small-1",
        submitted_at=NOW,
        started_at=NOW,
        ended_at=NOW,
        exit_code=0,
        signal=None,
        restarts=0,
        partition="burst",
        name="x",
        user="nobody",
        standard_output="/j/slurm-12.out",
        standard_error="/j/slurm-12.err",
    )
    return replace(job, **facts)


def a_job(**options: str) -> Job:
    """A job that was submitted with these options."""
    request = JobRequest("x", "#!/bin/sh\n", (), options, Resources(), BurstOptions(), {"MINE": "1", "HOME": "/root"})
    return Job("f" * 32, None, "ada", "ada", request, "small", Stage.STAGED_IN, "PENDING", "", 1, "a" * 64, NOW)


@pytest.mark.parametrize(
    ("states", "together"),
    [
        ([], "PENDING"),
        (["PENDING"], "PENDING"),
        (["PENDING", "RUNNING"], "RUNNING"),
        (["PENDING", "COMPLETED"], "PENDING"),
        (["SUSPENDED", "COMPLETED"], "RUNNING"),
        (["COMPLETED", "COMPLETED"], "COMPLETED"),
        (["COMPLETED", "CANCELLED"], "CANCELLED"),
        (["COMPLETED", "CANCELLED", "FAILED"], "FAILED"),
        (["FAILED", "TIMEOUT"], "TIMEOUT"),
        (["TIMEOUT", "OUT_OF_MEMORY"], "OUT_OF_MEMORY"),
        (["OUT_OF_MEMORY", "NODE_FAIL"], "NODE_FAIL"),
    ],
)
def test_one_state_stands_for_all_tasks(states, together):
    """What runs wins, then what waits, then the worst end."""
    assert standing(task(state, index=number) for number, state in enumerate(states)).state == together


@given(st.lists(st.sampled_from(sorted(SchedulerJob.BASE_STATES)), min_size=1, max_size=6), st.randoms())
def test_the_order_of_tasks_does_not_matter(states, order):
    """Slurm lists tasks as it likes."""
    tasks = [task(state, index=number) for number, state in enumerate(states)]
    shuffled = order.sample(tasks, len(tasks))

    assert replace(standing(tasks), tasks=()) == replace(standing(shuffled), tasks=())
    assert standing(tasks).finished == all(state in ENDS for state in states)


@pytest.mark.parametrize("flag", ["COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STAGE_OUT"])
def test_a_task_whose_epilog_runs_or_that_comes_back_is_not_over(flag):
    """Until then its outputs and its exit code are not final."""
    stands = standing([task("COMPLETED", index=0), task("FAILED", flag, index=1, exit_code=3)])

    assert (stands.finished, stands.exit_code) == (False, None)


def test_a_job_without_tasks_is_not_over():
    """An empty answer is not an end."""
    assert not standing([]).finished


def test_the_exit_code_is_a_shells_and_the_worst_of_all():
    """A signal counts as 128 and its number, as in sh."""
    stands = standing([task("COMPLETED"), task("FAILED", exit_code=3), task("FAILED", exit_code=0, signal=9)])

    assert stands.exit_code == 137


def test_a_job_whose_nodes_are_made_is_configuring():
    """It waits for the nodes of those tasks; one that runs makes the job a running one."""
    made = task("RUNNING", "CONFIGURING", index=0, nodes=("small-1", "small-2"))
    waits = task("PENDING", index=1, nodes=(), reason="Resources")

    assert standing([made, waits]).state == "CONFIGURING"
    assert standing([made, waits]).waiting_for == ("small-1", "small-2")
    assert standing([made, waits]).reason == "Resources"
    assert standing([made, task("RUNNING", index=2)]).state == "RUNNING"


def test_only_what_began_is_an_attempt():
    """Neither a waiting task nor one whose nodes are being made."""
    tasks = [
        task("PENDING", index=0),
        task("RUNNING", "CONFIGURING", index=1),
        task("RUNNING", index=2),
        task("CANCELLED", index=3, nodes=()),
        task("COMPLETED", index=4, exit_code=0),
    ]

    attempts = attempts_of(a_job(), tasks)

    assert [(one.task, one.state, one.ended_at, one.exit_code) for one in attempts] == [
        (2, "RUNNING", None, None),
        (4, "COMPLETED", NOW, 0),
    ]
    assert attempts[0].stdout == "/j/slurm-12.out"


def test_a_restart_is_an_attempt_of_its_own():
    """Slurm's restart count numbers them; the run before it ends when that is seen, once."""
    first, second = (attempts_of(a_job(), [task("RUNNING", restarts=number)])[0] for number in (0, 1))
    later = NOW + timedelta(seconds=5)

    assert (first.task, first.label, second.label) == (NO_TASK, "0", "1")
    over = superseded([first, second], [task("RUNNING", restarts=1)], later)
    assert [(one.number, one.state, one.ended_at) for one in over] == [(0, "REQUEUED", later)]
    assert not superseded([*over, second], [task("RUNNING", restarts=1)], later)


@pytest.mark.parametrize(("asked", "given_"), [(None, "small"), ("avx2", "(avx2)&small"), ("a|b", "(a|b)&small")])
def test_the_offer_is_a_constraint_besides_the_users_own(asked, given_):
    """An alternative of the user's does not make another offer possible."""
    job = a_job(**({} if asked is None else {"constraint": asked}))

    assert submission_of(job, Place("/j", "nobody"), {}).options["constraint"] == given_


def test_what_is_the_jobs_own_wins_over_what_the_user_exported():
    """HOME on the node is the job's; the user's other variables stay."""
    submission = submission_of(a_job(), Place("/j", "nobody"), {"HOME": "/j/home"})

    assert submission.environment == {"MINE": "1", "HOME": "/j/home"}
    assert (submission.token, submission.working_directory) == ("f" * 32, f"/j/{'f' * 32}/work")


@pytest.mark.parametrize(
    ("retry", "known", "asked"),
    [(False, None, ["submit"]), (True, None, ["find", "submit"]), (True, 7, ["find"])],
)
def test_a_second_try_asks_first(retry, known, asked):
    """A job whose reply was lost is found by its token, and never given to Slurm twice."""
    calls: list[str] = []

    class Recorded:
        """Only what is asked of the port matters here."""

        def find(self, _token):
            calls.append("find")
            return known

        def submit(self, _submission):
            calls.append("submit")
            return 7

    submission = submission_of(a_job(), Place("/j", None), {})

    assert hand_over(Recorded(), submission, retry=retry) == 7
    assert calls == asked


@pytest.mark.parametrize(
    ("dependency", "jobs"),
    [
        ("", ()),
        ("singleton", ()),
        ("12", (12,)),
        ("afterok:12", (12,)),
        ("afterok:12:13,afterany:14", (12, 13, 14)),
        ("afterok:12?afternotok:13", (12, 13)),
        ("aftercorr:12_3", (12,)),
        ("after:12+5:13+10", (12, 13)),
        ("afterok:12, afterok:12", (12,)),
        ("afterok:", ()),
        ("afterok:x", ()),
        ("afterok:12,nonsense", (12,)),
    ],
)
def test_the_jobs_that_a_dependency_names(dependency, jobs):
    """In order, each once; what sbatch would refuse names none."""
    assert named(dependency) == jobs


@given(st.text(max_size=40))
def test_any_text_names_some_jobs_or_none(dependency):
    """No text makes it fail."""
    assert all(isinstance(one, int) for one in named(dependency))


def test_a_job_in_place_keeps_its_submitters_directory_and_environment() -> None:
    """Given a job that runs in place, when it is handed over, then directory, HOME and PATH are its submitter's."""
    request = replace(
        a_job().request,
        in_place=True,
        submit_directory="/home/ada/run",
        environment={"HOME": "/home/ada", "PATH": "/a"},
    )
    given_ = {"HOME": "/j/home", "PATH": "/usr/bin", "BURST_URL": "http://gateway"}

    submission = submission_of(replace(a_job(), request=request), Place("/j", None), given_)

    assert submission.working_directory == "/home/ada/run"
    assert submission.environment == {"HOME": "/home/ada", "PATH": "/a:/usr/bin", "BURST_URL": "http://gateway"}


def test_on_a_site_a_job_goes_to_its_partition_as_its_owner():
    """Whatever partition the script names; names of users may differ; root is nobody's."""
    place = Place("/j", None, partition="cloud", unix_names={"ada": "lovelace"})

    submission = submission_of(replace(a_job(), user="ada"), place, {})
    assert (submission.options["partition"], submission.user) == ("cloud", "lovelace")
    assert submission_of(replace(a_job(), user="bob"), place, {}).user == "bob"
    with pytest.raises(SchedulerRefused, match="root"):
        submission_of(replace(a_job(), user="root"), place, {})
