"""Registry: the services of people on a real database, at a time that the test sets, without the rest of a gateway."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel
from sqlalchemy import select

from gateway import wire
from gateway.identity import totp
from gateway.identity.authenticate import Caller, Request, Verifier
from gateway.identity.credentials import Credentials
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import Key, make_key, public_jwk
from gateway.identity.sealing import Sealer
from gateway.identity.signature import sign_request
from gateway.identity.users import Role
from gateway.service.browsers import BrowserService
from gateway.service.factors import FactorService
from gateway.service.groups import GroupService
from gateway.service.people import PeopleService
from gateway.service.registration import RegistrationService
from gateway.service.users import UserService
from gateway.storage.columns import metadata
from gateway.storage.database import Database
from gateway.storage.group_tables import audit_records
from gateway.storage.work import SqlWork
from gateway.work import Work

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
HERE = "192.0.2.7"
URL = "https://burst.example"


@dataclass
class Registry:
    """People of one database; ``at`` is the time that it is to all of them."""

    database: Database
    folder: Path
    at: datetime = START
    sealer: Sealer = field(default_factory=lambda: Sealer(os.urandom(32)))

    def __post_init__(self) -> None:
        ring = KeyRing.open(self.folder / "ring.json", START)
        self.people = PeopleService(
            self.works,
            self.reads,
            ring,
            Verifier("burst/test", skew_s=60),
            Credentials(ring, URL, "burst/test"),
            URL,
            timedelta(hours=12),
            lambda: self.at,
            self.sealer,
        )
        self.registration = RegistrationService(self.people, open=False)
        self.factors = FactorService(self.people)
        self.users = UserService(self.people, self.registration)
        self.groups = GroupService(self.people)
        self.browsers = BrowserService(self.people)

    @contextmanager
    def works(self) -> Iterator[Work]:
        with self.database.begin() as connection:
            yield SqlWork(connection)

    @contextmanager
    def reads(self) -> Iterator[Work]:
        with self.database.read() as connection:
            yield SqlWork(connection)

    def later(self, **how: float) -> None:
        """Let time pass."""
        self.at += timedelta(**how)

    def add(self, name: str, role: Role = Role.USER) -> str:
        self.people.add_user(name, role, PASSWORD)
        return name

    def log_in(self, name: str, password: str = PASSWORD, key: Key | None = None, **how: Any) -> Login:
        """A new session; raises what the gateway answers."""
        key = key or make_key()
        request = wire.LoginRequest(user=name, password=password, public_key=public_jwk(key), **how)
        return Login(self, self.people.log_in(request, HERE), key)

    def enrol(self, login: Login) -> tuple[bytes, tuple[str, ...]]:
        """An authenticator app's secret, confirmed by a first code, and the recovery codes."""
        begun = self.factors.begin_totp(login.signs(), wire.PasswordProof(password=PASSWORD), HERE)
        secret = secret_of(begun.uri)
        code = totp.code_at(secret, totp.step_of(self.at))
        confirmed = self.factors.confirm_totp(login.signs(), wire.ConfirmRequest(code=code), HERE)
        return secret, confirmed.codes

    def code(self, secret: bytes, steps: int = 0) -> str:
        """What the app shows now, or so many steps from now."""
        return totp.code_at(secret, totp.step_of(self.at) + steps)

    def told(self, action: str) -> list[Any]:
        """What the audit log has of an action: actor, subject, outcome, text, authorisation."""
        found = [audit_records.c[name] for name in ("actor", "subject", "outcome", "text", "authorisation")]
        query = select(*found).where(audit_records.c.action == action).order_by(audit_records.c.seq)
        with self.database.read() as connection:
            return list(connection.execute(query).all())

    def stored(self) -> str:
        """Everything that the database holds, as one text."""
        with self.database.read() as connection:
            return repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])


@dataclass(frozen=True)
class Login:
    """Somebody's session and its key."""

    registry: Registry
    session: wire.Session
    key: Key

    def signs(self, body: BaseModel | None = None) -> Caller:
        """Whom the gateway sees behind a request that they sign now; raises what it answers."""
        content = b"" if body is None else json.dumps(body.model_dump(mode="json")).encode()
        path, at = "/api/v1/anything", self.registry.at
        token = sign_request(self.key, self.session.id, "POST", path, content, self.session.audience, at)
        return self.registry.people.user(Request("POST", path, content, f"Burst {token}"))


def secret_of(uri: str) -> bytes:
    """What an authenticator app reads out of an ``otpauth://`` URI."""
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp"), uri
    text = parse_qs(parts.query)["secret"][0]
    return base64.b32decode(text + "=" * (-len(text) % 8))
