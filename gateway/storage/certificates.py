"""SqlCertificates: what certified each session's key, in SQL.

Invariant: the first certificate of a session stays.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gateway.storage.certificate_tables import certificates
from gateway.storage.database import insert_new


class SqlCertificates:
    """Implements ``gateway.identity.certificates.CertificateStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, session: str, token: str) -> None:
        """See ``CertificateStore.keep``."""
        insert_new(self._connection, certificates, {"session": session, "token": token})

    def of(self, session: str) -> str | None:
        """See ``CertificateStore.of``."""
        query = select(certificates.c.token).where(certificates.c.session == session)
        return self._connection.execute(query).scalar_one_or_none()
