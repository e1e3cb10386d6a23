"""``python -m bench.reconcile``: one look of the gateway at 100, 1,000 and 5,000 nodes that are in use.

Slurm and the clouds answer from memory and at once; between them is the code of production with its database, a SQLite
file. So the figures are the gateway's own part.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import structlog

from gateway.engines.power import Power
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Lister
from gateway.provisioning.node import MachineState, NodeOrder
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.supply import Supplies, Supply
from gateway.runner.nodes import NodeRunner
from gateway.runner.site import NodesReady
from gateway.testing.cloud import SimulatedCloud
from gateway.testing.process import CLUSTER, invitation
from gateway.testing.slurm import SimulatedSlurm
from gateway.testing.slurm_node import SlurmNode
from gateway.testing.sql_nodes import SqlNodes
from gateway.testing.virtual_time import VirtualTime

SIZES = (100, 1_000, 5_000)
AIM_S = 1.0
"""For 5,000 nodes."""
_CLOUD = "alpha"


class AtOnce(Executor):
    """Does each thing where it is asked for, so that a look is timed with all that it causes."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(frozen=True)
class Look:
    """Seconds of a look at so many nodes: nothing to do, and every node with a job that has just begun or ended."""

    nodes: int
    quiet_s: float
    moving_s: float


def measure(sizes: Sequence[int] = SIZES, rounds: int = 5) -> list[Look]:
    """A look of each kind at each number of nodes: medians of ``rounds``; from here on only the gravest is logged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return [_look(nodes, rounds) for nodes in sizes]


def _look(nodes: int, rounds: int) -> Look:
    with _running(nodes) as (runner, slurm, clock):
        quiet, moving = [], []
        for turn in range(rounds):
            clock.seconds += 30.0
            quiet.append(_timed(runner))
            for node in slurm.known.values():
                node.job = 1 if turn % 2 == 0 else None
            clock.seconds += 30.0
            moving.append(_timed(runner))
        return Look(nodes, median(quiet), median(moving))


def _timed(runner: NodeRunner) -> float:
    begun = time.perf_counter()
    runner.tick()
    return time.perf_counter() - begun


@contextmanager
def _running(count: int) -> Iterator[tuple[NodeRunner, SimulatedSlurm, VirtualTime]]:
    """A gateway whose nodes are all in service."""
    clock = VirtualTime()
    cloud = SimulatedCloud(_CLOUD, clock, room=2 * count, quota=2 * count)
    slurm = SimulatedSlurm(clock, lambda *_: None, tuple, lambda _: True)
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        spool.mkdir()
        stored = SqlNodes(Path(folder))
        _fill(stored, cloud, slurm, clock, count)
        at_once = AtOnce()
        router = CloudRouter(cloud, {_CLOUD: cloud})
        lister = Lister(lambda name: router.machines_at(name, CLUSTER), {_CLOUD: 10.0}, clock.monotonic, at_once)
        supplies = Supplies({"small": (Supply(f"{_CLOUD}/s"),)})
        provisioner = Provisioner(CLUSTER, stored.begin, router, invitation, Power(slurm), clock.now, supplies)
        yield (
            NodeRunner(provisioner, lister, slurm, spool, NodesReady(), clock=clock.monotonic, pool=at_once),
            slurm,
            clock,
        )
        stored.close()


def _fill(stored: SqlNodes, cloud: SimulatedCloud, slurm: SimulatedSlurm, clock: VirtualTime, count: int) -> None:
    way = (NodeState.INTENT, NodeState.REQUESTED, NodeState.PENDING, NodeState.BOOTING, NodeState.BOOTSTRAPPED)
    with stored.begin() as fleet:
        for number in range(count):
            name, supply = f"small-{number}", f"{_CLOUD}/s"
            fleet.add(name, "small", clock.now())
            node = fleet.get(name)
            made = cloud.create(NodeOrder(CLUSTER, name, 1, "s", "", supply))
            facts = {"generation": 1, "supply": supply, "machine_id": f"{_CLOUD}/{made.id}"}
            for state in way:
                node = fleet.move(node, state, clock.now(), "made", **(facts if state is NodeState.INTENT else {}))
            fleet.move(node, NodeState.IDLE, clock.now(), "slurmd registered")
            slurm.known[name] = SlurmNode(name, flags=set())
    for machine in cloud.live.values():
        machine.state = MachineState.RUNNING


def main() -> int:
    """Print a line for each size. 1 if the aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="looks of each kind")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of nodes")
    options = parser.parse_args()
    print(f"{'nodes':>7}{'nothing new':>14}{'a node':>10}{'all changed':>14}{'a node':>10}")
    looks = measure(options.sizes, options.rounds)
    for each in looks:
        quiet, moving = each.quiet_s, each.moving_s
        a_node = f"{quiet / each.nodes * 1e6:>7.0f} µs", f"{moving / each.nodes * 1e6:>7.0f} µs"
        print(f"{each.nodes:>7,}{quiet * 1e3:>11.0f} ms{a_node[0]}{moving * 1e3:>11.0f} ms{a_node[1]}")
    return int(looks[-1].quiet_s > AIM_S)


if __name__ == "__main__":
    sys.exit(main())
