"""Session: a login's key and the signed requests that it makes.

Invariant: the private key is made here and never sent; every try of a request is signed anew, so a retry is no replay;
an answer is believed when the gateway signed it for this very request.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx2
from joserfc.jwk import OKPKey
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway import wire
from gateway.client import known_gateways, pin, remembered
from gateway.client import profile as profiles
from gateway.client.problems import error_of
from gateway.client.profile import Profile
from gateway.errors import BurstError, GatewayUnavailable, NotAllowed
from gateway.identity.device_keys import make_proof
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.signature import sign_request

T = TypeVar("T")

API = "/api/v1"
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Session:
    """Signed HTTP to one gateway, as one user.

    ``patience_s`` is how long a request is tried again while the gateway cannot be reached.
    """

    def __init__(self, profile: Profile, *, patience_s: float = 20.0) -> None:
        self.profile = profile
        self.patience_s = patience_s
        self._key = OKPKey.import_key(dict(profile.key))
        self._http = connection(profile.url)
        self._kept: Path | None = None
        self._renewing = threading.Lock()

    @classmethod
    def login(
        cls,
        url: str,
        user: str,
        password: str,
        *,
        code: str | None = None,
        remember: bool = False,
        scopes: tuple[str, ...] = (),
        patience_s: float = 20.0,
    ) -> Self:
        """Make a key, trade ``password`` for its certificate.

        ``code`` is an authenticator app's; where this device is remembered (``remember`` with a code makes it so) its
        own key stands in for one. Raises NotAllowed for a wrong password or code, CodeNeeded where one is missing.
        ``scopes`` are what the login may do of what its user may; none: everything.
        """
        key, device = make_key(), remembered.new_key() if remember and code else None
        kept = None if code else remembered.load(url, user)
        body = wire.LoginRequest(
            user=user,
            password=password,
            public_key=public_jwk(key),
            scopes=scopes,
            host=socket.gethostname(),
            code=code,
            device=make_proof(kept.device, user, key, kept.audience, datetime.now(UTC)) if kept else None,
            remember=remembered.asked(device) if device else None,
        )
        session = post_unsigned(url, "/sessions", body, wire.Session, patience_s=patience_s, safe=code is None)
        if device is not None and session.device:
            remembered.save(session, url, device)
        return cls(profile_of(url, key, session), patience_s=patience_s)

    @classmethod
    def saved(cls, name: str | None = None) -> Self:
        """The login that ``burst login`` kept; BURST_URL, if set, wins over its URL. Raises NotAllowed without one."""
        path = profiles.profile_path(name)
        kept = profiles.load(path)
        if kept.key_file is None and kept.expired(datetime.now(UTC)):
            raise NotAllowed(
                f"the login of {kept.user} at {kept.url} ended at {kept.expires_at:%Y-%m-%d %H:%M} UTC",
                hint=f"burst login {kept.url}",
            )
        session = cls(kept)
        session._kept = path
        if url := os.environ.get("BURST_URL"):
            session._http = connection(url)
        return session

    def save(self, name: str | None = None) -> None:
        """Keep this login for later commands."""
        self._kept = profiles.profile_path(name)
        known_gateways.remember(self.profile.audience, self.profile.gateway_keys)
        profiles.save(self.profile, self._kept)

    def logout(self, name: str | None = None) -> None:
        """End the session at the gateway, and forget the key whatever the gateway says."""
        try:
            self.request("DELETE", "/sessions/current")
        finally:
            profiles.remove(profiles.profile_path(name))

    def get(self, path: str, answer: type[T], **query: str | int | None) -> T:
        """GET ``/api/v1`` + ``path``, read as ``answer``."""
        chosen = {name: value for name, value in query.items() if value is not None}
        full = f"{path}?{urlencode(chosen)}" if chosen else path
        return _read(self.request("GET", full), answer)

    def post(self, path: str, body: BaseModel | None, answer: type[T], **how: Any) -> T:
        """POST ``body``, read the reply as ``answer``; ``how`` as for ``request``."""
        return _read(self.request("POST", path, body, **how), answer)

    def request(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_spend_ucr: int | None = None,
        safe: bool = True,
    ) -> httpx2.Response:
        """Sign and send; ``safe`` says that doing it twice does no more than doing it once.

        Raises the gateway's own error, or GatewayUnavailable when nobody answered for ``patience_s`` seconds.
        """
        return attempt(
            lambda: self._send(method, API + path, body, headers, max_spend_ucr), patience_s=self.patience_s, safe=safe
        )

    def exchange(self, method: str, target: str, body: BaseModel | None = None) -> httpx2.Response:
        """Sign and send to any path of the gateway, once; its answer as it is. Raises GatewayUnavailable."""
        try:
            return self._send(method, target, body, None, None)
        except httpx2.TransportError as error:
            raise _unreachable(error) from error

    def _send(
        self,
        method: str,
        target: str,
        body: BaseModel | None,
        headers: Mapping[str, str] | None,
        max_spend_ucr: int | None,
    ) -> httpx2.Response:
        profile, key = self._signer()
        content = b"" if body is None else _json(body)
        signature = sign_request(
            key,
            profile.session,
            method,
            target,
            content,
            profile.audience,
            datetime.now(UTC),
            max_spend_ucr=max_spend_ucr,
        )
        signed = {**_JSON, **(headers or {}), "Authorization": f"Burst {signature}"}
        response = self._http.request(method, target, content=content, headers=signed)
        self._trust(pin.believe(response, signature, self.profile.gateway_keys, self._http))
        return response

    def _trust(self, keys: list[dict[str, str]]) -> None:
        """Go on with the gateway's new key, if it has one, also in later commands."""
        if keys != self.profile.gateway_keys:
            self.profile = replace(self.profile, gateway_keys=keys)
            if self._kept is not None and self._kept.exists():
                known_gateways.remember(self.profile.audience, keys)
                profiles.save(self.profile, self._kept)

    def _signer(self) -> tuple[Profile, OKPKey]:
        """Who signs, with which key; a principal's session is replaced before it ends."""
        if self.profile.key_file is None:
            return self.profile, self._key
        from gateway.client import principal  # noqa: PLC0415 - it is made of this module

        with self._renewing:
            profile = principal.renewed(self.profile, datetime.now(UTC))
            if profile is not self.profile:
                self.profile, self._key = profile, OKPKey.import_key(dict(profile.key))
                if self._kept is not None:
                    profiles.save(profile, self._kept)
            return self.profile, self._key

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def post_unsigned(url: str, path: str, body: BaseModel, answer: type[T], *, patience_s: float, safe: bool = True) -> T:
    """POST what needs no signature because nobody is logged in yet; ``safe`` as in ``Session.request``."""
    return _read(send_unsigned(url, path, body, patience_s=patience_s, safe=safe), answer)


