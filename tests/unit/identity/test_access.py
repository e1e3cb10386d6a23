"""Access rules: each combination by its whole table, inheritance, groups, and that somebody stays the owner."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Conflict, InvalidRequest
from gateway.identity.access import (
    DENIED,
    OWNER,
    READER,
    AccessRule,
    Combination,
    Right,
    Rights,
    Subject,
    clean_path,
    combine,
    cut,
    is_below,
    keep_an_owner,
    rights_of,
)

YES, NO, INHERIT = True, False, None

TABLE = {
    #                    max      min      sub
    (YES, YES): (YES, YES, NO),
    (YES, NO): (YES, NO, YES),
    (YES, INHERIT): (YES, YES, YES),
    (NO, YES): (YES, NO, NO),
    (NO, NO): (NO, NO, NO),
    (NO, INHERIT): (NO, NO, NO),
    (INHERIT, YES): (YES, YES, NO),
    (INHERIT, NO): (NO, NO, INHERIT),
    (INHERIT, INHERIT): (INHERIT, INHERIT, INHERIT),
}


@dataclass(frozen=True)
class Somebody:
    """A user with groups."""

    name: str
    group_names: frozenset[str] = frozenset()


ADA, BOB = Somebody("ada"), Somebody("bob", frozenset({"lab"}))


def rule(path, subject, rights, how=Combination.MAX):
    """A rule in a line."""
    return AccessRule(path, Subject.read(subject), rights, how)


@pytest.mark.parametrize(("right", "how"), list(product(Right, Combination)))
def test_f15_each_right_combines_by_the_whole_truth_table(right, how):
    """Nine pairs of answers, three combinations, four rights: and no right leaks into another."""
    assert set(TABLE) == set(product((YES, NO, INHERIT), repeat=2))
    for (before, said), results in TABLE.items():
        found = combine(how, Rights(**{right: before}), Rights(**{right: said}))

        assert found == Rights(**{right: results[list(Combination).index(how)]}), (before, said)


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize(("near", "far"), list(product((YES, NO, INHERIT), repeat=2)))
def test_f15_a_file_inherits_from_its_folder_and_the_folder_from_the_job(right, near, far):
    """What the nearer level leaves open the next one answers; what all leave open is no."""
    rules = (rule("a/b", "user:bob", Rights(**{right: near})), rule("", "user:bob", Rights(**{right: far})))

    for path in ("a/b", "a/b/c"):
        assert rights_of(BOB, rules, "ada", path).answer(right) is bool(far if near is INHERIT else near)
    assert rights_of(BOB, rules, "ada", "a").answer(right) is bool(far)
    assert rights_of(BOB, rules, "ada", "a/bc").answer(right) is bool(far)


def test_f15_who_submitted_owns_and_nobody_else_has_anything():
    """Without any rule there is the submitter's own."""
    assert rights_of(ADA, (), "ada", "x/y") == OWNER
    assert rights_of(BOB, (), "ada", "x/y") == DENIED


def test_f15_a_user_is_refused_what_their_group_may():
    """Least: a no about the user wins over the group's yes; for the rest of the group nothing changes."""
    rules = (rule("", "user:bob", DENIED, Combination.MIN), rule("", "group:lab", READER))

    assert rights_of(BOB, rules, "ada", "").readable is False
    assert rights_of(Somebody("cyd", frozenset({"lab"})), rules, "ada", "").readable is True


def test_f15_everyone_may_but_for_a_group():
    """Sub: what the group's rule names is taken from what everyone has."""
    rules = (rule("", "group:lab", Rights(readable=True), Combination.SUB), rule("", "everyone", READER))

    assert rights_of(BOB, rules, "ada", "f").readable is False
    assert rights_of(Somebody("eve"), rules, "ada", "f").readable is True


def test_f16_rights_of_a_group_are_those_of_its_members_of_this_moment():
    """The same rules, another membership."""
    rules = (rule("", "group:lab", READER),)

    assert rights_of(BOB, rules, "ada", "").readable is True
    assert rights_of(Somebody("bob"), rules, "ada", "").readable is False


def test_f17_the_last_owner_cannot_be_removed():
    """Neither by a rule that says no, nor by relying on a group, which may be empty tomorrow."""
    gone = rule("", "user:ada", READER)
    keep_an_owner((), "ada")
    keep_an_owner((gone, rule("", "user:bob", OWNER)), "ada")
    for others in ((), (rule("", "group:lab", OWNER),), (rule("part", "user:bob", OWNER),)):
        with pytest.raises(Conflict):
            keep_an_owner((gone, *others), "ada")


def test_f18_a_link_gives_no_more_than_its_maker_has():
    """The lesser of both, and what either leaves open is no."""
    assert cut(READER, OWNER).readable is True
    assert cut(READER, DENIED).readable is False
    assert cut(Rights(), OWNER) == DENIED


@pytest.mark.parametrize(("path", "folder"), [("a/b", "a"), ("a", "a"), ("a/b/c", "a/b"), ("x", "")])
def test_what_is_below_a_folder(path, folder):
    """The folder itself and all in it."""
    assert is_below(path, folder)


@pytest.mark.parametrize(("path", "folder"), [("ab", "a"), ("a", "a/b"), ("b/a", "a")])
def test_what_is_beside_a_folder(path, folder):
    """A longer name is no folder's content."""
    assert not is_below(path, folder)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "a\0b", "x" * 2000])
def test_a_path_that_leaves_the_outputs_is_refused(path):
    """Before any rule is kept about it."""
    with pytest.raises(InvalidRequest):
        clean_path(path)


@given(st.text(alphabet="ab./", max_size=12))
def test_a_clean_path_stays_clean(path):
    """Cleaning twice is cleaning once, and it is below the outputs."""
    try:
        cleaned = clean_path(path)
    except InvalidRequest:
        return
    assert clean_path(cleaned) == cleaned
    assert not cleaned.startswith("/")
    assert ".." not in cleaned.split("/")


@pytest.mark.parametrize("text", ["", "bob", "user:", "group:", "everyone:x", "root:bob"])
def test_a_subject_that_is_nobody_is_refused(text):
    """A rule is about somebody."""
    with pytest.raises(InvalidRequest):
        Subject.read(text)
