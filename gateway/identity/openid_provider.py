"""OpenIdProvider: what the gateway itself asks an institution: its metadata, its keys, and a code's ID token.

Invariant: it talks to the issuer of the settings and to the endpoints that this issuer names, encrypted or on this
computer, follows no redirect and reads no more than a megabyte.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx2

from gateway.errors import InstitutionUnavailable, Refused
from gateway.identity.institutions import Institution

DISCOVERY: Final = "/.well-known/openid-configuration"
_KEPT_S: Final = 3600.0
_TIMEOUT_S: Final = 20.0
_MOST_BYTES: Final = 1 << 20
_HERE: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Metadata:
    """What is used of a provider's metadata (OpenID Connect Discovery section 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    """Its answers carry ``iss`` (RFC 9207), so one without it is not its own."""
    secret_in_form: bool


class OpenIdProvider:
    """One institution's endpoints; metadata and keys are kept for an hour."""

    def __init__(self, institution: Institution, clock: Callable[[], float] = time.monotonic) -> None:
        self.institution = institution
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def metadata(self) -> Metadata:
        """Where its endpoints are. Raises InstitutionUnavailable, also for metadata that is not its own."""
        facts = self._document(self.institution.issuer.rstrip("/") + DISCOVERY)
        if facts.get("issuer") != self.institution.issuer:
            raise self._silent("its metadata names another issuer")
        methods = facts.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Metadata(
            self._endpoint(facts, "authorization_endpoint"),
            self._endpoint(facts, "token_endpoint"),
            self._endpoint(facts, "jwks_uri"),
            facts.get("authorization_response_iss_parameter_supported") is True,
            "client_secret_basic" not in methods,
        )

    def keys(self, *, again: bool = False) -> dict[str, Any]:
        """Its public keys, a JWK set; ``again``: not those that are at hand. Raises InstitutionUnavailable."""
        return self._document(self.metadata().jwks_uri, again=again)

    def id_token(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Trade a code for its ID token. Raises Refused for a code that is not good (any more)."""
        metadata, institution = self.metadata(), self.institution
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if metadata.secret_in_form:
            form |= {"client_id": institution.client_id, "client_secret": institution.secret()}
        else:  # RFC 6749 section 2.3.1: encoded twice
            auth = (quote(institution.client_id, safe=""), quote(institution.secret(), safe=""))
        status, facts = self._asked("POST", metadata.token_endpoint, data=form, auth=auth)
        if status != httpx2.codes.OK:
            if facts.get("error") == "invalid_client":
                raise self._silent("it does not know the gateway's client id and secret")
            hint = "begin the sign-in again"
            raise Refused(f"{institution.title} does not accept this sign-in's code (any more).", hint=hint)
        token = facts.get("id_token")
        if not isinstance(token, str):
            raise self._silent("it gave no ID token")
        return token

    def _document(self, url: str, *, again: bool = False) -> dict[str, Any]:
        with self._lock:
            kept = self._kept.get(url)
        if kept is not None and not again and self._clock() - kept[0] < _KEPT_S:
            return kept[1]
        status, facts = self._asked("GET", url)
        if status != httpx2.codes.OK:
            raise self._silent(f"{urlsplit(url).path} answers {status}")
        with self._lock:
            self._kept[url] = self._clock(), facts
        return facts

    def _asked(self, method: str, url: str, **how: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Accept": "application/json"}
        try:
            with (
                httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as http,
                http.stream(method, url, headers=headers, **how) as answer,
            ):
                body = b""
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise self._silent("its answer is too long")
                facts = json.loads(body)
        except httpx2.HTTPError as error:
            raise self._silent("it does not answer") from error
        except (ValueError, RecursionError) as error:
            raise self._silent("its answer cannot be read") from error
        if not isinstance(facts, dict):
            raise self._silent("its answer cannot be read")
        return answer.status_code, facts

    def _endpoint(self, facts: dict[str, Any], name: str) -> str:
        url = str(facts.get(name, ""))
        if not private(url):
            raise self._silent(f"its {name} is not https")
        return url

    def _silent(self, why: str) -> InstitutionUnavailable:
        hint = "try again later, or sign in with your password"
        return InstitutionUnavailable(f"{self.institution.title} cannot sign in anybody now: {why}.", hint=hint)


def private(url: str) -> bool:
    """Whether what is sent to ``url`` is encrypted or stays on this computer."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE))