def send_unsigned(url: str, path: str, body: BaseModel, *, patience_s: float, safe: bool = True) -> httpx2.Response:
    """As ``post_unsigned``, for what is not answered with JSON."""
    with connection(url) as http:

        def send() -> httpx2.Response:
            return http.post(API + path, content=_json(body), headers=_JSON)

        return attempt(send, patience_s=patience_s, safe=safe)


def demand_fingerprint(url: str, wanted: str) -> str:
    """Today's fingerprint of the gateway at ``url``. Raises BadReply when it neither is ``wanted`` nor follows it."""
    with connection(url) as http:
        try:
            return pin.demand(http, wanted)
        except httpx2.TransportError as error:
            raise _unreachable(error) from error


def profile_of(
    url: str, key: OKPKey, session: wire.Session, *, key_file: str | None = None, scopes: tuple[str, ...] = ()
) -> Profile:
    """What is kept of a session for ``key``; of a principal's also with what it logs in again.

    Raises BadReply when it is not the gateway's own.
    """
    with connection(url) as http:
        gateway_keys = pin.met(http, key, session)
    return Profile(
        url=url.rstrip("/"),
        session=session.id,
        audience=session.audience,
        user=session.user,
        expires_at=session.expires_at,
        key={name: str(key.as_dict(private=True)[name]) for name in ("kty", "crv", "x", "d")},
        key_file=key_file,
        scopes=scopes,
        gateway_keys=gateway_keys,
    )


_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/plain"}


def connection(url: str) -> httpx2.Client:
    """HTTP to a gateway."""
    # Signed paths must arrive as they were signed, so nothing may redirect them.
    return httpx2.Client(base_url=url.rstrip("/"), timeout=httpx2.Timeout(60.0, connect=5.0), follow_redirects=False)


def _read(response: httpx2.Response, answer: type[T]) -> T:
    try:
        return TypeAdapter(answer).validate_json(response.content)
    except ValidationError:
        what = f"{response.request.method} {response.request.url.path}"
        raise BurstError(f"the answer to {what} is not a gateway's", hint="check the URL: burst whoami") from None


def _json(body: BaseModel) -> bytes:
    return body.model_dump_json().encode()


def attempt(send: Callable[[], httpx2.Response], *, patience_s: float, safe: bool = True) -> httpx2.Response:
    """Send until somebody answers; a request that is not safe is repeated only if it cannot have arrived."""
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_S
    while True:
        answer = _once(send, safe=safe)
        if isinstance(answer, httpx2.Response):
            return answer
        error, again = answer
        if not again or time.monotonic() + pause > deadline:
            raise error
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _once(send: Callable[[], httpx2.Response], *, safe: bool) -> httpx2.Response | tuple[BurstError, bool]:
    """One try: its answer, or the error and whether another try can help."""
    try:
        response = send()
    except httpx2.UnsupportedProtocol:
        return BurstError("that is not a gateway's URL", hint="give one such as http://127.0.0.1:8080"), False
    except httpx2.TransportError as error:
        return _unreachable(error), safe or isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    if response.is_success:
        return response
    return error_of(response), response.status_code == httpx2.codes.SERVICE_UNAVAILABLE


def _unreachable(error: httpx2.TransportError) -> GatewayUnavailable:
    where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    why = str(error) or type(error).__name__
    return GatewayUnavailable(f"no answer from {where}: {why}", hint="see that it runs (burst up), and BURST_URL")
