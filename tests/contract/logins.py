"""Logins of a test: with scopes, with chosen passwords, and in a browser without a screen."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
from http_door import API, Door, Visitor

from gateway.accounting.ledger import AccountKind
from gateway.identity.groups import Group, GroupRole
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.passwords import hash_password
from gateway.identity.users import Role, User
from gateway.settings import CREDIT
from gateway.storage.database import Database
from gateway.storage.work import SqlWork
from gateway.wire import Session


@dataclass(frozen=True)
class Person:
    """A user of the door's gateway and their password."""

    door: Door
    name: str
    password: str

    def log_in(self, *scopes: str, host: str = "laptop") -> Visitor:
        """A session of these scopes."""
        key = make_key()
        facts = {"user": self.name, "password": self.password, "public_key": public_jwk(key), "host": host}
        answer = self.door.http.post(f"{API}/sessions", json={**facts, "scopes": list(scopes)})
        assert answer.status_code == 201, answer.text
        return Visitor(self.door.http, Session.model_validate_json(answer.content), key)

    def browse(self, page: str = "/web/jobs") -> Web:
        """A browser that has signed in."""
        web = Web.at(self.door)
        answer = web.sign_in(self.name, self.password, page)
        assert answer.status_code == 303, answer.text
        return web


@dataclass(frozen=True)
class Web:
    """Pages and forms as a browser without script has them."""

    http: httpx2.Client

    @classmethod
    def at(cls, door: Door) -> Web:
        """A browser with no cookie yet."""
        return cls(httpx2.Client(base_url=door.url, timeout=60))

    def sign_in(self, user: str, password: str, page: str, **fields: str) -> httpx2.Response:
        """Fill the form in."""
        form = self.http.get("/web/sign-in", params={"next": page})
        facts = {"user": user, "password": password, "next": page, "public_key": "", **fields}
        return self.http.post("/web/sign-in", data={**facts, "token": token_in(form.text)})

    def send(self, page: str, shown: str, fields: Mapping[str, str]) -> httpx2.Response:
        """Send the form of a page that is shown."""
        return self.http.post(page, data={**fields, "token": token_in(shown)})


def token_in(page: str) -> str:
    """The token of a page's form."""
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


def new_person(door: Door, name: str, credits_ucr: int = 100 * CREDIT) -> Person:
    """A new user with an account of their own."""
    password, now, database = secrets.token_hex(8), datetime.now(UTC), Database(door.settings.database_url)
    with database.begin() as connection:
        work = SqlWork(connection)
        work.ledger.open_account(name, AccountKind.USER)
        work.users.add(User(name, Role.USER, account=name), hash_password(password), now)
        work.ledger.deposit(name, credits_ucr, "to start with", now)
    database.close()
    return Person(door, name, password)


def new_project(door: Door, name: str, leader: str, credits_ucr: int = 100 * CREDIT) -> None:
    """A project that ``leader`` leads, with money."""
    now, database = datetime.now(UTC), Database(door.settings.database_url)
    with database.begin() as connection:
        work = SqlWork(connection)
        work.ledger.open_account(name, AccountKind.PROJECT)
        work.ledger.deposit(name, credits_ucr, "to start with", now)
        work.groups.add(Group(name, name.title(), name), now)
        work.groups.put(name, leader, GroupRole.LEADER, now)
    database.close()
