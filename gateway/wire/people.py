"""People: logins, sessions, tokens, and what proves that files are shared."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gateway.wire.form import ONE_LINE, Request, View
from gateway.wire.identity import Code, Remember
from gateway.wire.sessions import Host, ScopeWord


class LoginRequest(Request):
    """A password for a session certificate; the private key stays where it was made."""

    user: str = Field(min_length=1, max_length=64, pattern=ONE_LINE)
    password: str = Field(min_length=1, max_length=1024)
    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""
    scopes: tuple[ScopeWord, ...] = Field(default=(), max_length=16)
    """What the session may do of what its user may; none at all: everything."""
    host: Host = ""
    """The name of the computer that asks, as it says itself; shown among the user's logins."""
    code: Code | None = None
    """Of the authenticator app, where one is enrolled."""
    device: str | None = Field(default=None, max_length=4096, pattern=ONE_LINE)
    """The word of a remembered device, in place of a code: ``gateway.identity.device_keys.make_proof``."""
    remember: Remember | None = None
    """Remember this device, if a code was right."""


class Session(View):
    """A session: ``id`` is the ``kid`` of its signatures."""

    id: str
    user: str
    audience: str
    """What ``aud`` of every signature must be."""
    expires_at: datetime
    certificate: str
    scopes: tuple[str, ...] = ()
    device: str | None = None
    """The device that this login was remembered by from now on."""


class DeviceRequest(Request):
    """A login that a person approves in a browser (RFC 8628); the private key stays where it was made."""

    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""
    host: str = Field(min_length=1, max_length=255, pattern=ONE_LINE)
    """The name of the computer that asks, as it says itself; shown to the person who approves."""
    scopes: tuple[ScopeWord, ...] = Field(default=(), max_length=16)
    """What it asks for; none at all: everything. The person may give less."""


class DeviceLogin(View):
    """What the person is told, and how often to ask for the outcome. Names are RFC 8628's."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DevicePoll(Request):
    """Asks what became of a login."""

    device_code: str = Field(min_length=1, max_length=128, pattern=ONE_LINE)


class Identity(View):
    """Who a session belongs to."""

    user: str
    role: str
    account: str
    session: str
    expires_at: datetime
    scopes: tuple[str, ...] = ()


class SlurmTokenRequest(Request):
    """Asks for a token with which clients of Slurm's REST API may look."""

    lifespan_s: int | None = Field(default=None, ge=1, le=31_536_000)
    """None: as long as the session."""


class SlurmToken(View):
    """Goes into X-SLURM-USER-TOKEN, with ``user`` in X-SLURM-USER-NAME."""

    user: str
    token: str
    expires_at: datetime


class SharedFiles(View):
    """Whether nodes see the files of the machine that the gateway runs on, and how to prove that one is there too.

    ``witness`` is a file that only the user whom jobs run as can read, ``sha256`` what is in it.
    """

    shared: bool
    witness: str = ""
    sha256: str = ""
