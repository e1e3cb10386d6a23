"""Assemble: which adapter stands behind which port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.accounting.tariff import Tariff
from gateway.api import sts as sts_door
from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.machine import Machine
from gateway.bootstrap.prices import offers_of
from gateway.bootstrap.provisioning import know_nodes, lister_of, polls_of, provisioner_of
from gateway.bootstrap.rings import signing_keys
from gateway.bootstrap.services import arrivals_of, services, site_people
from gateway.engines.run import Place
from gateway.engines.site_slurm import SiteSlurm
from gateway.engines.slurm_conf import PARTITION
from gateway.identity.key_ring import KeyRing
from gateway.provisioning.reaper import Heartbeat
from gateway.provisioning.supply import Supplies
from gateway.route import Hands, Ports
from gateway.runner.arrivals import Arrivals
from gateway.runner.budgets import BudgetRunner
from gateway.runner.job_keys import JobKeyRunner
from gateway.runner.jobs import JobRunner
from gateway.runner.nodes import NodeRunner
from gateway.runner.site import NodesReady, SiteServer
from gateway.service.gateway import Gateway
from gateway.service.job_keys import ROLE_ARN
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.work import SqlWork
from gateway.work import Work


@dataclass(frozen=True)
class Assembled:
    """A whole gateway, not yet running."""

    gateway: Gateway
    nodes: NodeRunner
    jobs: JobRunner
    job_keys: JobKeyRunner
    budgets: BudgetRunner
    site: SiteServer
    arrivals: Arrivals | None
    """Only of a gateway that serves a site's own cluster."""
    database: Database


def assemble(settings: Settings, machine: Machine) -> Assembled:
    """Wire everything; nothing is started but the database's schema is brought up to date."""
    database = Database(settings.database_url)
    database.migrate()
    ring = signing_keys(settings, machine.sealer)
    slurm = machine.slurm if isinstance(machine.slurm, SiteSlurm) else None
    ports = _ports(settings, machine, database, ring)
    ready = NodesReady()
    supplies = Supplies.of(settings)
    lister = lister_of(settings, machine)
    heartbeat = Heartbeat(polls_of(settings))
    provisioner = provisioner_of(machine, database, ports, supplies, lister, heartbeat=heartbeat)
    node_runner = NodeRunner(provisioner, lister, ports.engine, settings.spool_dir, ready, heartbeat=heartbeat)
    hands = Hands()
    job_runner = JobRunner(ports, hands)
    gateway = services(
        settings, machine, ports, audience=machine.audience, hands=hands, nodes=node_runner, jobs=job_runner
    )
    site = SiteServer(settings.run_dir / "site.sock", ready, node_runner.wake, owner=slurm.slurm_user if slurm else -1)
    know_nodes(settings, database)
    budgets = BudgetRunner(ports, job_runner.wake)
    arrivals = arrivals_of(settings, machine, ports, audience=machine.audience, hands=hands, jobs=job_runner)
    return Assembled(gateway, node_runner, job_runner, JobKeyRunner(ports), budgets, site, arrivals, database)


def _ports(settings: Settings, machine: Machine, database: Database, ring: KeyRing) -> Ports:
    @contextmanager
    def works() -> Iterator[Work]:
        with database.begin() as connection:
            yield SqlWork(connection)

    @contextmanager
    def reads() -> Iterator[Work]:
        with database.read() as connection:
            yield SqlWork(connection)

    return Ports(
        works=works,
        reads=reads,
        engine=machine.slurm.engine(),
        store=machine.store.open(),
        tariff=Tariff.of(offers_of(settings, machine)),
        ring=ring,
        sealer=machine.sealer,
        place=_place(settings, machine),
        environment={
            "PATH": ":".join(("/usr/local/bin:/usr/bin:/bin", *machine.slurm_programs)),
            "LANG": "C.UTF-8",
            "BURST_URL": machine.node_url,
            **store_environment(machine),
        },
        shared_filesystem=not machine.isolated,
        now=utc_now,
        job_keys=machine.job_keys,
        site=machine.slurm.jobs() if isinstance(machine.slurm, SiteSlurm) else None,
    )


def store_environment(machine: Machine) -> dict[str, str]:
    """What any AWS SDK in a job finds the store by, and its keys where the store has some for jobs."""
    access = machine.store.access
    place = {"AWS_ENDPOINT_URL_S3": access.node_endpoint} if access.node_endpoint else {}
    if machine.job_keys is None:
        return place
    sts = {"AWS_ENDPOINT_URL_STS": f"{machine.node_url}{sts_door.PATH}", "AWS_ROLE_ARN": ROLE_ARN}
    return {**place, **sts, "AWS_REGION": access.region, "AWS_DEFAULT_REGION": access.region}


def _place(settings: Settings, machine: Machine) -> Place:
    if settings.site is None:
        return Place(machine.job_directory, machine.job_user, frozenset({PARTITION}))
    names = site_people(settings).unix_names
    return Place(machine.job_directory, None, partition=settings.site.partition, unix_names=names)
