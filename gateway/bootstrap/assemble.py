"""Assemble: which adapter stands behind which port."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from gateway.accounting.catalogue import Catalogue, MeterKind, SimulationUnit
from gateway.accounting.tariff import Tariff
from gateway.api import sts as sts_door
from gateway.api.app import AGENT_PATH
from gateway.bootstrap.machine import Machine
from gateway.bootstrap.secret_file import kept
from gateway.engines.power import Power
from gateway.engines.run import Place
from gateway.engines.site_slurm import SiteSlurm
from gateway.engines.slurm_conf import PARTITION
from gateway.errors import DoiRefused
from gateway.identity.authenticate import Verifier
from gateway.identity.credentials import Credentials
from gateway.identity.join import token_hash
from gateway.identity.key_ring import KeyRing
from gateway.identity.site_key import SiteKey, new_key
from gateway.placement.offers import Offer
from gateway.provisioning import seed
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.listing import Lister
from gateway.provisioning.provision import Join, Provisioner
from gateway.provisioning.supply import Supplies
from gateway.provisioning.user_data import UserData, render
from gateway.publishing.datacite import DataCite
from gateway.route import Hands, Ports, Work
from gateway.runner.arrivals import Arrivals
from gateway.runner.budgets import BudgetRunner
from gateway.runner.job_keys import JobKeyRunner
from gateway.runner.jobs import JobRunner
from gateway.runner.nodes import NodeRunner
from gateway.runner.site import NodesReady, SiteServer
from gateway.service.arrivals import NOT_PAID, ArrivalService
from gateway.service.browsers import BrowserService
from gateway.service.devices import DeviceService
from gateway.service.fleet import FleetService
from gateway.service.gateway import Gateway
from gateway.service.job_keys import ROLE_ARN, JobKeyService
from gateway.service.jobs import JobService
from gateway.service.money import MoneyService
from gateway.service.nodes import NodeFacts, NodeService
from gateway.service.people import PeopleService
from gateway.service.publications import PublicationService, Publisher
from gateway.service.shared_files import SharedFiles
from gateway.service.slurm import SlurmService
from gateway.service.slurm_accounting import SlurmAccounting
from gateway.service.submission import Limits, SubmissionService
from gateway.service.waiting import WaitingService
from gateway.settings import CREDIT, LOCAL_CLOUD, Settings
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet
from gateway.storage.work import SqlWork
from slurm_plugins.agent.one_file import agent_text

_LOCAL_POLL_S = 0.15


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
    ring = KeyRing.open(settings.secrets_dir / "signing-keys.json", _now())
    audience = f"burst/{settings.name}/{machine.site_id}"
    slurm = machine.slurm if isinstance(machine.slurm, SiteSlurm) else None
    ports = _ports(settings, machine, database, ring)
    ready = NodesReady()
    supplies = Supplies.of(settings)
    provisioner = _provisioner(machine, database, ports, supplies)
    node_runner = NodeRunner(provisioner, _lister(settings, machine), ports.engine, settings.spool_dir, ready)
    hands = Hands()
    job_runner = JobRunner(ports, hands)
    gateway = _gateway(settings, machine, ports, audience=audience, hands=hands, nodes=node_runner, jobs=job_runner)
    site = SiteServer(settings.run_dir / "site.sock", ready, node_runner.wake, owner=slurm.slurm_user if slurm else -1)
    _know_nodes(settings, database)
    budgets = BudgetRunner(ports, job_runner.wake)
    arrivals = _arrivals(settings, machine, ports, audience=audience, hands=hands, jobs=job_runner)
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
        tariff=Tariff.of(_offers(settings, machine)),
        ring=ring,
        place=_place(settings, machine),
        environment={
            "PATH": ":".join(("/usr/local/bin:/usr/bin:/bin", *machine.slurm_programs)),
            "LANG": "C.UTF-8",
            "BURST_URL": machine.node_url,
            **_store_environment(machine),
        },
        shared_filesystem=not machine.isolated,
        now=_now,
        job_keys=machine.job_keys,
        site=machine.slurm.jobs() if isinstance(machine.slurm, SiteSlurm) else None,
    )


def _store_environment(machine: Machine) -> dict[str, str]:
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
    names = {ours: theirs for theirs, ours in settings.site.users.items()}
    return Place(machine.job_directory, None, partition=settings.site.partition, unix_names=names)


def _provisioner(machine: Machine, database: Database, ports: Ports, supplies: Supplies) -> Provisioner:
    @contextmanager
    def fleet() -> Iterator[Fleet]:
        with database.begin() as connection:
            yield SqlFleet(connection)

    def invite(node: ElasticNode) -> Join:
        return _invitation(machine, node)

    return Provisioner(machine.cluster, fleet, machine.provider, invite, Power(ports.engine), _now, supplies)


def _lister(settings: Settings, machine: Machine) -> Lister:
    poll_s = {LOCAL_CLOUD: _LOCAL_POLL_S} | {cloud.name: cloud.poll_s for cloud in settings.clouds}
    return Lister(lambda cloud: machine.provider.machines_at(cloud, machine.cluster), poll_s)


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
    credential_ring = KeyRing.open(settings.secrets_dir / "credential-keys.json", _now(), "ES256")
    credentials = Credentials(credential_ring, machine.url, audience)
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
        key_bucket=machine.store.access.bucket if ports.job_keys else None,
    )
    job_service = JobService(ports)
    people = PeopleService(ports.works, ports.reads, ports.ring, verifier, credentials, machine.url, lifetime, _now)
    return Gateway(
        people=people,
        submission=SubmissionService(ports, offers, _catalogue(settings), limits, hands, jobs.wake),
        jobs=job_service,
        money=MoneyService(ports.works, ports.reads, _catalogue(settings), _now),
        publications=PublicationService(ports, job_service, _publisher(settings, machine), audience),
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
        job_keys=JobKeyService(ports.works, credentials, ports.job_keys, _now),
        slurm=SlurmService(ports, job_service, machine.slurm.engine(), PARTITION),
        accounting=SlurmAccounting(ports, settings.name, PARTITION, {offer.name: offer.cores for offer in offers}),
        shared_files=SharedFiles(None if machine.isolated else _witness(settings)),
        devices=DeviceService(people),
        browsers=BrowserService(people),
        waiting=WaitingService(ports),
        agent=agent_text(),
        seed=partial(_seed, settings),
        probes={
            "database": lambda: _read_something(ports),
            "slurm": ports.engine.version,
            "store": lambda: ports.store.head("probe"),
        },
    )


def _witness(settings: Settings) -> Path:
    """A file of mode 0600 outside the secrets: whoever reads it is, or may act as, the user of process nodes."""
    path = settings.run_dir / "shared-files"
    kept(path, lambda: secrets.token_bytes(32))
    return path


def _seed(settings: Settings, address: str, name: str) -> bytes | None:
    clouds = (cloud for cloud in settings.clouds if cloud.kind == "vms")
    found = (seed.read(settings.vms_dir / cloud.name, address, name) for cloud in clouds)
    return next((content for content in found if content is not None), None)


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
    supplies = Supplies.of(settings)
    return tuple(
        Offer(
            name=size.name,
            provider=", ".join(supplies.clouds(size.name)),
            cores=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            max_nodes=most[size.name],
            price_ucr_per_hour=size.price_ucr_per_hour,
        )
        for size in machine.provider.sizes()
    )


def _catalogue(settings: Settings) -> Catalogue:
    units = (
        SimulationUnit(
            code=unit.code,
            title=unit.title,
            price_ucr=int(unit.credits_per_unit * CREDIT),
            meter=MeterKind(unit.meter),
            file=unit.file,
            pattern=unit.pattern,
            most_node_seconds=None if unit.node_seconds is None else int(unit.node_seconds),
        )
        for unit in settings.units
    )
    return Catalogue({unit.code: unit for unit in units})


def _publisher(settings: Settings, machine: Machine) -> Publisher:
    base = (settings.publication_url or machine.url).rstrip("/")
    name = settings.publisher or settings.name
    url, prefix = settings.datacite_url, settings.datacite_prefix
    repository, file = settings.datacite_repository, settings.datacite_password_file
    if url is None or prefix is None or repository is None or file is None:
        return Publisher(name, base, None)

    def registry() -> DataCite:
        # Read each time, so that a password is changed without a restart.
        try:
            return DataCite(url.rstrip("/"), prefix, repository, file.read_text().strip())
        except OSError as error:
            hint = "see datacite_password_file in burst.toml"
            raise DoiRefused(f"The password file of DataCite cannot be read: {error.strerror}.", hint=hint) from error

    return Publisher(name, base, registry)


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
