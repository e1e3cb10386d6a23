"""SqlSpending: an account's charges in SQL, read only."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gateway.accounting.spending import Charge
from gateway.storage.tables import holds, jobs


class SqlSpending:
    """Implements ``gateway.accounting.spending.Spending`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, account: str, limit: int) -> tuple[Charge, ...]:
        """See ``Spending.of``."""
        query = (
            select(
                holds.c.job,
                jobs.c.scheduler_id,
                jobs.c.name,
                holds.c.amount_ucr,
                holds.c.charged_ucr,
                holds.c.settled_at,
            )
            .join(jobs, jobs.c.id == holds.c.job)
            .where(holds.c.account == account, holds.c.state == "settled")
            .order_by(holds.c.settled_at.desc(), holds.c.job)
            .limit(limit)
        )
        return tuple(Charge(*row) for row in reversed(self._connection.execute(query).all()))
