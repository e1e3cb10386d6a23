"""SqlShares: access rules and links in SQL.

Invariant: it works inside the caller's transaction, so what was decided on them is decided on what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, select, update

from gateway.errors import NotFound
from gateway.identity.access import EVERYONE, AccessRule, Combination, Right, Rights, Subject
from gateway.identity.shares import Grant, Link
from gateway.storage.share_tables import access_rules, share_links


class SqlShares:
    """Implements ``gateway.identity.shares.ShareStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, grant: Grant) -> None:
        """See ``ShareStore.put``."""
        rule = grant.rule
        self._connection.execute(delete(access_rules).where(_place(grant.job, rule.path, rule.subject)))
        row = {"job": grant.job, "path": rule.path, "subject": str(rule.subject), "combination": rule.combination.value}
        about = {"made_by": grant.by, "authorisation": grant.authorisation, "at": grant.at}
        self._connection.execute(access_rules.insert().values(**row, **asdict(rule.rights), **about))

    def remove(self, job: str, path: str, subject: Subject) -> None:
        """See ``ShareStore.remove``."""
        if self._connection.execute(delete(access_rules).where(_place(job, path, subject))).rowcount != 1:
            raise NotFound(f"There is no rule about {subject} there.", hint="burst share JOB --list shows them")

    def of_job(self, job: str) -> tuple[Grant, ...]:
        """See ``ShareStore.of_job``."""
        query = select(access_rules).where(access_rules.c.job == job)
        rows = self._connection.execute(query.order_by(access_rules.c.path, access_rules.c.at)).mappings()
        return tuple(map(_grant, rows))

    def given(self, user: str, groups: frozenset[str]) -> tuple[Grant, ...]:
        """See ``ShareStore.given``."""
        subjects = [f"user:{user}", *(f"group:{group}" for group in groups), EVERYONE]
        query = select(access_rules).where(access_rules.c.subject.in_(subjects), access_rules.c.readable.is_(True))
        rows = self._connection.execute(query.order_by(access_rules.c.at.desc(), access_rules.c.job)).mappings()
        return tuple(map(_grant, rows))

    def add_link(self, link: Link) -> None:
        """See ``ShareStore.add_link``."""
        row = {name: value for name, value in vars(link).items() if name != "rights"}
        self._connection.execute(share_links.insert().values(**row, **asdict(link.rights)))

    def link(self, link_id: str) -> Link | None:
        """See ``ShareStore.link``."""
        row = self._connection.execute(select(share_links).where(share_links.c.id == link_id)).mappings().one_or_none()
        return None if row is None else _link(row)

    def links(self, user: str | None, job: str | None = None) -> tuple[Link, ...]:
        """See ``ShareStore.links``."""
        query = select(share_links).order_by(share_links.c.made_at.desc(), share_links.c.id)
        query = query if user is None else query.where(share_links.c.made_by == user)
        query = query if job is None else query.where(share_links.c.job == job)
        return tuple(_link(row) for row in self._connection.execute(query).mappings())

    def revoke_link(self, link_id: str, now: datetime) -> None:
        """See ``ShareStore.revoke_link``."""
        good = (share_links.c.id == link_id) & share_links.c.revoked_at.is_(None)
        self._connection.execute(update(share_links).where(good).values(revoked_at=now))


def _place(job: str, path: str, subject: Subject) -> ColumnElement[bool]:
    here = (access_rules.c.job == job) & (access_rules.c.path == path)
    return here & (access_rules.c.subject == str(subject))


def _rights(row: RowMapping, names: Iterable[Right] = Right) -> Rights:
    return Rights(**{name.value: row[name.value] for name in names})


def _grant(row: RowMapping) -> Grant:
    rule = AccessRule(row["path"], Subject.read(row["subject"]), _rights(row), Combination(row["combination"]))
    return Grant(row["job"], rule, row["made_by"], row["authorisation"], row["at"])


def _link(row: RowMapping) -> Link:
    kept = {name: row[name] for name in row if name not in set(Right)}
    return Link(**kept, rights=_rights(row))
