"""SqlPeers: the gateways that this one trusts, and the visits of their users, in SQL.

Invariant: a visa is used once: its id is a unique key.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, select

from gateway.errors import BadSignature, Conflict, NotFound, SignatureReplayed
from gateway.identity.peers import Peer, Visit
from gateway.storage.database import insert_new
from gateway.storage.peer_tables import peers, visits
from gateway.storage.tables import sessions


class SqlPeers:
    """Implements ``gateway.identity.peers.PeerStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, peer: Peer) -> None:
        """See ``PeerStore.put``."""
        self._connection.execute(delete(peers).where(peers.c.name == peer.name))
        row = vars(peer) | {"keys": dict(peer.keys), "projects": list(peer.projects)}
        if not insert_new(self._connection, peers, row):
            raise Conflict(f"{peer.issuer} is known by another name.", hint="burst peers list")

    def get(self, name: str) -> Peer:
        """See ``PeerStore.get``."""
        row = self._connection.execute(select(peers).where(peers.c.name == name)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no peer {name}.", hint="burst peers list")
        return _peer(row)

    def by_issuer(self, issuer: str) -> Peer:
        """See ``PeerStore.by_issuer``."""
        row = self._connection.execute(select(peers).where(peers.c.issuer == issuer)).mappings().one_or_none()
        if row is None:
            raise BadSignature("This gateway does not trust yours.", hint="its administrator may: burst peers trust")
        return _peer(row)

    def all(self) -> tuple[Peer, ...]:
        """See ``PeerStore.all``."""
        return tuple(_peer(row) for row in self._connection.execute(select(peers).order_by(peers.c.name)).mappings())

    def remove(self, name: str) -> None:
        """See ``PeerStore.remove``."""
        if self._connection.execute(delete(peers).where(peers.c.name == name)).rowcount != 1:
            raise NotFound(f"There is no peer {name}.", hint="burst peers list")

    def visit(self, visit: Visit) -> None:
        """See ``PeerStore.visit``."""
        if not insert_new(self._connection, visits, vars(visit)):
            raise SignatureReplayed("The visa was used already.", hint="ask the home gateway for another")

    def sessions_of(self, name: str, now: datetime) -> tuple[str, ...]:
        """See ``PeerStore.sessions_of``."""
        live = sessions.c.revoked_at.is_(None) & (sessions.c.expires_at > now)
        query = select(visits.c.session).join(sessions, sessions.c.id == visits.c.session)
        return tuple(self._connection.execute(query.where(live, visits.c.peer == name)).scalars())


def _peer(row: RowMapping) -> Peer:
    return Peer(**dict(row) | {"projects": tuple(row["projects"])})
