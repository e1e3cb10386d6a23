"""Work: one transaction on everything that is stored, as the stages of the route and the services see it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.accounting.budget import Budgets
from gateway.accounting.ledger import Ledger
from gateway.accounting.report import Charges
from gateway.accounting.settle import Receipts
from gateway.accounting.spending import Spending
from gateway.identity.audit import AuditLog
from gateway.identity.authenticate import NonceStore
from gateway.identity.browsers import BrowserStore
from gateway.identity.certificates import CertificateStore
from gateway.identity.devices import DeviceStore
from gateway.identity.evidence import EvidenceStore
from gateway.identity.groups import GroupStore
from gateway.identity.idempotency import IdempotencyStore
from gateway.identity.institutions import IdentityStore
from gateway.identity.passkeys import PasskeyStore
from gateway.identity.peers import PeerStore
from gateway.identity.principals import PrincipalStore
from gateway.identity.revocations import Revocations
from gateway.identity.sessions import SessionStore
from gateway.identity.shares import ShareStore
from gateway.identity.stores import FactorStores
from gateway.identity.users import UserStore
from gateway.jobs.store import JobStore
from gateway.provisioning.fleet import Fleet
from gateway.publishing.record import Publications
from gateway.staging.job_keys import KeyRecords


class Work(FactorStores, Protocol):
    """One transaction on everything that is stored."""

    @property
    def users(self) -> UserStore:
        """People."""

    @property
    def groups(self) -> GroupStore:
        """Their groups and projects."""

    @property
    def peers(self) -> PeerStore:
        """The gateways that this one trusts."""

    @property
    def audit(self) -> AuditLog:
        """Who did what."""

    @property
    def sessions(self) -> SessionStore:
        """Their logins."""

    @property
    def principals(self) -> PrincipalStore:
        """Programs that act for a project or the site."""

    @property
    def certificates(self) -> CertificateStore:
        """What certified their keys."""

    @property
    def nonces(self) -> NonceStore:
        """Signatures that were used."""

    @property
    def evidence(self) -> EvidenceStore:
        """Signed requests."""

    @property
    def idempotency(self) -> IdempotencyStore:
        """Answers by Idempotency-Key."""

    @property
    def ledger(self) -> Ledger:
        """Money."""

    @property
    def receipts(self) -> Receipts:
        """Bills."""

    @property
    def budgets(self) -> Budgets:
        """What accounts may spend."""

    @property
    def charges(self) -> Charges:
        """What they spent, for reports."""

    @property
    def publications(self) -> Publications:
        """What has, or is to have, a DOI."""

    @property
    def jobs(self) -> JobStore:
        """Jobs and their attempts."""

    @property
    def fleet(self) -> Fleet:
        """Elastic nodes."""

    @property
    def key_records(self) -> KeyRecords:
        """Attempts that were given keys to the store."""

    @property
    def revocations(self) -> Revocations:
        """Credentials of jobs that were ended before their time."""

    @property
    def devices(self) -> DeviceStore:
        """Logins that wait for approval."""

    @property
    def browsers(self) -> BrowserStore:
        """Sign-ins with a cookie."""

    @property
    def passkeys(self) -> PasskeyStore:
        """Keys of people's devices."""

    @property
    def identities(self) -> IdentityStore:
        """Who people are at institutions."""

    @property
    def spending(self) -> Spending:
        """What was charged, when."""

    @property
    def shares(self) -> ShareStore:
        """Whom outputs are shared with."""


Works = Callable[[], AbstractContextManager[Work]]
"""Opens a transaction; it commits when the block ends without an error."""
