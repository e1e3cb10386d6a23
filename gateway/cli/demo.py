"""burst demo: one real job through the whole gateway, from an empty directory to a receipt and no nodes.

Invariant: whatever happens, Ctrl-C included, the gateway is taken down again, unless --keep was given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
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
from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.money import in_credits
from gateway.client.session import Session
from gateway.errors import BurstError, SetupError
from gateway.wire import JobView, Outputs, Receipt

_USER = "demo"
_IDLE_S = 5
"""How long a node stays idle in the demo before Slurm gives it back."""
_GONE_WITHIN_S = 120.0
_LOOK_S = 0.3


@dataclass(frozen=True)
class Example:
    """A folder of ``examples/``: its scripts, each after the one before, and ``check.py DIRECTORY`` for the result."""

    folder: str
    scripts: Sequence[str]
    about: str


MADELUNG = Example("mpi-madelung", ("job.sh",), "the Madelung constant of rock salt by MPI over two nodes")
ISING = Example("ising-array", ("sweep.sh", "reduce.sh"), "the 2-D Ising model as a job array, then a reduction")


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
    narrator.say(f"nodes are of the form {nodes['form']}: {nodes['reason']}")
    with _login(facts, narrator) as gateway:
        example = _choose(nodes["form"], narrator)
        folder = _folder(example)
        ids = _submit(gateway, example, folder, narrator)
        narrator.heading("Nodes come, the job runs, its files leave")
        jobs = narrator.accompany(gateway, ids)
        _refuse_failure(jobs)
        narrator.heading("Results")
        files, answer = _results(gateway, ids, folder, directory / "results", narrator)
        receipts = [gateway.receipt(job) for job in ids]
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


def _choose(form: str, narrator: Narrator) -> Example:
    """Process nodes see this machine's programs only; container nodes bring OpenMPI in their image."""
    if form == "process" and shutil.which("mpirun") is None:
        narrator.say("this machine has no mpirun: showing an array job instead of an MPI job")
        return ISING
    return MADELUNG


def _folder(example: Example) -> Path:
    folder = Path(__file__).resolve().parents[2] / "examples" / example.folder
    if not folder.is_dir():
        raise SetupError(f"{folder} is not there", hint="run the demo from a checkout of the project")
    return folder


def _submit(gateway: Gateway, example: Example, folder: Path, narrator: Narrator) -> list[str]:
    narrator.say(f"the job: {example.about} (examples/{example.folder})")
    ids: list[str] = []
    for script in example.scripts:
        options = [f"--dependency=afterok:{ids[-1]}"] if ids else []
        job = Submission(read_script(folder / script), script, options=options, directory=folder)
        quote = gateway.quote(job)
        narrator.say(f"quote for {script}: at most {in_credits(quote.total_ucr)} on {quote.offer}")
        view = gateway.submit(job)
        narrator.say(f"Submitted batch job {view.id}", style="bold green")
        ids.append(str(view.id))
    return ids


def _refuse_failure(jobs: Sequence[JobView]) -> None:
    for job in jobs:
        if job.state != "COMPLETED":
            raise BurstError(
                f"job {job.id} ended as {job.state}: {job.reason}", hint="run it again with --keep, then burst logs"
            )


def _results(
    gateway: Gateway, ids: Sequence[str], folder: Path, destination: Path, narrator: Narrator
) -> tuple[int, str]:
    """Fetch what the jobs left, each file checked against its SHA-256, and have the example judge the last job's."""
    count = 0
    for job in ids:
        here = destination / job
        shutil.rmtree(here, ignore_errors=True)
        found = gateway.fetch(job, here)
        narrator.say(_fetched(job, found, here))
        count += len(found.files)
    judged = subprocess.run(
        [sys.executable, str(folder / "check.py"), str(destination / ids[-1])],
        capture_output=True,
        text=True,
        check=False,
    )
    answer = (judged.stdout.strip().splitlines() or [judged.stderr.strip()])[-1]
    if judged.returncode != 0:
        raise BurstError(f"the result is wrong: {answer}", hint=f"look at {destination / ids[-1]}")
    narrator.say(f"known answer: {answer}", style="bold green")
    return count, answer


def _fetched(job: str, found: Outputs, where: Path) -> str:
    total = size(sum(file.size for file in found.files))
    return f"job {job}: {len(found.files)} files, {total}, every SHA-256 verified, in {where}"


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
