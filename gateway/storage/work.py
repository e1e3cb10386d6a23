"""SqlWork: one transaction on everything that is stored."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.storage.audit import SqlAudit
from gateway.storage.budgets import SqlBudgets, SqlCharges
from gateway.storage.certificates import SqlCertificates
from gateway.storage.factors import SqlDeviceKeys, SqlFactors
from gateway.storage.groups import SqlGroups
from gateway.storage.identity import SqlEvidence, SqlIdempotency, SqlNonces, SqlSessions, SqlUsers
from gateway.storage.institutions import SqlIdentities
from gateway.storage.invitations import SqlInvitations
from gateway.storage.jobs import SqlJobs
from gateway.storage.key_records import SqlKeyRecords
from gateway.storage.ledger import SqlLedger, SqlReceipts
from gateway.storage.nodes import SqlFleet
from gateway.storage.passkeys import SqlPasskeys
from gateway.storage.peers import SqlPeers
from gateway.storage.principals import SqlPrincipals
from gateway.storage.publications import SqlPublications
from gateway.storage.revocations import SqlRevocations
from gateway.storage.shares import SqlShares
from gateway.storage.sign_ins import SqlBrowsers, SqlDevices
from gateway.storage.spending import SqlSpending


class SqlWork:
    """Implements ``gateway.work.Work``; it lives as long as its connection's transaction."""

    def __init__(self, connection: Connection) -> None:
        self.users = SqlUsers(connection)
        self.factors = SqlFactors(connection)
        self.device_keys = SqlDeviceKeys(connection)
        self.invitations = SqlInvitations(connection)
        self.groups = SqlGroups(connection)
        self.peers = SqlPeers(connection)
        self.audit = SqlAudit(connection)
        self.sessions = SqlSessions(connection)
        self.principals = SqlPrincipals(connection)
        self.certificates = SqlCertificates(connection)
        self.nonces = SqlNonces(connection)
        self.evidence = SqlEvidence(connection)
        self.idempotency = SqlIdempotency(connection)
        self.ledger = SqlLedger(connection)
        self.receipts = SqlReceipts(connection)
        self.budgets = SqlBudgets(connection)
        self.charges = SqlCharges(connection)
        self.publications = SqlPublications(connection)
        self.jobs = SqlJobs(connection)
        self.fleet = SqlFleet(connection)
        self.key_records = SqlKeyRecords(connection)
        self.revocations = SqlRevocations(connection)
        self.devices = SqlDevices(connection)
        self.browsers = SqlBrowsers(connection)
        self.passkeys = SqlPasskeys(connection)
        self.identities = SqlIdentities(connection)
        self.spending = SqlSpending(connection)
        self.shares = SqlShares(connection)
