"""Scopes as the commands say them.

Invariant: a login that may do everything is said in one word, every other one scope by scope.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.identity.scopes import ALL


def said(scopes: Collection[str]) -> str:
    """Such as "jobs:read storage:read", or "everything"."""
    return "everything" if set(scopes) == ALL else " ".join(sorted(scopes))
