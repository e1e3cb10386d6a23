"""A job's life as sentences: what it is, each stage with its time, and what it waits for now.

Invariant: times are shown twice, since the submission and on the reader's clock.
"""

from __future__ import annotations

from datetime import datetime

import click

from gateway.cli.display import ago, duration, moment, show_facts, show_table
from gateway.client.money import in_credits
from gateway.wire import AttemptView, EventView, JobView

_SEVERAL_NODES = 4


def show_job(job: JobView) -> None:
    """Print a job: its facts, its runs if there are several, its timeline."""
    show_facts(
        [
            ("Job", f"{name_of(job)}  {job.name}"),
            ("State", state_of(job)),
            ("Account", f"{job.account} (held {in_credits(job.hold_ucr)})"),
            ("Offer", job.offer),
            ("Submitted", f"{moment(job.submitted_at)} ({ago(job.submitted_at)})"),
            ("Ended", _ended(job)),
        ]
    )
    if len(job.attempts) > 1:
        click.echo()
        show_table((">Run", "State", "Nodes", "Started", ">Took", ">Exit"), [_run(run) for run in job.attempts])
    click.echo()
    for line in story(job):
        click.echo(line)


def story(job: JobView) -> list[str]:
    """The timeline, one line an event, and what the job waits for."""
    kinds = max((len(event.kind) for event in job.timeline), default=0)
    lines = [event_line(event, job.submitted_at, kinds) for event in job.timeline]
    if not job.finished and job.reason:
        lines.append(f"{'now':>12}  {job.reason}")
    return lines


def event_line(event: EventView, start: datetime, width: int = 0) -> str:
    """One event: since the submission, on the clock, what."""
    since = f"+{duration(max(0.0, (event.at - start).total_seconds()))}"
    return f"{since:>12}  {event.at.astimezone():%H:%M:%S}  {event.kind.ljust(width)}  {event.text}"


def state_of(job: JobView) -> str:
    """Slurm's state and why, as one line."""
    code = f", exit code {job.exit_code}" if job.finished and job.exit_code is not None else ""
    return f"{job.state}{code}" + (f": {job.reason}" if job.reason else "")


def name_of(job: JobView) -> str:
    """What the user calls it: Slurm's job id; the gateway's own before Slurm has it."""
    return job.burst_id if job.id is None else str(job.id)


def _ended(job: JobView) -> str:
    if job.ended_at is None:
        return ""
    return f"{moment(job.ended_at)} (after {duration((job.ended_at - job.submitted_at).total_seconds())})"


def _run(run: AttemptView) -> tuple[str, ...]:
    number = str(run.scheduler_id) if run.task is None else f"task {run.task}"
    took = ""
    if run.started_at and run.ended_at:
        # Slurm cuts the end to whole seconds, so a short run may seem to end before it began.
        took = duration(max(0.0, (run.ended_at - run.started_at).total_seconds()))
    few = ",".join(run.nodes[:_SEVERAL_NODES]) + ("…" if len(run.nodes) > _SEVERAL_NODES else "")
    code = "" if run.exit_code is None else str(run.exit_code)
    again = f" (run {run.number + 1})" if run.number else ""
    return (number + again, run.state, few, moment(run.started_at), took, code)
