"""Principal: a program that logs in by a long-lived key of its own, as the client sees it.

Invariant: the private key is made here, is never sent, and is read only from a file that nobody else can read.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from gateway import wire
from gateway.client.problems import error_of
from gateway.client.profile import Profile
from gateway.client.session import Session, attempt, connection, post_unsigned, profile_of
from gateway.errors import InvalidRequest, SetupError
from gateway.identity.assertion import assertion
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.principals import RENEW_BEFORE

_HINT = "burst principals new-key FILE makes one"


def make_key_file(path: Path) -> dict[str, str]:
    """Make a key, write it to a new file of mode 0600, return its public half as a JWK. Raises InvalidRequest."""
    key = make_key()
    members = key.as_dict(private=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidRequest(f"{path} is there already", hint="name another file; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        json.dump({name: str(members[name]) for name in ("kty", "crv", "x", "d")}, file)
    return public_jwk(key)


def read_key_file(path: Path) -> OKPKey:
    """The private key of a file. Raises SetupError for one that others can read, or that is none."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SetupError(f"others can read {path}", hint=f"chmod 600 {path}; if somebody may have, make a new key")
        return OKPKey.import_key(json.loads(path.read_text()))
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", hint=_HINT) from None
    except (ValueError, JoseError):
        raise SetupError(f"{path} holds no key", hint=_HINT) from None


def log_in(url: str, name: str, key_file: Path, scopes: tuple[str, ...] = (), *, patience_s: float = 20.0) -> Profile:
    """A new session key, certified for the principal ``name``. Raises NotAllowed, SetupError for its file."""
    registered, key = read_key_file(key_file), make_key()
    audience = _issuer(url, patience_s)
    body = wire.AssertionRequest(
        assertion=assertion(registered, name, key, audience, datetime.now(UTC)),
        public_key=public_jwk(key),
        scopes=scopes,
        host=socket.gethostname(),
    )
    # Not safe to send twice: an assertion is good once. A lost reply is asked for anew by the caller.
    session = post_unsigned(url, "/principals/login", body, wire.Session, patience_s=patience_s, safe=False)
    return profile_of(url, key, session, key_file=str(key_file.absolute()), scopes=scopes)


def login(url: str, name: str, key_file: Path, scopes: tuple[str, ...] = (), *, patience_s: float = 20.0) -> Session:
    """A session that logs in again by itself before it ends, as long as its process lives."""
    return Session(log_in(url, name, key_file, scopes, patience_s=patience_s), patience_s=patience_s)


def renewed(profile: Profile, now: datetime) -> Profile:
    """The profile, or a new one when it ends soon and its key file makes that possible."""
    if profile.key_file is None or profile.expires_at - now > RENEW_BEFORE:
        return profile
    return log_in(profile.url, profile.user, Path(profile.key_file), tuple(profile.scopes))


def _issuer(url: str, patience_s: float) -> str:
    """Who the gateway says that it is. One that lies gets an assertion for a key that it has not: worth nothing."""
    with connection(url) as http:
        answer = attempt(lambda: http.get("/.well-known/openid-configuration"), patience_s=patience_s)
    if not answer.is_success:
        raise error_of(answer)
    return _named(answer)


def _named(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["issuer"])
    except (ValueError, KeyError, TypeError):
        raise SetupError("that is no gateway", hint="check the URL") from None
