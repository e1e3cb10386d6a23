"""Gateway: the one object that the doors talk to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.service.audit import AuditService
from gateway.service.browsers import BrowserService
from gateway.service.devices import DeviceService
from gateway.service.factors import FactorService
from gateway.service.federation import FederationService
from gateway.service.fleet import FleetService
from gateway.service.groups import GroupService
from gateway.service.institutions import InstitutionService
from gateway.service.job_keys import JobKeyService
from gateway.service.jobs import JobService
from gateway.service.joining import JoinService
from gateway.service.links import LinkService
from gateway.service.money import MoneyService
from gateway.service.node_logins import NodeLoginService
from gateway.service.nodes import NodeService
from gateway.service.objects import ObjectService
from gateway.service.passkeys import PasskeyService
from gateway.service.people import PeopleService
from gateway.service.principals import PrincipalService
from gateway.service.proofs import ProofService
from gateway.service.publications import PublicationService
from gateway.service.registration import RegistrationService
from gateway.service.sessions import SessionService
from gateway.service.shared_files import SharedFiles
from gateway.service.sharing import SharingService
from gateway.service.site_claims import SiteClaimService
from gateway.service.slurm import SlurmService
from gateway.service.slurm_accounting import SlurmAccounting
from gateway.service.submission import SubmissionService
from gateway.service.tokens import TokenService
from gateway.service.users import UserService
from gateway.service.waiting import WaitingService


@dataclass(frozen=True)
class Gateway:
    """Its services, the node agent's text, and what must answer for it to be ready."""

    people: PeopleService
    submission: SubmissionService
    jobs: JobService
    money: MoneyService
    proofs: ProofService
    publications: PublicationService
    nodes: NodeService
    joining: JoinService
    node_logins: NodeLoginService
    fleet: FleetService
    job_keys: JobKeyService
    tokens: TokenService
    objects: ObjectService
    slurm: SlurmService
    accounting: SlurmAccounting
    shared_files: SharedFiles
    devices: DeviceService
    browsers: BrowserService
    registration: RegistrationService
    factors: FactorService
    users: UserService
    groups: GroupService
    passkeys: PasskeyService
    institutions: InstitutionService
    waiting: WaitingService
    federation: FederationService
    sharing: SharingService
    links: LinkService
    audit: AuditService
    sessions: SessionService
    principals: PrincipalService
    site_claims: SiteClaimService
    agent: str
    probes: dict[str, Callable[[], object]]
    seed: Callable[[str, str], bytes | None] = lambda _address, _name: None
    """A file of the seed at an unguessable address, for a virtual machine of ours that boots."""

    def checks(self) -> dict[str, str]:
        """Each thing that the gateway depends on: "ok", or what is wrong."""
        return {name: _probe(probe) for name, probe in self.probes.items()}


def _probe(probe: Callable[[], object]) -> str:
    try:
        probe()
    except Exception as error:  # noqa: BLE001 - whatever its adapter raises, it is not ready
        return getattr(error, "detail", type(error).__name__)
    return "ok"
