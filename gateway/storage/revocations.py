"""SqlRevocations: revoked credentials in SQL.

Invariant: a revocation of a whole job only moves to a later moment, one of a single credential not at all.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_, select, update

from gateway.identity.credentials import JobGrant
from gateway.identity.revocations import Revocation
from gateway.storage.database import insert_new
from gateway.storage.revocation_tables import revocations


class SqlRevocations:
    """Implements ``gateway.identity.revocations.Revocations``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, revocation: Revocation) -> bool:
        """See ``Revocations.add``."""
        self._connection.execute(delete(revocations).where(revocations.c.until < revocation.at))
        if insert_new(self._connection, revocations, vars(revocation)):
            return True
        if revocation.jti:
            return False
        table = revocations.c
        mine = (table.job == revocation.job) & (table.jti == "") & (table.at < revocation.at)
        later = {name: getattr(revocation, name) for name in ("by", "at", "until")}
        return self._connection.execute(update(revocations).where(mine).values(later)).rowcount == 1

    def hit(self, grant: JobGrant) -> bool:
        """See ``Revocations.hit``."""
        table = revocations.c
        one = table.jti.in_([grant.jti, *grant.chain])
        every = (table.jti == "") & (table.at >= grant.issued_at)
        query = select(table.jti).where((table.job == grant.job) & or_(one, every))
        return self._connection.execute(query.limit(1)).first() is not None
