"""Sign-ins of browsers, and logins that wait for one of them, in SQL.

Invariant: what happens once to a login (its decision) is an UPDATE that names what it was decided on.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.browsers import Browser
from gateway.identity.devices import DeviceLogin, DeviceState
from gateway.identity.scopes import Scope
from gateway.storage.database import insert_new
from gateway.storage.tables import browsers, device_logins

_KEPT: Final = timedelta(days=1)
"""Codes that nobody decided about, and sign-ins that ended."""


class SqlDevices:
    """Implements ``gateway.identity.devices.DeviceStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, login: DeviceLogin) -> None:
        """See ``DeviceStore.add``."""
        if not insert_new(self._connection, device_logins, _row(login)):
            raise Conflict("This code is in use.", hint="ask again for another one")

    def of_client(self, code_hash: str) -> DeviceLogin:
        """See ``DeviceStore.of_client``."""
        return self._one(device_logins.c.code_hash == code_hash)

    def of_user(self, user_code: str) -> DeviceLogin:
        """See ``DeviceStore.of_user``."""
        return self._one(device_logins.c.user_code == user_code)

    def record(self, old: DeviceLogin, new: DeviceLogin) -> None:
        """See ``DeviceStore.record``."""
        mine = (device_logins.c.code_hash == old.code_hash) & (device_logins.c.state == old.state)
        if self._connection.execute(update(device_logins).where(mine).values(**_row(new))).rowcount != 1:
            raise Conflict("Somebody else decided about this login.", hint="burst login --device begins another one")

    def forget(self, now: datetime) -> int:
        """Drop what nobody decided about; return how many. Decisions are kept as evidence."""
        dead = (device_logins.c.expires_at < now - _KEPT) & (device_logins.c.state == DeviceState.PENDING)
        return self._connection.execute(delete(device_logins).where(dead)).rowcount

    def _one(self, which: ColumnElement[bool]) -> DeviceLogin:
        row = self._connection.execute(select(device_logins).where(which)).mappings().one_or_none()
        if row is None:
            raise NotFound("There is no login of that code.", hint="burst login --device shows a new one")
        facts = dict(row)
        asked, given = (frozenset(map(Scope, facts.pop(name))) for name in ("scopes", "given"))
        state = DeviceState(facts.pop("state"))
        return DeviceLogin(user=facts.pop("user_name"), state=state, scopes=asked, given=given, **facts)


class SqlBrowsers:
    """Implements ``gateway.identity.browsers.BrowserStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, browser: Browser) -> None:
        """See ``BrowserStore.add``."""
        row = {field.name: getattr(browser, field.name) for field in fields(Browser) if field.name != "user"}
        self._connection.execute(browsers.insert().values(**row, user_name=browser.user))

    def get(self, cookie_hash: str) -> Browser:
        """See ``BrowserStore.get``."""
        query = select(browsers).where(browsers.c.cookie_hash == cookie_hash)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("This browser is not signed in.", hint="sign in")
        return _browser(row)

    def end(self, cookie_hash: str, now: datetime) -> None:
        """See ``BrowserStore.end``."""
        live = (browsers.c.cookie_hash == cookie_hash) & browsers.c.ended_at.is_(None)
        self._connection.execute(update(browsers).where(live).values(ended_at=now))

    def live(self, user: str, now: datetime) -> tuple[Browser, ...]:
        """See ``BrowserStore.live``."""
        good = (browsers.c.user_name == user) & browsers.c.ended_at.is_(None) & (browsers.c.expires_at > now)
        query = select(browsers).where(good).order_by(browsers.c.created_at.desc(), browsers.c.cookie_hash)
        return tuple(map(_browser, self._connection.execute(query).mappings()))

    def end_all(self, user: str, now: datetime) -> int:
        """See ``BrowserStore.end_all``."""
        live = (browsers.c.user_name == user) & browsers.c.ended_at.is_(None)
        return self._connection.execute(update(browsers).where(live).values(ended_at=now)).rowcount

    def forget(self, now: datetime) -> int:
        """Drop sign-ins that ended a day ago; return how many."""
        return self._connection.execute(delete(browsers).where(browsers.c.expires_at < now - _KEPT)).rowcount


def _browser(row: RowMapping) -> Browser:
    facts = dict(row)
    return Browser(user=facts.pop("user_name"), **facts)


def _row(login: DeviceLogin) -> dict[str, Any]:
    row = {field.name: getattr(login, field.name) for field in fields(DeviceLogin) if field.name != "user"}
    row |= {"scopes": sorted(login.scopes), "given": sorted(login.given)}
    return row | {"public_key": dict(login.public_key), "state": login.state.value, "user_name": login.user}
