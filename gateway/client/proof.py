"""Proof: verify, without any gateway, who ordered a job, when, at what price and under which limits.

Invariant: the first thing that does not hold is told and nothing after it is looked at; nothing is taken from the proof
before a key that was trusted beforehand vouches for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gateway.accounting.receipt_form import RECEIPT_TYPE, canonical
from gateway.client.pin import check_seal
from gateway.errors import BadProof, BadSignature, InvalidRequest, SignatureExpired
from gateway.identity import jws
from gateway.identity.certificates import Certificate, read_certificate
from gateway.identity.evidence import Evidence, verify_evidence
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import public_jwk, read_public, thumbprint
from gateway.identity.signature import Claims
from gateway.identity.succession import fingerprint, lineage
from gateway.wire.proofs import SEAL_TYPE, Proof

_AGAIN = "get it again: burst receipt JOB --evidence FILE"


@dataclass(frozen=True)
class Verified:
    """What a proof proves. Money in micro-credits, times in UTC; ``limit_ucr`` None: none was signed."""

    ordered_by: str
    by_site: bool
    """A site's Slurm vouched for the order, and no user signed it."""
    certified_until: datetime | None
    method: str
    path: str
    body: bytes
    ordered_at: datetime
    limit_ucr: int | None
    audience: str
    job: int | None
    receipt: Mapping[str, Any]
    key: str
    """Fingerprint of the trusted key that it hangs from."""


def verify_proof(content: bytes, trusted: Sequence[str]) -> Verified:
    """What the proof in ``content`` proves, ``trusted`` being fingerprints. Raises BadProof with what does not hold."""
    document, proof = _read(content)
    anchor = _anchor(document, proof, trusted)
    jwks = {"keys": proof.keys}
    _check_receipt(proof, jwks)
    claims = _check_request(proof)
    certificate = _check_certificate(proof, jwks)
    _check_limits(proof, claims)
    return Verified(
        ordered_by=certificate.subject,
        by_site=certificate.site,
        certified_until=certificate.not_after,
        method=proof.evidence.method,
        path=proof.evidence.path,
        body=_evidence(proof).body,
        ordered_at=claims.issued_at,
        limit_ucr=claims.max_spend_ucr,
        audience=proof.audience,
        job=proof.job,
        receipt=proof.receipt,
        key=anchor,
    )


def _read(content: bytes) -> tuple[dict[str, Any], Proof]:
    try:
        document = json.loads(content)
        proof = Proof.model_validate(document)
        for key in proof.keys:
            if thumbprint(read_public(key)) != key.get("kid"):
                raise _broken("One of the gateway's keys has another key's name")
    except (ValidationError, InvalidRequest, ValueError, RecursionError):
        raise BadProof("The file is no proof.", hint=_AGAIN) from None
    if not proof.keys or set(document) != set(Proof.model_fields):
        raise BadProof("The file is no whole proof.", hint=_AGAIN)
    return document, proof


def _anchor(document: Mapping[str, Any], proof: Proof, trusted: Sequence[str]) -> str:
    """The trusted fingerprint that leads to the newest key of the proof, which must have sealed all of it."""
    newest = thumbprint(read_public(proof.keys[0]))
    for key in proof.keys:
        line = [thumbprint(read_public(each)) for each in lineage(key, proof.successions)]
        if fingerprint(key) in trusted and newest in line:
            break
    else:
        theirs = fingerprint(proof.keys[0])
        raise BadProof(
            f"Nobody here knows the gateway's key {theirs}.",
            hint=f"ask the gateway's operator whether it is theirs; if so, add --fingerprint {theirs}",
        )
    try:
        check_seal(document, proof.keys[0], SEAL_TYPE)
    except BadSignature as error:
        raise _broken("The gateway's seal does not hold", error) from error
    return fingerprint(key)


def _check_receipt(proof: Proof, jwks: Mapping[str, Any]) -> None:
    try:
        signed = verify_with(jwks, proof.signature, RECEIPT_TYPE)
    except BadSignature as error:
        raise _broken("The receipt's signature does not hold", error) from error
    if signed != canonical(proof.receipt):
        raise _broken("The receipt is not the one that was signed")


def _check_request(proof: Proof) -> Claims:
    evidence = _evidence(proof)
    if hashlib.sha256(evidence.jws.encode()).hexdigest() != evidence.digest:
        raise _broken("The evidence is called by another request's digest")
    if evidence.digest != proof.receipt.get("authorisation"):
        raise _broken("The receipt is for another request than the one in evidence")
    try:
        return verify_evidence(evidence, proof.audience)
    except (BadSignature, SignatureExpired, InvalidRequest) as error:
        raise _broken("The user's signature does not hold", error) from error


def _check_certificate(proof: Proof, jwks: Mapping[str, Any]) -> Certificate:
    certificate = read_certificate(proof.certificate, jwks, proof.audience)
    evidence = proof.evidence
    if certificate.kid != evidence.kid or jws.kid_of(evidence.jws) != evidence.kid:
        raise _broken("The certificate is of another session than the one that signed")
    if dict(certificate.key) != public_jwk(read_public(evidence.public_key)):
        raise _broken("The certificate is for another key than the one that signed")
    if evidence.at < certificate.not_before or (certificate.not_after and evidence.at >= certificate.not_after):
        raise _broken("The request was signed outside the time of its certificate")
    return certificate


def _check_limits(proof: Proof, claims: Claims) -> None:
    receipt = proof.receipt
    if sum(line["amount_ucr"] for line in receipt["lines"]) != receipt["charged_ucr"]:
        raise _broken("The receipt's lines do not sum to what was charged")
    if not receipt["charged_ucr"] <= receipt["held_ucr"]:
        raise _broken("More was charged than was held")
    if claims.max_spend_ucr is not None and receipt["held_ucr"] > claims.max_spend_ucr:
        raise _broken("More was held than the user had allowed")


def _evidence(proof: Proof) -> Evidence:
    try:
        body = base64.b64decode(proof.evidence.body, validate=True)
    except ValueError:
        raise _broken("The request's body cannot be read") from None
    return Evidence(**{**vars(proof.evidence), "body": body})


def _broken(what: str, why: Exception | None = None) -> BadProof:
    reason = "" if why is None else f": {getattr(why, 'detail', why)}"
    return BadProof(f"{what}{reason}".rstrip(".") + ".", hint="this proof proves nothing; " + _AGAIN)
