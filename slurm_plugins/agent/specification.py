"""Specification: what the gateway signed for this node to run, held against what it was told and what Slurm holds.

Invariant: a job is refused unless the gateway vouched for this very answer to this very question, and for the script
that slurmctld is about to launch.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from slurm_plugins.agent.filesystem import FileTrouble
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.scontrol import scontrol
from slurm_plugins.agent.web import Json, patiently

SPECIFICATION = "burst-job+jws"
SKEW_S = 60


class Tampered(Exception):
    """What is to run here is not what the gateway vouched for."""


def check(node: Node, job_id: int, reply: Json, nonce: str) -> None:
    """Raise Tampered unless the gateway signed ``reply`` as its answer to ``nonce``, and the script that Slurm has."""
    plan = {name: value for name, value in reply.items() if name != "specification"}
    said = vouched(node, str(reply.get("specification") or ""))
    if not _same(said["nonce"], nonce):
        raise Tampered("the job's specification answers another question")
    if not _same(said["plan_sha256"], plan_digest(plan)):
        raise Tampered("what the node was told is not what was signed")
    if said["script_sha256"] is not None:
        script = patiently(lambda: script_of(node, job_id), node.patience_s)
        # Some releases of scontrol end what they write with a line feed of their own.
        digests = [hashlib.sha256(text).hexdigest() for text in (script, script.removesuffix(b"\n"))]
        if not any(_same(said["script_sha256"], digest) for digest in digests):
            raise Tampered("the script that Slurm has is not the one that was submitted")


def vouched(node: Node, token: str) -> Json:
    """The claims of a specification that is for this node now (RFC 7515, HS256). Raises Tampered."""
    try:
        signed, _, signature = token.rpartition(".")
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        key, proof = _decoded(node.identity["voucher_key"]), _decoded(signature)
        good = hmac.compare_digest(hmac.digest(key, signed.encode(), "sha256"), proof)
        fits = (header["alg"], header["typ"], claims["aud"]) == ("HS256", SPECIFICATION, node.kid)
        now = node.clock.now()
        if good and fits and claims["iat"] - SKEW_S <= now < claims["exp"] + SKEW_S:
            return dict(claims)
    except (ValueError, KeyError, TypeError) as error:
        raise Tampered("the gateway did not sign what is to run here") from error
    raise Tampered("the gateway did not sign what is to run here, or not for this node and hour")


def plan_digest(plan: Json) -> str:
    """SHA-256 of the plan as the gateway writes it for this: sorted, without blanks."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def script_of(node: Node, job_id: int) -> bytes:
    """The batch script that slurmctld has for a job. Raises Unavailable when it does not say."""
    try:
        return scontrol(node, "write", "batch_script", str(job_id), "-")
    except FileTrouble as lack:
        raise Tampered(f"the job's script cannot be checked: {lack}") from lack


def _same(one: object, other: str) -> bool:
    return hmac.compare_digest(str(one).encode(), other.encode())


def _decoded(part: str) -> bytes:
    # The padding that base64url leaves out; Python ignores what is too much of it.
    return base64.urlsafe_b64decode(part + "==")
