"""Report: docs/benchmarks.md from the figures, so that the page always is what was measured last."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import many_nodes
from bench.cold_start import OWNERS, Start, parts
from bench.launches import Launches
from bench.pieces import Pieces
from bench.reconcile import Look
from bench.resume_calls import Returns
from bench.signatures import ROUNDS, Signatures
from bench.submissions import CLIENTS, JOBS, Rates

WHAT = {
    "accept": "`burst submit` calls → slurmctld has the job",
    "schedule": "→ slurmctld calls ResumeProgram",
    "order": "→ the gateway calls the cloud",
    "boot": "→ cloud-init has ended (process: the node's process runs)",
    "join": "→ the node agent has traded its token",
    "register": "→ munged and slurmd run, slurmctld hears from the node",
    "release": "→ PrologSlurmctld has returned",
    "prolog": "→ slurmctld knows that the agent's Prolog is done",
    "launch": "→ the job's first line",
}
OWNER_NAMES = {"slurm": "Slurm", "machine": "node's boot", "gateway": "gateway"}

INTRODUCTION = """\
# Benchmarks

Written by `{command}` on the machine where it runs. Last run: {day}, {cpus} CPUs ({cpu}), {memory:.0f} GiB,
{system}, Python {python}, Slurm {slurm}.
Load average {load_before:.1f} before the run and {load_after:.1f} after it; all parts run on this one machine.

## Submissions per second

One job, held so that nothing runs, submitted as a user does (each request signed, verified, priced, funded in the
ledger and durable before the answer) and, beside it, given directly to the same slurmrestd with the same client
library, token and job. {rounds} rounds of {jobs} jobs each way, by turns; medians. Clients are processes on the same
machine.
"""

PIECES = """
Where one submission's {total:.0f} ms go inside the gateway, without HTTP (medians; the same code in one process, a
clock at each port):

| piece | ms |
| --- | --: |
| signature (Ed25519, RFC 7515) | {signature:.1f} |
| {commits} commits, each on disk | {commit:.1f} |
| slurmrestd | {slurmrestd:.1f} |
| the rest: reading the script, price, SQL statements | {rest:.1f} |
"""

SIGNATURES = """
## Signatures

Medians of {rounds} each, in one process, every token another, a body of 2 kB: verifying a request {verify:.0f} µs, of
which {curve:.0f} µs are the Ed25519 verification itself in libsodium (OpenSSL: {openssl:.0f} µs); signing the answer
{sign:.0f} µs. Together that is {share:.1%} of one submission inside the gateway. The client checks the answer in
{check:.0f} µs.
"""

COLD = """
## From submission to a job's first line on a new node

Each start is on a node that did not exist. The clock starts before the client's call and stops at the time that the
job itself prints; between them are moments of one clock: slurmctld's log lines as they appear, the gateway's own node
timeline, and what the node left on its disk. Each part begins where the one above it ends.
"""


@dataclass(frozen=True)
class Results:
    """All figures of a run."""

    command: str
    slurm: str
    loads: tuple[float, float]
    rates: Rates
    pieces: Pieces
    signatures: Signatures
    starts: dict[str, list[Start]]
    """By form of the nodes."""
    bare: list[float]
    returns: Returns
    launches: Launches
    looks: list[Look]


def write(results: Results, page: Path) -> None:
    """Write the page."""
    inside = _pieces(results.pieces), _signed(results.signatures)
    parts = (_introduction(results), *_rates(results.rates), *inside, *_cold(results), *_many(results))
    page.write_text("".join(parts))


def _introduction(results: Results) -> str:
    return INTRODUCTION.format(
        command=results.command,
        day=datetime.now(UTC).date(),
        cpus=os.cpu_count(),
        cpu=_cpu(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3,
        system=f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        python=platform.python_version(),
        slurm=results.slurm,
        load_before=results.loads[0],
        load_after=results.loads[1],
        rounds=results.rates.rounds,
        jobs=JOBS,
    )


def _rates(rates: Rates) -> Iterator[str]:
    yield "\n| clients | slurmrestd, jobs/s | gateway, jobs/s | ratio | slurmrestd, ms | gateway, ms |\n"
    yield "| --: | --: | --: | --: | --: | --: |\n"
    for clients in CLIENTS:
        legs = [(road, clients) for road in ("slurmrestd", "gateway")]
        per_second = " | ".join(f"{rates.per_second[leg]:.0f}" for leg in legs)
        waits = " | ".join(f"{rates.wait_s[leg] * 1000:.0f}" for leg in legs)
        yield f"| {clients} | {per_second} | {rates.ratio(clients):.2f} | {waits} |\n"
    yield "\nThe last two columns are how long one client waits for one answer.\n"


def _pieces(pieces: Pieces) -> str:
    parts_ms = {name: seconds * 1000 for name, seconds in pieces.parts.items()}
    rest = pieces.total_s * 1000 - sum(parts_ms.values())
    return PIECES.format(total=pieces.total_s * 1000, commits=pieces.commits, rest=rest, **parts_ms)


def _signed(found: Signatures) -> str:
    return SIGNATURES.format(
        rounds=ROUNDS,
        verify=found.verify_us,
        curve=found.curve_us,
        openssl=found.openssl_us,
        sign=found.sign_reply_us,
        check=found.check_reply_us,
        share=found.share or 0.0,
    )


def _cold(results: Results) -> Iterator[str]:
    forms = list(results.starts)
    found = {form: parts(starts) for form, starts in results.starts.items()}
    yield COLD
    yield f"\n| part, median s | whose | {' | '.join(f'{form} node' for form in forms)} |\n"
    yield f"| --- | --- |{' --: |' * len(forms)}\n"
    for part, owner in OWNERS.items():
        figures = " | ".join(f"{found[form][part]:.2f}" for form in forms)
        yield f"| {WHAT[part]} | {OWNER_NAMES[owner]} | {figures} |\n"
    yield f"\n| sum, median (least to most) s | {' | '.join(f'{form} node' for form in forms)} |\n"
    yield f"| --- |{' --: |' * len(forms)}\n"
    for owner, name in OWNER_NAMES.items():
        yield f"| {name} | {' | '.join(_spread([s.share(owner) for s in results.starts[form]]) for form in forms)} |\n"
    yield f"| **all** | {' | '.join(_spread([s.total for s in results.starts[form]]) for form in forms)} |\n"
    counts = ", ".join(f"{len(starts)} starts of {form} nodes" for form, starts in results.starts.items())
    yield f"\n{counts}.\n\n"
    yield "For comparison, bare slurmd processes of the same Slurm, started by a few lines of shell without any\n"
    yield f"gateway: {_spread(results.bare)} s from submission to first line, {len(results.bare)} starts. Slurm's\n"
    yield "power-saving thread looks for nodes to resume once a second, which is most of the spread of its share.\n"


def _many(results: Results) -> Iterator[str]:
    return many_nodes.page(results.returns, results.launches, results.looks)


def _spread(figures: Sequence[float]) -> str:
    return f"{median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
