"""Services, wired: everything that the doors may ask of a gateway."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial
from pathlib import Path

from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.institutions import providers_of
from gateway.bootstrap.machine import Machine
from gateway.bootstrap.prices import catalogue_of, limits_of, offers_of
from gateway.bootstrap.rings import credential_keys
from gateway.bootstrap.sealing_key import keeper
from gateway.bootstrap.secret_file import kept
from gateway.engines.site_people import SitePeople
from gateway.engines.site_policy import BurstPolicy
from gateway.engines.slurm_conf import PARTITION
from gateway.errors import DoiRefused
from gateway.identity.authenticate import Verifier
from gateway.identity.credentials import Credentials
from gateway.identity.passkeys import RelyingParty
from gateway.identity.site_key import SiteKey, new_key
from gateway.identity.specification import Voucher
from gateway.provisioning import seed
from gateway.publishing.datacite import DataCite
from gateway.route import Hands, Ports
from gateway.runner.arrivals import Arrivals
from gateway.runner.jobs import JobRunner
from gateway.runner.nodes import NodeRunner
from gateway.service.arrivals import NOT_PAID, ArrivalService
from gateway.service.audit import AuditService
from gateway.service.browsers import BrowserService
from gateway.service.devices import DeviceService
from gateway.service.factors import FactorService
from gateway.service.federation import FederationService
from gateway.service.fleet import FleetService
from gateway.service.gateway import Gateway
from gateway.service.groups import GroupService
from gateway.service.institutions import InstitutionService
from gateway.service.job_keys import JobKeyService
from gateway.service.jobs import JobService
from gateway.service.joining import JoinService
from gateway.service.links import LinkService
from gateway.service.money import MoneyService
from gateway.service.node_logins import NodeLoginService
from gateway.service.nodes import NodeFacts, NodeService
from gateway.service.objects import ObjectService
from gateway.service.passkeys import PasskeyService
from gateway.service.people import PeopleService
from gateway.service.principals import PrincipalService
from gateway.service.proofs import ProofService
from gateway.service.publications import PublicationService, Publisher
from gateway.service.registration import RegistrationService
from gateway.service.sessions import SessionService
from gateway.service.shared_files import SharedFiles
from gateway.service.sharing import SharingService
from gateway.service.site_claims import SiteClaims, SiteClaimService
from gateway.service.slurm import SlurmService
from gateway.service.slurm_accounting import SlurmAccounting
from gateway.service.submission import SubmissionService
from gateway.service.tokens import TokenService
from gateway.service.users import UserService
from gateway.service.waiting import WaitingService
from gateway.settings import CREDIT, Settings, SiteSettings
from slurm_plugins.agent.one_file import agent_text


def services(
    settings: Settings,
    machine: Machine,
    ports: Ports,
    *,
    audience: str,
    hands: Hands,
    nodes: NodeRunner,
    jobs: JobRunner,
) -> Gateway:
    """All services of one gateway."""
    verifier = Verifier(audience, settings.clock_skew_s)
    credential_ring = credential_keys(settings, machine.sealer)
    credentials = Credentials(credential_ring, machine.url, audience)
    lifetime = timedelta(hours=settings.session_hours)
    limits = limits_of(settings)
    offers = offers_of(settings, machine)
    facts = NodeFacts(
        audience=audience,
        slurm_conf_server=machine.slurm.conf_server,
        munge_key=machine.slurm.munge_key,
        shared_filesystem=not machine.isolated,
        job_directory=machine.job_directory,
        job_user=machine.job_user or machine.slurm.user,
        voucher=Voucher(machine.secret),
        key_bucket=machine.store.access.bucket if ports.job_keys else None,
    )
    job_service = JobService(ports)
    people = PeopleService(
        ports.works,
        ports.reads,
        ports.ring,
        verifier,
        credentials,
        machine.url,
        lifetime,
        utc_now,
        ports.sealer,
        public_url=settings.public_url,
    )
    sharing = SharingService(ports, job_service, people.throttle)
    registration = RegistrationService(people, open=settings.registration == "open")
    browsers = BrowserService(people)
    party = RelyingParty.of(people.site_url, f"Burst Gateway {settings.name}")
    return Gateway(
        people=people,
        submission=SubmissionService(ports, offers, catalogue_of(settings), limits, hands, jobs.wake),
        jobs=job_service,
        money=MoneyService(ports.works, ports.reads, catalogue_of(settings), utc_now),
        proofs=ProofService(ports.reads, job_service, ports.ring, audience, utc_now),
        publications=PublicationService(ports, job_service, _publisher(settings, machine), audience),
        nodes=NodeService(
            ports.works,
            ports.engine,
            ports.store,
            credentials,
            facts,
            jobs.wake,
            nodes.wake,
            utc_now,
            lambda task: ports.site.send_back(task.id, NOT_PAID) if ports.site else None,
        ),
        joining=JoinService(ports.works, verifier, facts, nodes.wake, utc_now),
        node_logins=NodeLoginService(ports.works, ports.engine, machine.node_authority, utc_now),
        fleet=FleetService(ports.reads, offers),
        job_keys=JobKeyService(ports.works, credentials, ports.job_keys, utc_now),
        tokens=TokenService(ports.works, ports.reads, credentials, job_service, utc_now),
        objects=ObjectService(ports.works, ports.store, utc_now),
        slurm=SlurmService(ports, job_service, machine.slurm.engine(), PARTITION),
        accounting=SlurmAccounting(ports, settings.name, PARTITION, {offer.name: offer.cores for offer in offers}),
        shared_files=SharedFiles(None if machine.isolated else _witness(settings)),
        devices=DeviceService(people),
        sessions=SessionService(people),
        principals=PrincipalService(people),
        site_claims=SiteClaimService(people, ports.ring, settings.site.partition if settings.site else None),
        registration=registration,
        factors=FactorService(people),
        users=UserService(people, registration),
        groups=GroupService(people),
        browsers=browsers,
        passkeys=PasskeyService(people, browsers, party),
        institutions=InstitutionService(people, browsers, providers_of(settings)),
        waiting=WaitingService(ports),
        federation=FederationService(people),
        sharing=sharing,
        links=LinkService(ports, sharing, people.throttle, machine.url),
        audit=AuditService(ports.works, ports.reads, job_service, utc_now),
        agent=agent_text(),
        seed=partial(_seed, settings),
        probes={
            "database": lambda: _read_something(ports),
            "slurm": ports.engine.version,
            "store": lambda: ports.store.head("probe"),
        },
    )


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


def _witness(settings: Settings) -> Path:
    """A file of mode 0600 outside the secrets: whoever reads it is, or may act as, the user of process nodes."""
    path = settings.run_dir / "shared-files"
    kept(path, lambda: secrets.token_bytes(32))
    return path


def _seed(settings: Settings, address: str, name: str) -> bytes | None:
    clouds = (cloud for cloud in settings.clouds if cloud.kind == "vms")
    found = (seed.read(settings.vms_dir / cloud.name, address, name) for cloud in clouds)
    return next((content for content in found if content is not None), None)


def _read_something(ports: Ports) -> None:
    with ports.reads() as work:
        work.fleet.all(())


def arrivals_of(
    settings: Settings, machine: Machine, ports: Ports, *, audience: str, hands: Hands, jobs: JobRunner
) -> Arrivals | None:
    """Who welcomes jobs of a site's own sbatch; None without a site."""
    if settings.site is None or ports.site is None:
        return None
    secret = keeper(machine.sealer)(settings.secrets_dir / "site-jobs.jwk", new_key)
    key = SiteKey.read(secret, settings.name, audience)
    people, offers = site_people(settings), offers_of(settings, machine)
    claims = SiteClaims(ports.works, ports.ring, people)
    service = ArrivalService(ports, ports.site, key, people, claims, offers, limits_of(settings), hands, jobs.wake)
    return Arrivals(ports.site, service, _policy(settings.site))


def site_people(settings: Settings) -> SitePeople:
    """Who of a site's users is who at the gateway. Raises ValueError without a site."""
    if settings.site is None:
        raise ValueError("these settings name no site")
    file = settings.directory / "site" / "people.json"
    return SitePeople(file, settings.site.users, same_names=settings.site.same_names)


def _policy(site: SiteSettings) -> BurstPolicy:
    said = site.burst
    return BurstPolicy(
        cloud=site.partition,
        partitions=frozenset(said.partitions),
        accounts=frozenset(said.accounts),
        after_s=said.after_min * 60,
        max_jobs=said.max_jobs,
        most_ucr=None if said.max_credits is None else int(said.max_credits * CREDIT),
    )
