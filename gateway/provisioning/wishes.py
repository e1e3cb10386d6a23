"""Wishes: for which job, and together with how many others, Slurm asks for a node.

Invariant: pure. A request that is made again, or a job whose nodes come in several requests, changes nothing that was
known before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

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


def wish(known: Mapping[str, ElasticNode], name: str, jobs: Collection[JobNodes], now: datetime) -> dict[str, Any]:
    """What to note of node ``name`` when it is asked for."""
    return Wishes(known, jobs).of(name, now)


@dataclass(frozen=True)
class Wishes:
    """One resume request: ``known`` are all nodes by name, ``jobs`` those that it is for."""

    known: Mapping[str, ElasticNode]
    jobs: Collection[JobNodes] = ()

    def of(self, name: str, now: datetime) -> dict[str, Any]:
        """What to note of node ``name``."""
        node = self.known[name]
        if node.state in USABLE | (COMING - {NodeState.INTENT}):
            return {"wanted": False}
        job = self._job_of.get(name)
        again = node.wanted or node.state is NodeState.INTENT
        facts: dict[str, Any] = {
            "wanted": node.state is not NodeState.INTENT,
            "wanted_by": job.id if job else node.wanted_by if again else None,
            "wanted_with": self._together(node, job) if job else node.wanted_with if again else 1,
            "wanted_at": node.wanted_at if again and node.wanted_at else now,
        }
        if node.state is NodeState.INTENT:
            facts["job"] = facts["wanted_by"]
        return facts

    @cached_property
    def _job_of(self) -> Mapping[str, JobNodes]:
        """The largest job that a node is resumed for."""
        found: dict[str, JobNodes] = {}
        for job in sorted(self.jobs, key=lambda job: len(job.nodes), reverse=True):
            for name in job.resumed:
                found.setdefault(name, job)
        return found

    def _together(self, node: ElasticNode, job: JobNodes) -> int:
        """How many of the job's nodes of this size have no machine and no order, of it or of another job.

        They are made together; with what another job waits for they are not, for it may wait much longer.
        """
        lacking = self._lacking[job.id].get(node.offer, frozenset())
        return len(lacking) + (node.name not in lacking)

    @cached_property
    def _lacking(self) -> Mapping[int, Mapping[str, Collection[str]]]:
        """By job and size; counted once, since a job may have thousands of nodes."""
        found: dict[int, dict[str, set[str]]] = {}
        for job in self.jobs:
            of_job = found.setdefault(job.id, {})
            for node in (self.known[name] for name in job.nodes if name in self.known):
                if node.state in _WITHOUT_ORDER | _ENDING and _asked_by(node) in {None, job.id}:
                    of_job.setdefault(node.offer, set()).add(node.name)
        return found


def _asked_by(node: ElasticNode) -> int | None:
    """The job that it was asked for already."""
    return node.wanted_by if node.wanted else node.job if node.state in COMING else None
