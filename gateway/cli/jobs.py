"""burst jobs, job, logs, cancel.

Invariant: a job is named as Slurm names it, ``12`` or ``12_3``, or by the gateway's own id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click
from rich.live import Live

from gateway.cli.connection import connected
from gateway.cli.display import ago, on_terminal, rich_table, show_json, show_table
from gateway.cli.invocation import examples, job_argument, json_option
from gateway.cli.timeline import event_line, name_of, show_job, state_of
from gateway.client.gateway import Gateway
from gateway.wire import JobView

_LOOK_S = 1.0
_KIND_WIDTH = len("staging-out")
_COLUMNS = (">Job", "Name", "State", "Stage", "Offer", "Submitted", "Reason")


@click.command(epilog=examples("burst jobs", "burst jobs --state RUNNING", "burst jobs --watch", "burst jobs --json"))
@click.option("--state", help="Only jobs in this state of Slurm's: PENDING, RUNNING, COMPLETED, …")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.option("-w", "--watch", is_flag=True, help="Follow them until all have finished.")
@json_option
def jobs(state: str | None, limit: int, watch: bool, as_json: bool) -> None:
    """List your jobs, newest first."""
    with connected() as gateway:
        found = list(gateway.jobs(state=state, limit=limit))
        if watch:
            _watch(gateway, found, state, limit)
            return
    if as_json:
        show_json(found)
    elif found:
        show_table(_COLUMNS, [_row(job) for job in found])
    else:
        click.echo("No jobs. Submit one: burst submit job.sh", err=True)


@click.command(
    epilog=examples(
        "burst job 12",
        "burst job 12_3",
        "burst job 12 --watch",
        "burst job 12 --json",
        "burst job 12 --revoke-credential",
    )
)
@job_argument
@click.option("-w", "--watch", is_flag=True, help="Follow it until it has finished.")
@click.option(
    "--revoke-credential", "revoke", is_flag=True, help="End every credential that it was given; it runs on without."
)
@json_option
def job(job: str, watch: bool, revoke: bool, as_json: bool) -> None:
    """Show the job ID: each stage, when, and why it waits."""
    with connected() as gateway:
        found = gateway.revoke_credential(job) if revoke else gateway.job(job)
        if not as_json:
            show_job(found)
        if watch:
            found = follow(gateway, found, err=as_json)
    if as_json:
        show_json(found)


@click.command(epilog=examples("burst logs 12", "burst logs 12 -f", "burst logs 12_3 --stderr"))
@job_argument
@click.option("-f", "--follow", "following", is_flag=True, help="Print what is added until the job has finished.")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr, where that is a file of its own.")
@json_option
def logs(job: str, following: bool, stderr: bool, as_json: bool) -> None:
    """Print what the job ID wrote to its stdout."""
    stream = "stderr" if stderr else "stdout"
    with connected() as gateway:
        text = gateway.logs(job, stream)
        if as_json:
            click.echo(json.dumps({"job": job, "stream": stream, "text": text}))
            return
        click.echo(text, nl=False)
        if following:
            _print_growth(gateway, job, stream, len(text))


@click.command(epilog=examples("burst cancel 12", "burst cancel 12_3 13"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def cancel(job_ids: Sequence[str], as_json: bool) -> None:
    """End the jobs ID; what they made so far is staged out, and only what they used is paid."""
    with connected() as gateway:
        ended = [gateway.cancel(one) for one in job_ids]
    if as_json:
        show_json(ended)
        return
    for one in ended:
        ended_now = one.finished or one.state == "CANCELLED"
        click.echo(f"Job {name_of(one)}: {state_of(one) if ended_now else f'is being ended; it was {one.state}'}")


def follow(gateway: Gateway, shown: JobView, *, err: bool = True) -> JobView:
    """Print each event that comes after those in ``shown``, until the job has finished; return its last view."""
    known, reason, view = len(shown.timeline), shown.reason, shown
    for view in gateway.watch(name_of(shown)):
        for event in view.timeline[known:]:
            click.echo(event_line(event, view.submitted_at, _KIND_WIDTH), err=err)
        if view.reason not in {"", reason} and not view.finished and len(view.timeline) == known:
            click.echo(f"{'now':>12}  {view.reason}", err=err)
        known, reason = len(view.timeline), view.reason
    return view


def _row(job: JobView) -> tuple[str, ...]:
    return (name_of(job), job.name, job.state, job.stage, job.offer, ago(job.submitted_at), job.reason)


def _watch(gateway: Gateway, found: list[JobView], state: str | None, limit: int) -> None:
    if on_terminal():
        with Live(rich_table(_COLUMNS, map(_row, found)), auto_refresh=False) as live:
            while any(not one.finished for one in found):
                time.sleep(_LOOK_S)
                found = list(gateway.jobs(state=state, limit=limit))
                live.update(rich_table(_COLUMNS, map(_row, found)), refresh=True)
        return
    told: dict[str, str] = {}
    while True:
        for one in found:
            if told.get(one.burst_id) != state_of(one):
                told[one.burst_id] = state_of(one)
                click.echo(f"{name_of(one)}  {one.name}  {state_of(one)}")
        if all(one.finished for one in found):
            return
        time.sleep(_LOOK_S)
        found = list(gateway.jobs(state=state, limit=limit))


def _print_growth(gateway: Gateway, job: str, stream: str, printed: int) -> None:
    """The view is taken before the text, so that what came with the end is not missed."""
    finished = False
    while not finished:
        time.sleep(_LOOK_S)
        finished = gateway.job(job).finished
        text = gateway.logs(job, stream)
        click.echo(text[printed:], nl=False)
        printed = max(printed, len(text))
