"""Logins: a session begins or ends, and the audit log says so in the same transaction.

Invariant: no session is kept without a record of who began it, how and from where.
"""

from __future__ import annotations

from datetime import datetime

from gateway.identity.audit import Act
from gateway.identity.scopes import ALL
from gateway.identity.sessions import Session
from gateway.work import Work


def begin(work: Work, session: Session) -> None:
    """Keep a new session."""
    work.sessions.add(session)
    origin = session.origin
    may = "everything" if session.scopes == ALL else ", ".join(sorted(session.scopes))
    host = f" on {origin.host}" if origin.host else ""
    text = f"{session.user} logged in by {origin.how}{host}; it may {may}"
    act = Act(session.user, "login", f"session:{session.id}", text, address=origin.address or None)
    work.audit.tell(act, session.created_at)


def end(work: Work, session: Session, actor: str, now: datetime, authorisation: str | None = None) -> None:
    """End a session at once; ``authorisation`` is the digest of the request that asked for it."""
    work.sessions.revoke(session.id, now)
    text = f"{actor} ended a login of {session.user}'s"
    work.audit.tell(Act(actor, "logout", f"session:{session.id}", text, authorisation=authorisation), now)
