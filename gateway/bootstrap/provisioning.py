"""Provisioning, wired: who makes nodes, who lists them, and what a node is invited with."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from gateway.api.app import AGENT_PATH
from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.machine import Machine
from gateway.engines.power import Power
from gateway.identity.join import token_hash
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.listing import Lister
from gateway.provisioning.provision import Join, Provisioner
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


def provisioner_of(
    machine: Machine, database: Database, ports: Ports, supplies: Supplies, lister: Lister, *, breakers: Breakers
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
        join_within=within,
    )


def lister_of(settings: Settings, machine: Machine) -> Lister:
    """Who asks each cloud for its machines, and how often."""
    poll_s = {LOCAL_CLOUD: _LOCAL_POLL_S} | {cloud.name: cloud.poll_s for cloud in settings.clouds}
    return Lister(lambda cloud: machine.provider.machines_at(cloud, machine.cluster), poll_s)


def know_nodes(settings: Settings, database: Database) -> None:
    """Every node that there may be has a row, whether or not it has a machine."""
    with database.begin() as connection:
        fleet = SqlFleet(connection)
        for size in settings.sizes:
            for number in range(1, size.max_nodes + 1):
                fleet.add(f"{size.name}-{number}", size.name, utc_now())


def _invitation(machine: Machine, node: ElasticNode) -> Join:
    text = f"join\0{node.name}\0{node.generation}"
    token = base64.urlsafe_b64encode(hmac.digest(machine.secret, text.encode(), "sha256")).decode().rstrip("=")
    data = UserData(
        node=node.name,
        gateway_url=machine.node_url,
        token=token,
        agent_url=machine.node_url + AGENT_PATH,
        agent_sha256=hashlib.sha256(agent_text().encode()).hexdigest(),
        audience=machine.audience,
        generation=node.generation,
        user_authority=machine.node_authority.public_line,
        facts=machine.node_facts(),
    )
    return Join(token_hash(token), render(data))
