"""SqlPasskeys: passkeys and their challenges in SQL.

Invariant: a challenge is taken by the DELETE that finds it, so two answers to it are one.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.passkeys import Challenge, Passkey, Purpose
from gateway.storage.database import insert_new
from gateway.storage.passkey_tables import passkey_challenges, passkeys


class SqlPasskeys:
    """Implements ``gateway.identity.passkeys.PasskeyStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, challenge: Challenge) -> None:
        """See ``PasskeyStore.ask``."""
        self._connection.execute(delete(passkey_challenges).where(_of(challenge.cookie_hash, challenge.purpose)))
        row = vars(challenge) | {"purpose": challenge.purpose.value}
        self._connection.execute(passkey_challenges.insert().values(**row))

    def take(self, cookie_hash: str, purpose: Purpose) -> Challenge:
        """See ``PasskeyStore.take``."""
        query = delete(passkey_challenges).where(_of(cookie_hash, purpose)).returning(passkey_challenges)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("This browser was asked for no passkey.", hint="open the page again")
        facts = dict(row)
        return Challenge(purpose=Purpose(facts.pop("purpose")), **facts)

    def add(self, passkey: Passkey) -> None:
        """See ``PasskeyStore.add``."""
        row = {field.name: getattr(passkey, field.name) for field in fields(Passkey) if field.name != "user"}
        if not insert_new(self._connection, passkeys, row | {"user_name": passkey.user}):
            raise Conflict("This passkey is known already.", hint="make another one")

    def of_user(self, user: str) -> tuple[Passkey, ...]:
        """See ``PasskeyStore.of_user``."""
        query = select(passkeys).where(passkeys.c.user_name == user).order_by(passkeys.c.created_at, passkeys.c.id)
        return tuple(map(_passkey, self._connection.execute(query).mappings()))

    def of_credential(self, credential_id: str) -> Passkey:
        """See ``PasskeyStore.of_credential``."""
        query = select(passkeys).where(passkeys.c.credential_id == credential_id)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("There is no such passkey.", hint="sign in with your password")
        return _passkey(row)

    def used(self, old: Passkey, sign_count: int, now: datetime) -> None:
        """See ``PasskeyStore.used``."""
        mine = (passkeys.c.id == old.id) & (passkeys.c.sign_count == old.sign_count)
        query = update(passkeys).where(mine).values(sign_count=sign_count, used_at=now)
        if self._connection.execute(query).rowcount != 1:
            raise Conflict("This passkey was used elsewhere at the same moment.", hint="try again")

    def rename(self, user: str, passkey_id: str, name: str) -> None:
        """See ``PasskeyStore.rename``."""
        _one(self._connection.execute(update(passkeys).where(_mine(user, passkey_id)).values(name=name)).rowcount)

    def remove(self, user: str, passkey_id: str) -> None:
        """See ``PasskeyStore.remove``."""
        _one(self._connection.execute(delete(passkeys).where(_mine(user, passkey_id))).rowcount)

    def forget(self, now: datetime) -> int:
        """Drop challenges that nobody answered in time; return how many."""
        dead = passkey_challenges.c.expires_at < now
        return self._connection.execute(delete(passkey_challenges).where(dead)).rowcount


def _of(cookie_hash: str, purpose: Purpose) -> ColumnElement[bool]:
    return (passkey_challenges.c.cookie_hash == cookie_hash) & (passkey_challenges.c.purpose == purpose.value)


def _mine(user: str, passkey_id: str) -> ColumnElement[bool]:
    return (passkeys.c.user_name == user) & (passkeys.c.id == passkey_id)


def _passkey(row: RowMapping) -> Passkey:
    facts: dict[str, Any] = dict(row)
    return Passkey(user=facts.pop("user_name"), **facts)


def _one(count: int) -> None:
    if count != 1:
        raise NotFound("You have no such passkey.", hint="open your account's page again")
