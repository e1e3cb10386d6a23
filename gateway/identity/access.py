"""Access rules: what is said of whom about a path, and what follows from all of it for one reader.

Invariant: what no rule allows is denied; a rule nearer to the path outweighs one of a folder above it; only an answer
that is yes is a right. After Acquire's access control lists: three answers for each of four rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from gateway.errors import Conflict, InvalidRequest

Answer = bool | None
"""Yes, no, or None: as the folder above has it."""

EVERYONE = "everyone"
_LONGEST_PATH = 1024


class Right(StrEnum):
    """One of the four."""

    OWNER = "owner"
    READABLE = "readable"
    WRITEABLE = "writeable"
    EXECUTABLE = "executable"


@dataclass(frozen=True)
class Rights:
    """An answer for each right."""

    owner: Answer = None
    readable: Answer = None
    writeable: Answer = None
    executable: Answer = None

    def answer(self, right: Right) -> Answer:
        """What it says of one right."""
        found: Answer = getattr(self, right)
        return found

    @property
    def settled(self) -> Rights:
        """At the top there is no folder to inherit from: what is open is no."""
        return _each(self, self, lambda one, _: one is True)


NOTHING_SAID = Rights()
OWNER = Rights(owner=True, readable=True, writeable=True, executable=True)
READER = Rights(owner=False, readable=True, writeable=False)
DENIED = Rights(owner=False, readable=False, writeable=False, executable=False)


class Combination(StrEnum):
    """How a rule is put together with what was said before it."""

    MAX = "max"
    MIN = "min"
    SUB = "sub"


def combine(how: Combination, before: Rights, rule: Rights) -> Rights:
    """Both, right by right; who says nothing changes nothing."""
    match how:
        case Combination.MAX:
            return _each(before, rule, most)
        case Combination.MIN:
            return _each(before, rule, least)
    return _each(before, rule, less)


def most(one: Answer, other: Answer) -> Answer:
    """The most permissive: a yes wins."""
    if one is None or other is None:
        return one if other is None else other
    return one or other


def least(one: Answer, other: Answer) -> Answer:
    """The least permissive: a no wins."""
    if one is None or other is None:
        return one if other is None else other
    return one and other


def less(one: Answer, taken: Answer) -> Answer:
    """The first without what the second says yes to."""
    return False if taken else one


def inherit(near: Rights, far: Rights) -> Rights:
    """What is nearer, and where it says nothing, what is further up."""
    return _each(near, far, lambda one, other: other if one is None else one)


@dataclass(frozen=True)
class Subject:
    """Whom a rule is about: ``user:NAME``, ``group:NAME`` or ``everyone`` who has logged in."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @classmethod
    def read(cls, text: str) -> Subject:
        """From its words. Raises InvalidRequest."""
        kind, _, name = text.partition(":")
        if text != EVERYONE and (kind not in {"user", "group"} or not name):
            raise InvalidRequest(f"{text[:64]!r} is nobody.", hint="user:NAME, group:NAME or everyone", field="subject")
        return cls(kind, name)


@dataclass(frozen=True)
class AccessRule:
    """What is said of ``subject`` about ``path`` below the outputs of a job; "" is all of them."""

    path: str
    subject: Subject
    rights: Rights
    combination: Combination = Combination.MAX


class People(Protocol):
    """Of a user: the name and, at this moment, the groups."""

    @property
    def name(self) -> str:
        """Whose rights are asked for."""

    @property
    def group_names(self) -> frozenset[str]:
        """What they are a member of now."""


def rights_of(user: People, rules: Iterable[AccessRule], submitter: str, path: str) -> Rights:
    """What ``user`` may with ``path``, settled: its own rules, then those of each folder above it, up to the job."""
    found, kept = NOTHING_SAID, tuple(rules)
    known = with_submitter(kept, submitter)
    for level in _levels(path):
        found = inherit(found, _said(user, (rule for rule in known if rule.path == level)))
    return found.settled


def with_submitter(rules: tuple[AccessRule, ...], submitter: str) -> tuple[AccessRule, ...]:
    """The rules, with the one that everybody's outputs begin with: who submitted the job owns them.

    A rule of the submitter's own about the whole job stands in its place.
    """
    theirs = Subject("user", submitter)
    if any(rule.path == "" and rule.subject == theirs for rule in rules):
        return rules
    return AccessRule("", theirs, OWNER), *rules


def keep_an_owner(rules: Iterable[AccessRule], submitter: str) -> None:
    """Raise Conflict unless somebody still owns the whole job by name: a group may be empty tomorrow."""
    known = with_submitter(tuple(rules), submitter)
    owners = [rule for rule in known if rule.path == "" and rule.subject.kind == "user" and rule.rights.owner]
    if not owners:
        raise Conflict("These outputs would be without an owner.", hint="make somebody else their owner first")


def clean_path(path: str) -> str:
    """A path below the outputs without what says nothing: "a//b/" is "a/b". Raises InvalidRequest for one above."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts or path.startswith("/") or "\0" in path or len(path) > _LONGEST_PATH:
        raise InvalidRequest(
            f"{path[:64]!r} is no path below a job's outputs.", hint="as burst fetch shows it", field="path"
        )
    return "/".join(parts)


def is_below(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or something in it; everything is below ""."""
    return folder in {"", path} or path.startswith(f"{folder}/")


def cut(rights: Rights, at: Rights) -> Rights:
    """No more of ``rights`` than ``at`` has: what a link gives of what its maker has."""
    return combine(Combination.MIN, rights.settled, at.settled)


def _said(user: People, rules: Iterable[AccessRule]) -> Rights:
    """Of one level: first what is said of everyone, then of their groups, last of themselves."""
    order = {EVERYONE: 0, "group": 1, "user": 2}
    mine = sorted((rule for rule in rules if _is_about(user, rule)), key=lambda rule: order[rule.subject.kind])
    found = NOTHING_SAID
    for rule in mine:
        found = combine(rule.combination, found, rule.rights)
    return found


def _is_about(user: People, rule: AccessRule) -> bool:
    match rule.subject.kind:
        case "user":
            return rule.subject.name == user.name
        case "group":
            return rule.subject.name in user.group_names
    return True


def _levels(path: str) -> Iterator[str]:
    """The path, each folder above it, and at last the job itself."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _each(one: Rights, other: Rights, of: AnswerOf) -> Rights:
    answers = {right.value: of(one.answer(right), other.answer(right)) for right in Right}
    return replace(one, **answers)


class AnswerOf(Protocol):
    """Makes one answer of two."""

    def __call__(self, one: Answer, other: Answer, /) -> Answer:
        """The answer."""
