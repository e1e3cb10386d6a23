"""Second factors and remembered devices in SQL.

Invariant: what is good once (a step, a recovery code) is used up by an UPDATE that names what it must still be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.device_keys import DeviceKey
from gateway.identity.factors import Totp
from gateway.storage.database import insert_new
from gateway.storage.people_tables import device_keys, recovery_codes, totp_factors


class SqlFactors:
    """Implements ``gateway.identity.factors.FactorStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def totp(self, user: str) -> Totp | None:
        """See ``FactorStore.totp``."""
        query = select(totp_factors).where(totp_factors.c.user_name == user)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return Totp(user, row["sealed"], row["last_step"], row["enrolled_at"], row["confirmed_at"])

    def put_totp(self, factor: Totp) -> None:
        """See ``FactorStore.put_totp``."""
        self._connection.execute(delete(totp_factors).where(totp_factors.c.user_name == factor.user))
        row = {field.name: getattr(factor, field.name) for field in fields(Totp) if field.name != "user"}
        self._connection.execute(totp_factors.insert().values(**row, user_name=factor.user))

    def confirm(self, user: str, now: datetime) -> None:
        """See ``FactorStore.confirm``."""
        mine = totp_factors.c.user_name == user
        self._connection.execute(update(totp_factors).where(mine).values(confirmed_at=now))

    def use_step(self, user: str, step: int) -> bool:
        """See ``FactorStore.use_step``."""
        unused = (totp_factors.c.user_name == user) & (totp_factors.c.last_step < step)
        return self._connection.execute(update(totp_factors).where(unused).values(last_step=step)).rowcount == 1

    def remove(self, user: str) -> None:
        """See ``FactorStore.remove``."""
        for table in (totp_factors, recovery_codes):
            self._connection.execute(delete(table).where(table.c.user_name == user))

    def put_codes(self, user: str, hashes: Iterable[str], now: datetime) -> None:
        """See ``FactorStore.put_codes``."""
        self._connection.execute(delete(recovery_codes).where(recovery_codes.c.user_name == user))
        rows = [{"user_name": user, "code_hash": each, "made_at": now} for each in hashes]
        self._connection.execute(recovery_codes.insert(), rows)

    def use_code(self, user: str, code_hash: str, now: datetime) -> bool:
        """See ``FactorStore.use_code``."""
        unused = _codes(user) & (recovery_codes.c.code_hash == code_hash)
        return self._connection.execute(update(recovery_codes).where(unused).values(used_at=now)).rowcount == 1

    def codes_left(self, user: str) -> int:
        """See ``FactorStore.codes_left``."""
        query = select(func.count()).select_from(recovery_codes).where(_codes(user))
        return int(self._connection.execute(query).scalar_one())


class SqlDeviceKeys:
    """Implements ``gateway.identity.device_keys.DeviceKeyStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, device: DeviceKey) -> None:
        """See ``DeviceKeyStore.add``."""
        row = {field.name: getattr(device, field.name) for field in fields(DeviceKey) if field.name != "user"}
        row |= {"user_name": device.user, "public_key": dict(device.public_key)}
        if not insert_new(self._connection, device_keys, row):
            raise Conflict("This device's key is known already.", hint="make a new key: burst login --remember")

    def find(self, user: str, device: str) -> DeviceKey | None:
        """See ``DeviceKeyStore.find``."""
        row = self._connection.execute(select(device_keys).where(_live(user, device))).mappings().one_or_none()
        return None if row is None else _device(row)

    def of_user(self, user: str) -> tuple[DeviceKey, ...]:
        """See ``DeviceKeyStore.of_user``."""
        query = select(device_keys).where(_live(user)).order_by(device_keys.c.created_at.desc(), device_keys.c.id)
        return tuple(map(_device, self._connection.execute(query).mappings()))

    def used(self, device: str, now: datetime) -> None:
        """See ``DeviceKeyStore.used``."""
        self._connection.execute(update(device_keys).where(device_keys.c.id == device).values(last_used_at=now))

    def revoke(self, user: str, device: str, now: datetime) -> None:
        """See ``DeviceKeyStore.revoke``."""
        if not self._end(_live(user, device), now):
            raise NotFound("There is no such remembered device.", hint="burst devices lists yours")

    def revoke_all(self, user: str, now: datetime) -> int:
        """See ``DeviceKeyStore.revoke_all``."""
        return self._end(_live(user), now)

    def _end(self, which: ColumnElement[bool], now: datetime) -> int:
        return self._connection.execute(update(device_keys).where(which).values(revoked_at=now)).rowcount


def _codes(user: str) -> ColumnElement[bool]:
    return (recovery_codes.c.user_name == user) & recovery_codes.c.used_at.is_(None)


def _live(user: str, device: str | None = None) -> ColumnElement[bool]:
    mine = (device_keys.c.user_name == user) & device_keys.c.revoked_at.is_(None)
    return mine if device is None else mine & (device_keys.c.id == device)


def _device(row: RowMapping) -> DeviceKey:
    facts = dict(row)
    return DeviceKey(user=facts.pop("user_name"), **facts)
