"""People: users added by who may read the gateway's own directory, whether or not its process runs.

Invariant: the database is the gateway's own; a user who is there already is left as he is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from gateway.accounting.ledger import AccountKind
from gateway.errors import NotFound
from gateway.identity.passwords import hash_password
from gateway.identity.users import Role, User
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.work import SqlWork

Add = Callable[[str, Role, str, int], bool]


@contextmanager
def people_of(settings: Settings) -> Iterator[Add]:
    """Adds a user with an account of the same name, a password and opening credits; False for one who is known."""
    database = Database(settings.database_url)
    database.migrate()

    def add(name: str, role: Role, password: str, credits_ucr: int) -> bool:
        digest, now = hash_password(password), datetime.now(UTC)
        with database.begin() as connection:
            work = SqlWork(connection)
            try:
                work.users.get(name)
            except NotFound:
                work.ledger.open_account(name, AccountKind.USER)
                work.users.add(User(name, role, account=name), digest, now)
                if credits_ucr:
                    work.ledger.deposit(name, credits_ucr, "opening credit", now)
                return True
        return False

    try:
        yield add
    finally:
        database.close()
