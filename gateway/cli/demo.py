"""burst demo: one real job through the whole gateway, from an empty directory to a receipt and no nodes.

Invariant: whatever happens, Ctrl-C included, the gateway is taken down again, unless --keep was given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.display import duration, size
from gateway.cli.invocation import examples, json_option
from gateway.cli.narrator import Narrator
from gateway.cli.showcase import Showcase, choose
from gateway.cli.timeline import name_of
from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.money import in_credits
from gateway.client.session import Session
from gateway.errors import BurstError
from gateway.wire import JobView, Receipt

_USER = "demo"
_IDLE_S = 5
"""How long a node stays idle in the demo before Slurm gives it back."""
_GONE_WITHIN_S = 120.0
_LOOK_S = 0.3


@dataclass(frozen=True)
class Result:
    """What the demo showed."""

    jobs: list[JobView]
    files: int
    answer: str
    receipts: list[Receipt]


@click.command(epilog=examples("burst demo", "burst demo --dir /tmp/d --form process", "burst demo --keep"))
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".burst/demo"),
    show_default=True,
)
@click.option("--keep", is_flag=True, help="Leave the gateway running, to look at.")
@click.option(
    "--form",
    type=click.Choice(["auto", "container", "process"]),
    default="auto",
    show_default=True,
    help="Form of the local cloud's nodes; auto tries containers first.",
)
@json_option
def demo(directory: Path, keep: bool, form: str, as_json: bool) -> None:
    """Start a gateway, run one real job on nodes made for it, check the result, and take all of it away again."""
    os.environ["BURST_CONFIG"] = str(directory.absolute() / "client")
    os.environ.pop("BURST_URL", None)
    with _terminable(), Narrator(err=as_json) as narrator:
        with _gateway(directory, form, narrator, keep=keep) as facts:
            result = _show(facts, directory, narrator)
        narrator.heading(f"Done in {duration(narrator.elapsed_s)}: {result.answer}")
    if as_json:
        click.echo(json.dumps(_summary(result, narrator.elapsed_s), indent=2))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that it tears down too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _gateway(directory: Path, form: str, narrator: Narrator, *, keep: bool) -> Iterator[dict[str, Any]]:
    """A gateway that is up inside, and down outside."""
    narrator.heading("A gateway, its Slurm, its object store and its local cloud")
    try:
        yield bootstrap(
            "up", directory, ["--set", f"nodes={form}", "--set", f"idle_s={_IDLE_S}"], progress=narrator.say
        )
    except BurstError as error:
        narrator.say(f"failed: {error.detail}", style="bold red")
        raise
    finally:
        if keep:
            narrator.heading(
                f"Kept: BURST_CONFIG={os.environ['BURST_CONFIG']} burst nodes; burst down --dir {directory}"
            )
        else:
            narrator.heading("Down")
            stopped = bootstrap("down", directory, progress=narrator.say).get("stopped", [])
            narrator.say(f"stopped: {', '.join(map(str, stopped))}")


def _show(facts: dict[str, Any], directory: Path, narrator: Narrator) -> Result:
    slurm, nodes = facts["slurm"], facts["nodes"]
    narrator.say(f"gateway {facts['url']}, Slurm {slurm['version']} ({slurm['origin']}), store {facts['store']['url']}")
    narrator.say(nodes["reason"])
    showcase = choose(nodes["form"])
    with _login(facts, narrator) as gateway:
        narrator.say(f"the job: {showcase.about} (examples/{showcase.folder})")
        jobs, files, results = _run(gateway, showcase, directory / "results", narrator)
        answer = showcase.judge(results)
        narrator.say(f"right: {answer}", style="bold green")
        receipts = [gateway.receipt(name_of(job)) for job in jobs]
        for receipt in receipts:
            _bill(receipt, narrator)
        _wait_until_gone(gateway, narrator)
        _balance(gateway, narrator)
    return Result(jobs, files, answer, receipts)


def _login(facts: dict[str, Any], narrator: Narrator) -> Gateway:
    narrator.heading("Login, price, submission")
    password = Path(facts["users"][_USER]).read_text().strip()
    session = Session.login(facts["url"], _USER, password)
    session.save()
    narrator.say(f"logged in as {_USER}; the session's key was made here and signs every request")
    gateway = Gateway(session)
    _balance(gateway, narrator)
    return gateway


def _balance(gateway: Gateway, narrator: Narrator) -> None:
    for account in gateway.balance():
        narrator.say(
            f"account {account.account}: {in_credits(account.available_ucr)}, held {in_credits(account.held_ucr)}"
        )


def _run(
    gateway: Gateway, showcase: Showcase, destination: Path, narrator: Narrator
) -> tuple[list[JobView], int, Path]:
    """Run each script to its end and fetch what it left; return the jobs, how many files came, and the last folder."""
    jobs: list[JobView] = []
    count, results, carried = 0, destination, tuple[str, ...]()
    for script in showcase.scripts:
        job = _submit(gateway, showcase.path(), script, carried, narrator)
        (ended,) = narrator.accompany(gateway, [job])
        _refuse_failure(ended)
        results = destination / job
        count += _fetch(gateway, job, results, narrator)
        carried = tuple(str(path.absolute()) for path in sorted(results.glob(showcase.carried or "[]")))
        jobs.append(ended)
    return jobs, count, results


def _submit(gateway: Gateway, folder: Path, script: str, inputs: Sequence[str], narrator: Narrator) -> str:
    job = Submission(read_script(folder / script), script, directory=folder, stage_in=inputs)
    quote = gateway.quote(job)
    narrator.say(f"quote for {script}: at most {in_credits(quote.total_ucr)} on {quote.offer}")
    name = name_of(gateway.submit(job))
    narrator.say(f"Submitted batch job {name}", style="bold green")
    narrator.heading("Nodes come, the job runs, its files leave")
    return name


def _refuse_failure(job: JobView) -> None:
    if job.state != "COMPLETED":
        why = job.reason or f"exit code {job.exit_code}"
        raise BurstError(f"job {job.id} ended as {job.state}: {why}", hint="run it again with --keep, then burst logs")


def _fetch(gateway: Gateway, job: str, where: Path, narrator: Narrator) -> int:
    shutil.rmtree(where, ignore_errors=True)
    found = gateway.fetch(job, where)
    total = size(sum(file.size for file in found.files))
    narrator.say(f"job {job}: {len(found.files)} files, {total}, every SHA-256 verified, in {where}")
    return len(found.files)


def _bill(receipt: Receipt, narrator: Narrator) -> None:
    for line in receipt.lines:
        narrator.say(
            f"receipt {receipt.number}: {line.text}, {line.quantity:.6g} {line.unit}, {in_credits(line.amount_ucr)}"
        )
    narrator.say(
        f"receipt {receipt.number}: held {in_credits(receipt.held_ucr)}, charged {in_credits(receipt.charged_ucr)}, "
        f"given back {in_credits(receipt.refunded_ucr)}"
    )


def _wait_until_gone(gateway: Gateway, narrator: Narrator) -> None:
    narrator.heading(f"Nodes go after {_IDLE_S} s without work")
    deadline = time.monotonic() + _GONE_WITHIN_S
    while True:
        nodes = gateway.nodes()
        narrator.nodes(nodes)
        left = [node.name for node in nodes if node.state != "gone"]
        if not left:
            narrator.say("no nodes are left")
            return
        if time.monotonic() > deadline:
            raise BurstError(
                f"still there after {_GONE_WITHIN_S:.0f} s: {', '.join(left)}", hint="see the gateway's log"
            )
        time.sleep(_LOOK_S)


def _summary(result: Result, elapsed_s: float) -> dict[str, Any]:
    return {
        "jobs": [job.model_dump(mode="json") for job in result.jobs],
        "files": result.files,
        "answer": result.answer,
        "receipts": [receipt.model_dump(mode="json") for receipt in result.receipts],
        "elapsed_s": round(elapsed_s, 1),
    }
