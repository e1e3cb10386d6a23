"""The report's part on many nodes: how soon Slurm is let go, what ordering and looking at them takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.launches import COUNTS, LATENCY_S, ROADS, SERIAL, THREADS, Launches
from bench.reconcile import Look
from bench.resume_calls import NODES, Returns, percentile
from gateway.provisioning.ec2_fleet import MOST_A_CALL

NAMES = {
    "serial": f"libcloud, one call a node (measured with {SERIAL}, extrapolated)",
    "threaded": f"libcloud, one call a node, {THREADS} threads",
    "libcloud": "libcloud, bare bulk calls",
    "boto3": "boto3, bare bulk calls",
    "gateway": "**the gateway**",
}

RETURNS = """
## ResumeProgram for {nodes} nodes

slurmctld waits for it. Started as slurmctld does, the interpreter's start included; {calls} calls each, one after the
other. Aim: 99 of 100 under 200 ms.

| | median, ms | 99 of 100, ms | most, ms |
| --- | --: | --: | --: |
"""

LAUNCHES = """
## Ordering many nodes

Of a server in EC2's form that answers each call {latency:.0f} ms after it was asked, with as much as Amazon answers. A
bulk call is for up to {most} machines; 5,000 are five calls, one after the other. The gateway's road begins with
Slurm's request and ends when each node's record has its machine: wish, intent, gang's token, order and machine are
stored in SQLite, on disk before each step, with timeline and audit log. {rounds} rounds of the last three, medians.

"""

LOOKS = """
## One look at all nodes

What the gateway does every few seconds: what Slurm, its own records and the clouds say of each node is compared, and
what the table of verdicts asks for is done. Slurm and clouds answer from memory and at once, the records are in SQLite
on disk, so this is the gateway's own part. In the last two columns every node has just got a job or lost one. Aim:
5,000 nodes without news under a second.

| nodes | nothing new, ms | a node, µs | all changed, ms | a node, µs |
| --: | --: | --: | --: | --: |
"""


def page(returns: Returns, launches: Launches, looks: Sequence[Look]) -> Iterator[str]:
    """The text."""
    yield from _returns(returns)
    yield from _launches(launches)
    yield LOOKS
    for look in looks:
        quiet, moving = (f"{s * 1e3:,.0f} | {s / look.nodes * 1e6:,.0f}" for s in (look.quiet_s, look.moving_s))
        yield f"| {look.nodes:,} | {quiet} | {moving} |\n"


def _returns(returns: Returns) -> Iterator[str]:
    yield RETURNS.format(nodes=NODES, calls=len(returns.alive))
    for name, seconds in (
        ("gateway alive", returns.alive),
        ("gateway dead", returns.dead),
        ("a shell script that does nothing", returns.nothing),
    ):
        figures = (percentile(seconds, 50), percentile(seconds, 99), seconds[-1])
        yield f"| {name} | {' | '.join(f'{figure * 1000:.0f}' for figure in figures)} |\n"


def _launches(launches: Launches) -> Iterator[str]:
    yield LAUNCHES.format(latency=LATENCY_S * 1000, most=MOST_A_CALL, rounds=launches.rounds)
    yield f"| seconds | {' | '.join(f'{count:,} nodes' for count in COUNTS)} | growth |\n"
    yield f"| --- |{' --: |' * (len(COUNTS) + 1)}\n"
    for road in ROADS:
        seconds = " | ".join(f"{launches.seconds[road, count]:.2f}" for count in COUNTS)
        yield f"| {NAMES[road]} | {seconds} | {launches.growth(road):.2f} |\n"
    ratios = " | ".join(f"{launches.ratio(count):.2f}" for count in COUNTS)
    yield f"| the gateway beside the quicker bare one (aim: 1.10) | {ratios} | |\n"
    yield "\nGrowth: time per node at the most nodes beside that at the fewest; 1 is linear.\n"
