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
from gateway.cli.invocation import examples, job_and_path, json_option
from gateway.client import transfer
from gateway.client.shares import open_link
from gateway.wire import LinkedFiles, Outputs


@click.command(
    epilog=examples(
        "burst fetch 12",
        "burst fetch 12:results --to results",
        "burst fetch --link link.txt",
        "burst fetch --link - < link.txt",
        "burst fetch 12 --json",
    )
)
@click.argument("target", metavar="[ID[:PATH]]", required=False)
@click.option("--link", metavar="FILE|URL", help="Fetch what a link opens; - reads it from stdin.")
@click.option(
    "--to", "destination", type=click.Path(path_type=Path, file_okay=False), help="A folder. [default: job-ID here]"
)
@json_option
def fetch(target: str | None, link: str | None, destination: Path | None, as_json: bool) -> None:
    """Download the files of the job ID, those below PATH, and verify each SHA-256 against the job's manifest.

    The job may be another's who shares it with you. A link needs no login; in a FILE its secret is in no process list.
    """
    if (target is None) == (link is None):
        raise click.UsageError("Name a job, or a link with --link")
    found: Outputs | LinkedFiles
    if link is not None:
        found = open_link(_link_text(link))
        where = destination or Path("shared")
    else:
        job, path = job_and_path(target or "")
        where = destination or Path(f"job-{job}")
        with connected() as gateway:
            found = gateway.shares.outputs(job, path)
    done = _download(found, where)
    if as_json:
        show_json(found)
    else:
        _summary(found, done, where)


def _link_text(link: str) -> str:
    if "://" in link:
        return link
    return sys.stdin.readline() if link == "-" else Path(link).read_text()


def _download(found: Outputs | LinkedFiles, where: Path) -> transfer.Fetched:
    """With a progress bar where a person watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("fetching", total=sum(file.size for file in found.files))
        return transfer.fetch(found.files, where, progress=lambda count: bar.advance(task, count))


def _summary(found: Outputs | LinkedFiles, done: transfer.Fetched, where: Path) -> None:
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
