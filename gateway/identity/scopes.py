"""Scopes: what a login was given of its user's rights.

Invariant: a scope only narrows; no scope gives what its user may not do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from gateway.errors import InvalidRequest


class Scope(StrEnum):
    """One part of what a user may do."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    STORAGE_READ = "storage:read"
    STORAGE_WRITE = "storage:write"
    MONEY_READ = "money:read"
    MONEY_WRITE = "money:write"
    NODES_READ = "nodes:read"
    NODES_WRITE = "nodes:write"
    PEOPLE_READ = "people:read"
    PEOPLE_WRITE = "people:write"


Scopes = frozenset[Scope]

ALL: Final[Scopes] = frozenset(Scope)
LOOKING: Final[Scopes] = frozenset(scope for scope in Scope if scope.endswith(":read"))

WORDS: Final[Mapping[Scope, str]] = {
    Scope.JOBS_READ: "see your jobs",
    Scope.JOBS_WRITE: "submit and cancel jobs, and spend from your accounts on them",
    Scope.STORAGE_READ: "download what your jobs made",
    Scope.STORAGE_WRITE: "upload inputs, publish and share outputs",
    Scope.MONEY_READ: "see your accounts, budgets and prices",
    Scope.MONEY_WRITE: "set budgets and, if you are an administrator, give credits",
    Scope.NODES_READ: "see the nodes and what can be had",
    Scope.NODES_WRITE: "log in to nodes and change them, as far as you may",
    Scope.PEOPLE_READ: "see your logins, groups and service principals",
    Scope.PEOPLE_WRITE: "end logins, and change groups and service principals, as far as you may",
}
"""What each lets a login do, for the person who approves it."""


def read_scopes(words: Iterable[str]) -> Scopes:
    """The scopes of these words; none at all means every scope. Raises InvalidRequest for one that there is not."""
    asked = list(words)
    unknown = sorted(set(asked) - set(Scope))
    if unknown:
        raise InvalidRequest(f"There is no scope {unknown[0]}.", hint=f"there are {', '.join(Scope)}", field="scopes")
    return frozenset(Scope(word) for word in asked) or ALL
