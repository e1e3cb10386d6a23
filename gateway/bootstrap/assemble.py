"""Assemble: which adapter stands behind which port."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.accounting.tariff import Tariff
from gateway.api.app import AGENT_PATH
from gateway.bootstrap.machine import Machine
from gateway.bootstrap.secret_file import kept
from gateway.engines.power import Power
from gateway.engines.run import Place
from gateway.engines.site_slurm import SiteSlurm
from gateway.engines.slurm_conf import PARTITION
from gateway.identity.authenticate import Verifier
from gateway.identity.credentials import Credentials
from gateway.identity.join import token_hash
from gateway.identity.key_ring import KeyRing
from gateway.identity.site_key import SiteKey, new_key
from gateway.placement.offers import Offer
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.provision import Join, Provisioner
from gateway.provisioning.user_data import UserData, render
from gateway.route import Hands, Ports, Work
from gateway.runner.arrivals import Arrivals
from gateway.runner.jobs import JobRunner
from gateway.runner.nodes import NodeRunner
from gateway.runner.site import NodesReady, SiteServer
from gateway.service.arrivals import NOT_PAID, ArrivalService
from gateway.service.fleet import FleetService
from gateway.service.gateway import Gateway
from gateway.service.jobs import JobService
from gateway.service.money import MoneyService
from gateway.service.nodes import NodeFacts, NodeService
from gateway.service.people import PeopleService
from gateway.service.submission import Limits, SubmissionService
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet
from gateway.storage.work import SqlWork
from slurm_plugins.agent.one_file import agent_text


@dataclass(frozen=True)
class Assembled:
    """A whole gateway, not yet running."""

    gateway: Gateway
    nodes: NodeRunner
    jobs: JobRunner
    site: SiteServer
    arrivals: Arrivals | None
    """Only of a gateway that serves a site's own cluster."""
    database: Database


def assemble(settings: Settings, machine: Machine) -> Assembled:
    """Wire everything; nothing is started but the database's schema is brought up to date."""
    database = Database(settings.database_url)
    database.migrate()
    ring = KeyRing.open(settings.secrets_dir / "signing-keys.json", _now())
    audience = f"burst/{settings.name}/{hashlib.sha256(machine.secret).hexdigest()[:16]}"
    slurm = machine.slurm if isinstance(machine.slurm, SiteSlurm) else None
    ports = _ports(settings, machine, database, ring)
    ready = NodesReady()
    node_runner = NodeRunner(_provisioner(settings, machine, database, ports), ports.engine, settings.spool_dir, ready)
    hands = Hands()
    job_runner = JobRunner(ports, hands)
    gateway = _gateway(settings, machine, ports, audience=audience, hands=hands, nodes=node_runner, jobs=job_runner)
    site = SiteServer(settings.run_dir / "site.sock", ready, node_runner.wake, owner=slurm.slurm_user if slurm else -1)
    _know_nodes(settings, database)
    arrivals = _arrivals(settings, machine, ports, audience=audience, hands=hands, jobs=job_runner)
    return Assembled(gateway, node_runner, job_runner, site, arrivals, database)


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
        tariff=Tariff.of(_offers(settings, machine)),
        ring=ring,
        place=_place(settings, machine),
        environment={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "BURST_URL": machine.node_url,
            "AWS_ENDPOINT_URL_S3": machine.store.access.node_endpoint,
        },
        shared_filesystem=not machine.isolated,
        now=_now,
        site=machine.slurm.jobs() if isinstance(machine.slurm, SiteSlurm) else None,
    )


def _place(settings: Settings, machine: Machine) -> Place:
    if settings.site is None:
        return Place(machine.job_directory, machine.job_user, frozenset({PARTITION}))
    names = {ours: theirs for theirs, ours in settings.site.users.items()}
    return Place(machine.job_directory, None, partition=settings.site.partition, unix_names=names)


