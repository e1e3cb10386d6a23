"""Peers: the gateways that trust each other, visas and visits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from gateway.wire.form import ONE_LINE, Request, View


class About(View):
    """What a gateway says of itself to everybody."""

    issuer: str
    audience: str
    """What ``aud`` of every signature for it must be."""


class PeerRequest(Request):
    """A gateway to trust: what its ``/.well-known`` documents say of it, and what its users may spend from here."""

    name: str = Field(max_length=31, pattern=r"^[a-z][a-z0-9-]*$")
    issuer: str = Field(max_length=512, pattern=r"^https?://[^\s]+$")
    audience: str = Field(min_length=1, max_length=256, pattern=ONE_LINE)
    keys: dict[str, Any]
    """Its JWK Set (RFC 7517)."""
    projects: tuple[str, ...] = Field(default=(), max_length=100)


class PeerView(View):
    """A gateway that is trusted."""

    name: str
    issuer: str
    audience: str
    projects: tuple[str, ...]
    fingerprints: tuple[str, ...]
    """RFC 7638 thumbprints of the keys that it may sign visas with."""
    trusted_by: str
    since: datetime


class VisaRequest(Request):
    """Asks the home gateway to say at ``peer`` whose key this is."""

    peer: str = Field(min_length=1, max_length=512, pattern=ONE_LINE)
    """Our name of it, or its URL."""
    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""


class Visa(View):
    """To be shown to ``url`` within minutes, in a request signed by the key for ``audience``, as ``kid``."""

    visa: str
    url: str
    audience: str
    kid: str
    keys: tuple[dict[str, str], ...] = ()
    """What that gateway signs its answers with, newest first, as the home gateway was told."""


class VisitRequest(Request):
    """A visa, brought to the gateway that it is for."""

    visa: str = Field(min_length=16, max_length=8192, pattern=ONE_LINE)
