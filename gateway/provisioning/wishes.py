"""Wishes: for which job, and together with how many others, Slurm asks for a node.

Invariant: pure. A request that is made again, or a job whose nodes come in several requests, changes nothing that was
known before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import COMING, USABLE, NodeState

_WITHOUT_ORDER = frozenset({NodeState.OFF, NodeState.INTENT, NodeState.CAPACITY_BLOCKED})
_ENDING = frozenset(NodeState) - COMING - USABLE - {NodeState.OFF}


@dataclass(frozen=True)
class JobNodes:
    """What slurmctld says of one job with a resume request (slurm.conf(5), SLURM_RESUME_FILE)."""

    id: int
    nodes: tuple[str, ...]
    """All that it was given, whether or not they are there."""
    resumed: tuple[str, ...] = ()
    """Those that this request is about."""


def wish(known: Mapping[str, ElasticNode], name: str, jobs: Collection[JobNodes], now: datetime) -> dict[str, object]:
    """What to note of node ``name`` when it is asked for."""
    node = known[name]
    if node.state in USABLE | (COMING - {NodeState.INTENT}):
        return {"wanted": False}
    job = max((job for job in jobs if name in job.resumed), key=lambda job: len(job.nodes), default=None)
    again = node.wanted or node.state is NodeState.INTENT
    facts: dict[str, object] = {
        "wanted": node.state is not NodeState.INTENT,
        "wanted_by": job.id if job else node.wanted_by if again else None,
        "wanted_with": _together(known, node, job) if job else node.wanted_with if again else 1,
        "wanted_at": node.wanted_at if again and node.wanted_at else now,
    }
    if node.state is NodeState.INTENT:
        facts["job"] = facts["wanted_by"]
    return facts


def _together(known: Mapping[str, ElasticNode], node: ElasticNode, job: JobNodes) -> int:
    """How many of the job's nodes of this size have no machine and no order: they are made together."""
    others = (known[each] for each in job.nodes if each in known and each != node.name)
    return 1 + sum(each.offer == node.offer and each.state in _WITHOUT_ORDER | _ENDING for each in others)
