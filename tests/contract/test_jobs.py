"""The stored jobs, on every database: no stage is taken twice, nothing known is forgotten, any request comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import Conflict, NotFound
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources, StageIn
from gateway.jobs.stages import FINAL, ROUTE_ORDER, Stage, may_move
from gateway.jobs.store import Part
from gateway.storage.jobs import SqlJobs

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST = JobRequest("x", "#!/bin/sh\n", (), {"time": "1"}, Resources(array_tasks=3), BurstOptions())


def a_job(number: int = 0, **facts: object) -> Job:
    """A job, of its own id and time."""
    at = NOW + timedelta(seconds=number)
    job = Job(f"{number:032x}", None, "ada", "ada", REQUEST, "small", Stage.FUNDED, "PENDING", "", 7, "a" * 64, at)
    return replace(job, **facts)


ATTEMPT = Attempt(a_job().id, NO_TASK, 0, 12, "RUNNING", ("small-1", "small-2"), started_at=NOW)


@pytest.fixture
def jobs(database):
    """An empty store, in one transaction."""
    with database.begin() as connection:
        yield SqlJobs(connection)


@pytest.fixture
def job(jobs):
    """One job in it."""
    jobs.add(a_job())
    return a_job()


# PostgreSQL stores no NUL, and the wire lets none through; lone surrogates are no text.
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
texts = st.dictionaries(text, text, max_size=3)
counts = st.integers(0, 2**40)
inputs = st.builds(
    StageIn, text, text, line=st.none() | counts, key=st.none() | text, size=counts, sha256=st.just("b" * 64)
)
requests = st.builds(
    JobRequest,
    name=text,
    script=text,
    arguments=st.lists(text, max_size=3).map(tuple),
    options=texts,
    resources=st.builds(Resources, *[counts] * 12),
    burst=st.builds(
        BurstOptions,
        stage_in=st.lists(inputs, max_size=3).map(tuple),
        stage_out=st.lists(text, max_size=3).map(tuple),
        account_to=st.none() | text,
        max_cost_ucr=st.none() | counts,
    ),
    environment=texts,
    submit_directory=text,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=requests)
def test_any_request_comes_back_as_it_was(database, request):
    """Through JSON and back: script, options, numbers and all."""
    with database.engine.connect() as connection:
        SqlJobs(connection).add(a_job(request=request))

        assert SqlJobs(connection).get(a_job().id) == a_job(request=request)
        connection.rollback()


def test_all_facts_come_back_as_they_were(jobs, job):
    """Every field of a job, with its times in UTC."""
    facts = {"scheduler_id": 2**32 - 1, "state": "FAILED", "reason": "é", "exit_code": 137, "ended_at": NOW}

    noted = jobs.note(job, cancel_requested=True, **facts)

    assert jobs.get(job.id) == jobs.by_scheduler_id(2**32 - 1) == noted


@pytest.mark.parametrize("ask", [lambda jobs: jobs.get("f" * 32), lambda jobs: jobs.by_scheduler_id(99)])
def test_a_job_that_is_not_there_is_not_found(jobs, ask):
    """With what to do next."""
    with pytest.raises(NotFound) as refused:
        ask(jobs)

    assert refused.value.hint


@pytest.mark.parametrize("old", ROUTE_ORDER)
@pytest.mark.parametrize("new", list(Stage))
def test_only_legal_moves_are_recorded(jobs, old, new):
    """Whatever the table does not have is a conflict, and changes nothing."""
    job = a_job(stage=old)
    jobs.add(job)
    if may_move(old, new):
        assert jobs.move(job, new, NOW, "told").stage is jobs.get(job.id).stage is new
        return
    with pytest.raises(Conflict):
        jobs.move(job, new, NOW, "told")
    assert (jobs.get(job.id), jobs.timeline(job.id)) == (job, ())


def test_a_late_worker_does_not_overwrite_a_move(jobs, job):
    """Two workers saw the same stage: one moves it, the other gets a conflict."""
    moved = jobs.move(job, Stage.STAGED_IN, NOW, "first")

    for attempt in (
        lambda: jobs.move(job, Stage.STAGED_IN, NOW, "second"),
        lambda: jobs.move(job, Stage.RAN, NOW, "second"),
        lambda: jobs.note(job, reason="second"),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert jobs.get(job.id) == moved
    assert [event.text for event in jobs.timeline(job.id)] == ["first"]


def test_facts_noted_by_two_workers_do_not_erase_each_other(jobs, job):
    """Only what changed is written: a cancel is not lost to a poll."""
    jobs.note(job, cancel_requested=True)
    jobs.note(job, state="RUNNING")

    assert jobs.get(job.id) == replace(job, cancel_requested=True, state="RUNNING")


def test_open_jobs_are_listed_oldest_first_and_small(jobs):
    """Those at some stages, with what is needed to see whether they can go on."""
    for number, stage in enumerate((Stage.QUEUED, Stage.SETTLED, Stage.RAN, Stage.QUEUED)):
        jobs.add(a_job(9 - number, stage=stage, scheduler_id=number))

    listed = jobs.at(set(Stage) - FINAL)

    assert [one.scheduler_id for one in listed] == [3, 2, 0]
    assert {(one.array_tasks, one.cancel_requested) for one in listed} == {(3, False)}
    assert jobs.at([]) == ()


def test_pages_have_every_job_once_newest_first(jobs):
    """Also where many came at the same moment."""
    made = [a_job(number, submitted_at=NOW + timedelta(seconds=number // 4)) for number in range(11)]
    for job in made:
        jobs.add(job)
    seen, before = [], None
    while page := jobs.page(None, before, 3, None):
        seen, before = [*seen, *page], page[-1].id

    assert seen == sorted(made, key=lambda job: (job.submitted_at, job.id), reverse=True)


def test_a_page_is_of_one_user_and_one_state(jobs):
    """Others are neither in it nor count for its size."""
    for number in range(6):
        jobs.add(a_job(number, user=("ada", "bob")[number % 2], state=("PENDING", "RUNNING")[number // 3]))

    assert [int(job.id, 16) for job in jobs.page("ada", None, 2, None)] == [4, 2]
    assert [int(job.id, 16) for job in jobs.page("ada", None, 9, "RUNNING")] == [4]


def test_a_line_that_repeats_the_last_one_is_told_once(jobs, job):
    """A reason that comes back after another one is told again."""
    for text_ in ("a", "a", "b", "a", "a"):
        jobs.tell(job.id, NOW, "waiting", text_)
    jobs.tell(job.id, NOW, "other", "a")

    assert [(event.kind, event.text) for event in jobs.timeline(job.id)] == [
        ("waiting", "a"),
        ("waiting", "b"),
        ("waiting", "a"),
        ("other", "a"),
    ]


def test_an_attempt_forgets_nothing(jobs, job):
    """What one source does not know, another had told: it stays."""
    jobs.put_attempt(ATTEMPT)
    jobs.put_attempt(Attempt(job.id, NO_TASK, 0, 12, "COMPLETED", (), ended_at=NOW, exit_code=0, stdout="/j/out"))
    jobs.put_attempt(Attempt(job.id, NO_TASK, 0, 12, "COMPLETED", manifest_sha256="c" * 64))

    assert jobs.attempts(job.id) == (
        replace(ATTEMPT, state="COMPLETED", ended_at=NOW, exit_code=0, stdout="/j/out", manifest_sha256="c" * 64),
    )


def test_the_latest_attempt_of_each_task_counts(jobs, job):
    """Requeues are attempts of their own, and each task has its last one."""
    made = [replace(ATTEMPT, task=task, number=number, scheduler_id=12 + task) for task in (1, 0) for number in (0, 1)]
    for attempt in made:
        jobs.put_attempt(attempt)

    assert [(one.task, one.number) for one in jobs.attempts(job.id)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [(one.task, one.number) for one in jobs.latest_attempts(job.id)] == [(0, 1), (1, 1)]
    assert (jobs.attempt_on(13).task, jobs.attempt_on(13).number) == (1, 1)
    with pytest.raises(NotFound):
        jobs.attempt_on(99)


def test_a_second_report_of_a_node_replaces_its_first(jobs, job):
    """Parts come by node, and a node whose part has come has reported this attempt only."""
    jobs.put_attempt(ATTEMPT)
    first = Part("small-2", ({"path": "a", "key": "files/small-2/a", "size": 1, "sha256": "d" * 64},), ("lost b",))
    second = Part("small-2", (), ())

    jobs.add_part(ATTEMPT, first, NOW)
    assert jobs.parts(ATTEMPT) == (first,)
    jobs.add_part(ATTEMPT, second, NOW)
    jobs.add_part(ATTEMPT, replace(first, node="small-1"), NOW)

    assert [part.node for part in jobs.parts(ATTEMPT)] == ["small-1", "small-2"]
    assert jobs.parts(ATTEMPT)[1] == second
    assert jobs.reported(job.id, "0", "small-1")
    assert not jobs.reported(job.id, "1", "small-1")
    assert not jobs.reported(job.id, "0", "small-3")
