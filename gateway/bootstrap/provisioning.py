"""Provisioning, wired: who makes nodes, who lists them, and what a node is invited with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial

from gateway.api.app import AGENT_PATH
from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.machine import Machine
from gateway.engines.power import Power
from gateway.errors import BurstError, NotFound
from gateway.identity.join import token_hash
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import GangUserData, one_time_token, render_gang
from gateway.provisioning.launcher import Join, Owner, order_of
from gateway.provisioning.lifecycle import Limits
from gateway.provisioning.listing import Lister
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.reaper import Heartbeat
from gateway.provisioning.supply import Supplies
from gateway.provisioning.user_data import UserData, render
from gateway.route import Ports
from gateway.settings import LOCAL_CLOUD, Settings
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet
from slurm_plugins.agent.one_file import agent_text

_LOCAL_POLL_S = 0.15
_LATE = timedelta(minutes=1)
"""Slurm gives up waiting for a node after its ResumeTimeout; soon after that nobody needs its token."""


@dataclass(frozen=True)
class GangJoin:
    """How ``count`` machines of a gang become its nodes: what is stored of each, and the one text that all get."""

    secret: str = field(repr=False)
    count: int
    user_data: str = field(repr=False)

    @cached_property
    def token_hashes(self) -> tuple[str, ...]:
        """In the order of the nodes."""
        return tuple(token_hash(one_time_token(self.secret, number)) for number in range(self.count))


def provisioner_of(
    machine: Machine,
    database: Database,
    ports: Ports,
    supplies: Supplies,
    lister: Lister,
    *,
    heartbeat: Heartbeat,
    breakers: Breakers,
) -> Provisioner:
    """Who makes and ends nodes."""

    @contextmanager
    def fleet() -> Iterator[Fleet]:
        with database.begin() as connection:
            yield SqlFleet(connection)

    def invite(node: ElasticNode) -> Join:
        return _invitation(machine, node)

    within = timedelta(seconds=machine.settings.resume_timeout_s) + _LATE
    power = Power(ports.engine)
    return Provisioner(
        machine.cluster,
        fleet,
        machine.provider,
        invite,
        power,
        utc_now,
        supplies,
        breakers,
        blind=lister.blind,
        unread=lister.unread,
        join_within=within,
        limits=limits_of(machine.settings),
        reaped=heartbeat.alive,
        owner_of=partial(_owner_of, ports),
        invite_gang=partial(gang_invitation, machine),
        # One process a directory: whoever starts here takes the place of the one that held these locks.
        holder=f"{socket.gethostname()}:{machine.settings.directory}",
    )


def limits_of(settings: Settings) -> Limits:
    """How long nodes are waited for, and how many there may be."""
    return Limits(
        gang_wait_s=settings.gang_wait_s,
        capacity_wait_s=settings.capacity_wait_s,
        max_nodes=settings.max_nodes,
        max_nodes_per_account=settings.max_nodes_per_account,
    )


def lister_of(settings: Settings, machine: Machine) -> Lister:
    """Who asks each cloud for its machines, and how often."""
    return Lister(lambda cloud: machine.provider.machines_at(cloud, machine.cluster), polls_of(settings), now=utc_now)


def polls_of(settings: Settings) -> dict[str, float]:
    """Cloud → seconds between two listings."""
    return {LOCAL_CLOUD: _LOCAL_POLL_S} | {cloud.name: cloud.poll_s for cloud in settings.clouds}


def know_nodes(settings: Settings, database: Database) -> None:
    """Every node that there may be has a row, whether or not it has a machine."""
    with database.begin() as connection:
        fleet = SqlFleet(connection)
        for size in settings.sizes:
            for number in range(1, size.max_nodes + 1):
                fleet.add(f"{size.name}-{number}", size.name, utc_now())


def _owner_of(ports: Ports, job_id: int) -> Owner:
    """Whose job Slurm's job of this id is, a task of an array included; nobody's that the gateway knows: no owner."""
    try:
        with ports.reads() as work:
            job = work.jobs.by_scheduler_id(job_id)
    except NotFound:
        try:
            token = next((task.token for task in ports.engine.job(job_id)), "")
            with ports.reads() as work:
                job = work.jobs.get(token)
        except BurstError:
            return Owner()
    return Owner(job.user, job.account)


def gang_invitation(machine: Machine, nodes: Sequence[ElasticNode]) -> GangJoin:
    """For nodes that are ordered together, in their order, each with the supply that is asked; the same every time."""
    gang = nodes[0].gang or GangOrder(tuple(order_of(machine.cluster, node, "") for node in nodes), "").token
    secret = _secret(machine, f"gang\0{gang}")
    data = GangUserData(
        gang=gang,
        secret=secret,
        gateway_url=machine.node_url,
        agent_url=machine.node_url + AGENT_PATH,
        agent_sha256=_agent_sha256(),
        audience=machine.audience,
        user_authority=machine.node_authority.public_line,
        facts=machine.node_facts(),
    )
    return GangJoin(secret, len(nodes), render_gang(data))


def _invitation(machine: Machine, node: ElasticNode) -> Join:
    token = _secret(machine, f"join\0{node.name}\0{node.generation}")
    data = UserData(
        node=node.name,
        gateway_url=machine.node_url,
        token=token,
        agent_url=machine.node_url + AGENT_PATH,
        agent_sha256=_agent_sha256(),
        audience=machine.audience,
        generation=node.generation,
        user_authority=machine.node_authority.public_line,
        # Before it has joined, too, a machine that hears nothing from the gateway ends itself.
        facts={**machine.node_facts(), "lease_seconds": machine.settings.lease_s},
    )
    return Join(token_hash(token), render(data))


def _secret(machine: Machine, purpose: str) -> str:
    """What only this gateway can make, and makes again: base64url of an HMAC-SHA256."""
    return base64.urlsafe_b64encode(hmac.digest(machine.secret, purpose.encode(), "sha256")).decode().rstrip("=")


def _agent_sha256() -> str:
    return hashlib.sha256(agent_text().encode()).hexdigest()
