"""SqlInvitations: one-time codes of administrators, in SQL.

Invariant: a code is used up by an UPDATE that names that it was not.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select, update

from gateway.identity.invitations import Invitation, InvitationKind
from gateway.identity.users import Role
from gateway.storage.people_tables import invitations


class SqlInvitations:
    """Implements ``gateway.identity.invitations.InvitationStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, invitation: Invitation) -> None:
        """See ``InvitationStore.put``."""
        self.end_all(invitation.user, invitation.made_at)
        row = vars(invitation) | {"kind": invitation.kind.value, "role": invitation.role.value}
        row |= {"user_name": row.pop("user"), "group_name": row.pop("group")}
        self._connection.execute(invitations.insert().values(**row))

    def find(self, code_hash: str) -> Invitation | None:
        """See ``InvitationStore.find``."""
        query = select(invitations).where(invitations.c.code_hash == code_hash)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        facts = dict(row)
        return Invitation(
            user=facts.pop("user_name"),
            group=facts.pop("group_name"),
            kind=InvitationKind(facts.pop("kind")),
            role=Role(facts.pop("role")),
            **facts,
        )

    def use(self, code_hash: str, now: datetime) -> bool:
        """See ``InvitationStore.use``."""
        unused = _unused(invitations.c.code_hash == code_hash)
        return self._connection.execute(update(invitations).where(unused).values(used_at=now)).rowcount == 1

    def end_all(self, user: str, now: datetime) -> None:
        """See ``InvitationStore.end_all``."""
        unused = _unused(invitations.c.user_name == user)
        self._connection.execute(update(invitations).where(unused).values(expires_at=now))


def _unused(which: ColumnElement[bool]) -> ColumnElement[bool]:
    return which & invitations.c.used_at.is_(None)
