"""What signatures cost: verifying a request, and signing and checking its answer, without database and network."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from gateway.identity import jws
from gateway.identity.keys import make_key, public_jwk, read_public
from gateway.identity.replies import check_reply, sign_reply
from gateway.identity.signature import sign_request, verify_request

ROUNDS = 2000
BODY = b'{"script": "' + b"x" * 2000 + b'"}'
REQUEST = {"method": "POST", "path": "/api/v1/jobs", "body": BODY, "audience": "burst/bench/0123456789abcdef"}


@dataclass(frozen=True)
class Signatures:
    """Medians in microseconds."""

    verify_us: float
    curve_us: float
    """The Ed25519 verification alone, in libsodium."""
    openssl_us: float
    """The same in OpenSSL."""
    sign_reply_us: float
    check_reply_us: float
    share: float | None = None
    """Of one submission inside the gateway: the request's verification and the answer's signature."""


class _Signer:
    def __init__(self, key: Any) -> None:
        self.key = key

    def sign(self, payload: bytes, typ: str, _now: datetime) -> str:
        return jws.sign(payload, self.key, kid="k" * 43, typ=typ)


def measure(submission_s: float | None = None) -> Signatures:
    """Each of them ``ROUNDS`` times, every token another; ``submission_s`` is what one submission takes."""
    key, signer, now = make_key(), _Signer(make_key()), datetime.now(UTC)
    jwk, theirs = public_jwk(key), read_public(public_jwk(signer.key))
    tokens = [sign_request(key, "s" * 22, *REQUEST.values(), now) for _ in range(ROUNDS)]
    replies = [sign_reply(signer, token, 201, BODY, now) for token in tokens]
    public = read_public(jwk).public_key
    raw = [
        (token.rpartition(".")[0].encode(), base64.urlsafe_b64decode(token.rpartition(".")[2] + "=="))
        for token in tokens
    ]
    verify = _us(lambda token: verify_request(token, read_public(jwk), **REQUEST, now=now), tokens)
    curve = _us(lambda pair: jws.libsodium(public, pair[1], pair[0]), raw)
    openssl = _us(lambda pair: jws.openssl(public, pair[1], pair[0]), raw)
    sign = _us(lambda token: sign_reply(signer, token, 201, BODY, now), tokens)
    check = _us(lambda pair: check_reply(pair[0], theirs, pair[1], 201, BODY), list(zip(replies, tokens, strict=True)))
    share = None if submission_s is None else (verify + sign) / 1e6 / submission_s
    return Signatures(verify, curve, openssl, sign, check, share)


def _us(act: Callable[[Any], object], values: list[Any]) -> float:
    spent = []
    for value in values:
        begun = time.perf_counter()
        act(value)
        spent.append(time.perf_counter() - begun)
    return median(spent) * 1e6


if __name__ == "__main__":
    print(measure())
