"""A login that its user approves in a browser (RFC 8628), as the client sees it.

Invariant: the private key is made here and never sent; what the user compares is made from this key.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from joserfc.jwk import OKPKey

from gateway import wire
from gateway.client.session import Session, post_unsigned, profile_of
from gateway.errors import ApprovalPending, CodeExpired, GatewayUnavailable, SlowDown
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.phrase import phrase

_SLOWER_S = 5
"""RFC 8628 section 3.5."""


@dataclass(frozen=True)
class DeviceLogin:
    """A login that waits for approval; show its code, URL and phrase, then ``wait``."""

    url: str
    key: OKPKey
    asked: wire.DeviceLogin

    @classmethod
    def begin(cls, url: str, *, scopes: tuple[str, ...] = (), patience_s: float = 20.0) -> DeviceLogin:
        """Make a key and ask the gateway for a code; no ``scopes``: for everything. Raises GatewayUnavailable."""
        key = make_key()
        body = wire.DeviceRequest(public_key=public_jwk(key), host=socket.gethostname() or "unknown", scopes=scopes)
        return cls(url, key, post_unsigned(url, "/device", body, wire.DeviceLogin, patience_s=patience_s))

    @property
    def phrase(self) -> str:
        """Four words of the key; the browser must show the same."""
        return phrase(self.key)

    def wait(self) -> Session:
        """Ask until it is decided. Raises ApprovalRefused, CodeExpired."""
        deadline, interval = time.monotonic() + self.asked.expires_in, self.asked.interval
        while time.monotonic() < deadline:
            time.sleep(interval)
            try:
                session = self._ask()
            except SlowDown:
                interval += _SLOWER_S
            except (ApprovalPending, GatewayUnavailable):
                continue
            else:
                return Session(profile_of(self.url, self.key, session))
        raise CodeExpired("nobody approved this login in time", hint="burst login --device begins another one")

    def _ask(self) -> wire.Session:
        body = wire.DevicePoll(device_code=self.asked.device_code)
        return post_unsigned(self.url, "/device/token", body, wire.Session, patience_s=0)
