"""burst fetch.

Invariant: a file is under its name only once its SHA-256 is the manifest's; exit 0 means that all of them are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from gateway.cli.connection import connected
from gateway.cli.display import show_json, show_table, size
from gateway.cli.invocation import examples, job_argument, json_option
from gateway.client import transfer
from gateway.wire import Outputs


@click.command(epilog=examples("burst fetch 12", "burst fetch 12 --to results", "burst fetch 12 --json"))
@job_argument
@click.option(
    "--to", "destination", type=click.Path(path_type=Path, file_okay=False), help="A folder. [default: job-ID here]"
)
@json_option
def fetch(job: str, destination: Path | None, as_json: bool) -> None:
    """Download the files of the job ID and verify each SHA-256 against the job's manifest."""
    where = destination or Path(f"job-{job}")
    with connected() as gateway:
        found = gateway.outputs(job)
    done = _download(found, where)
    if as_json:
        show_json(found)
    else:
        _summary(found, done, where)


def _download(found: Outputs, where: Path) -> transfer.Fetched:
    """With a progress bar where a person watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("fetching", total=sum(file.size for file in found.files))
        return transfer.fetch(found.files, where, progress=lambda count: bar.advance(task, count))


def _summary(found: Outputs, done: transfer.Fetched, where: Path) -> None:
    if not found.files:
        click.echo("The job left no files.", err=True)
        return
    show_table(
        ("File", ">Size", "SHA-256", "Task"),
        [
            (file.path, size(file.size), file.sha256[:16], "" if file.task is None else str(file.task))
            for file in found.files
        ],
    )
    total = size(sum(file.size for file in found.files))
    before = f" ({done.skipped} were there already)" if done.skipped else ""
    click.echo(f"\n{len(found.files)} files, {total}, in {where}{before}; every SHA-256 is as the manifest has it.")
