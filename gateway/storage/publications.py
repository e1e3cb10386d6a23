"""SqlPublications: publications and who may read them, in SQL.

Invariant: a findable publication is never written again.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, select, update

from gateway.errors import Conflict, NotFound
from gateway.publishing.record import Publication, PublicationState, Record
from gateway.storage.database import insert_new
from gateway.storage.tables import publication_grants, publications

_HINT = "burst share shows yours"


class SqlPublications:
    """Implements ``gateway.publishing.record.Publications`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, publication: Publication) -> None:
        """See ``Publications.keep``."""
        row = {
            "id": publication.id,
            "job": publication.job,
            "doi": publication.doi,
            "user_name": publication.user,
            "state": publication.state.value,
            "access": publication.record.access.value,
            "manifest_sha256": publication.record.manifest_sha256,
            "record": publication.record.document(),
            "authorisation": publication.authorisation,
            "at": publication.at,
        }
        if insert_new(self._connection, publications, row):
            return
        mine = (publications.c.job == publication.job) & (publications.c.state != PublicationState.FINDABLE.value)
        if self._connection.execute(update(publications).where(mine).values(**row)).rowcount != 1:
            raise Conflict(f"The job is published as {publication.doi}; a publication does not change.", hint=_HINT)

    def get(self, publication_id: str) -> Publication:
        """See ``Publications.get``."""
        query = select(publications).where(publications.c.id == publication_id)
        if (row := self._connection.execute(query).mappings().one_or_none()) is None:
            raise NotFound(f"There is no publication {publication_id[:64]}.", hint=_HINT)
        return _publication(row)

    def of_job(self, job: str) -> Publication | None:
        """See ``Publications.of_job``."""
        row = self._connection.execute(select(publications).where(publications.c.job == job)).mappings().one_or_none()
        return None if row is None else _publication(row)

    def of_user(self, user: str | None) -> tuple[Publication, ...]:
        """See ``Publications.of_user``."""
        query = select(publications).order_by(publications.c.at.desc(), publications.c.id)
        if user is not None:
            query = query.where(publications.c.user_name == user)
        return tuple(_publication(row) for row in self._connection.execute(query).mappings())

    def grant(self, publication_id: str, user: str, by: str, authorisation: str, now: datetime) -> None:
        """See ``Publications.grant``."""
        row = {"publication": publication_id, "user_name": user, "granted_by": by, "authorisation": authorisation}
        insert_new(self._connection, publication_grants, {**row, "at": now})

    def revoke(self, publication_id: str, user: str) -> None:
        """See ``Publications.revoke``."""
        done = self._connection.execute(
            publication_grants.delete().filter_by(publication=publication_id, user_name=user)
        )
        if done.rowcount != 1:
            raise NotFound(f"{user} has no grant for {publication_id}.", hint=_HINT)

    def readers(self, publication_id: str) -> tuple[str, ...]:
        """See ``Publications.readers``."""
        query = select(publication_grants.c.user_name).where(publication_grants.c.publication == publication_id)
        return tuple(self._connection.execute(query.order_by(publication_grants.c.user_name)).scalars())


def _publication(row: RowMapping) -> Publication:
    return Publication(
        id=row["id"],
        doi=row["doi"],
        job=row["job"],
        user=row["user_name"],
        state=PublicationState(row["state"]),
        record=Record.read(row["record"]),
        authorisation=row["authorisation"],
        at=row["at"],
    )