def _provisioner(settings: Settings, machine: Machine, database: Database, ports: Ports) -> Provisioner:
    @contextmanager
    def fleet() -> Iterator[Fleet]:
        with database.begin() as connection:
            yield SqlFleet(connection)

    def invite(node: ElasticNode) -> Join:
        return _invitation(machine, node)

    return Provisioner(settings.name, fleet, machine.provider, invite, Power(ports.engine), _now)


def _invitation(machine: Machine, node: ElasticNode) -> Join:
    text = f"join\0{node.name}\0{node.generation}"
    token = base64.urlsafe_b64encode(hmac.digest(machine.secret, text.encode(), "sha256")).decode().rstrip("=")
    data = UserData(
        node=node.name,
        gateway_url=machine.node_url,
        token=token,
        agent_url=machine.node_url + AGENT_PATH,
        agent_sha256=hashlib.sha256(agent_text().encode()).hexdigest(),
        facts=machine.node_facts(),
    )
    return Join(token_hash(token), render(data))


def _gateway(
    settings: Settings,
    machine: Machine,
    ports: Ports,
    *,
    audience: str,
    hands: Hands,
    nodes: NodeRunner,
    jobs: JobRunner,
) -> Gateway:
    verifier = Verifier(audience, settings.clock_skew_s)
    credentials = Credentials(ports.ring, machine.url, audience)
    lifetime = timedelta(hours=settings.session_hours)
    limits = _limits(settings)
    offers = _offers(settings, machine)
    facts = NodeFacts(
        audience=audience,
        slurm_conf_server=machine.slurm.conf_server,
        munge_key=machine.slurm.munge_key,
        shared_filesystem=not machine.isolated,
        job_directory=machine.job_directory,
        job_user=machine.job_user or machine.slurm.user,
    )
    return Gateway(
        people=PeopleService(ports.works, ports.reads, ports.ring, verifier, credentials, machine.url, lifetime, _now),
        submission=SubmissionService(ports, offers, limits, hands, jobs.wake),
        jobs=JobService(ports),
        money=MoneyService(ports.works, ports.reads, _now),
        nodes=NodeService(
            ports.works,
            ports.engine,
            ports.store,
            credentials,
            facts,
            jobs.wake,
            nodes.wake,
            _now,
            lambda task: ports.site.send_back(task.id, NOT_PAID) if ports.site else None,
        ),
        fleet=FleetService(ports.reads, offers),
        agent=agent_text(),
        probes={
            "database": lambda: _read_something(ports),
            "slurm": ports.engine.version,
            "store": lambda: ports.store.head("probe"),
        },
    )


def _arrivals(
    settings: Settings, machine: Machine, ports: Ports, *, audience: str, hands: Hands, jobs: JobRunner
) -> Arrivals | None:
    if settings.site is None or ports.site is None:
        return None
    key = SiteKey.read(kept(settings.secrets_dir / "site-jobs.jwk", new_key), settings.name, audience)
    offers, users = _offers(settings, machine), settings.site.users
    service = ArrivalService(ports, ports.site, key, users, offers, _limits(settings), hands, jobs.wake)
    return Arrivals(ports.site, service.welcome)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.default_time_limit_min * 60, settings.max_time_limit_min * 60)


def _offers(settings: Settings, machine: Machine) -> tuple[Offer, ...]:
    most = {size.name: size.max_nodes for size in settings.sizes}
    return tuple(
        Offer(
            name=size.name,
            provider=machine.provider.name,
            cores=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            max_nodes=most[size.name],
            price_ucr_per_hour=size.price_ucr_per_hour,
        )
        for size in machine.provider.sizes()
    )


def _read_something(ports: Ports) -> None:
    with ports.reads() as work:
        work.fleet.all(())


def _know_nodes(settings: Settings, database: Database) -> None:
    with database.begin() as connection:
        fleet = SqlFleet(connection)
        for size in settings.sizes:
            for number in range(1, size.max_nodes + 1):
                fleet.add(f"{size.name}-{number}", size.name, _now())


def _now() -> datetime:
    return datetime.now(UTC)
