"""Principals: as whom a certificate opens a node, and what the node's sshd must know for that (sshd_config(5)).

Invariant: a principal names one account of one generation of one node, so a certificate opens no other machine, not
even the next one of the same name; it is nobody's Unix name, so it opens no host that takes names as principals.
"""

from __future__ import annotations

ROOT = "root"
OWNER = "burst-job"
"""The account of a running job's owner; the node's agent makes it."""

ACCOUNTS = (ROOT, OWNER)


def principal(node: str, generation: int, account: str) -> str:
    """What certificate and node must both say: "node:NAME:GENERATION:ACCOUNT"."""
    return f"node:{node}:{generation}:{account}"
