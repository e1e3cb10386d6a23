"""A child's credential: whatever it permits, its parent permits, however the wish for it was spelled."""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidScope, InvalidTarget, TokenError
from gateway.identity.credentials import CANCEL, CREATE, READ, Credentials, JobGrant
from gateway.identity.delegation import DEEPEST, Wish, narrow, within
from gateway.identity.key_ring import KeyRing

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
END = datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC)
SERVICES = ("burst", "http://gateway")
OWN = "/jobs/ab/0"
PARENT = JobGrant(
    "root", "ada", "ab", "0", "small-1", (f"{CREATE}:{OWN}/", CANCEL, f"{READ}:{OWN}/", f"{READ}:/inputs/ada/12"),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), END,
)  # fmt: skip

PARTS = [
    "jobs", "ab", "0", "x", "inputs", "ada", "12", "..", ".", "", " ", "%2e%2e", "%2F", "X", "ä", "e\u0301", "*", "\\",
]  # fmt: skip
paths = st.lists(st.sampled_from(PARTS), max_size=7).map(lambda parts: "/" + "/".join(parts))
anything = st.text(max_size=20)
names = st.sampled_from([READ, CREATE, CANCEL, "storage.modify", "storage", "STORAGE.READ", "", "compute.create"])
scopes = st.one_of(
    st.builds("{}:{}".format, names, paths),
    st.builds("{}:{}{}".format, names, st.sampled_from([OWN, f"{OWN}/", "/inputs/ada/12", "/"]), paths),
    st.builds("{}:{}".format, names, anything),
    names,
    st.sampled_from(PARENT.scopes),
)


@given(st.lists(scopes, max_size=4), st.one_of(st.none(), st.integers(1, 10**9)), names, st.one_of(paths, anything))
def test_a_child_permits_nothing_that_its_parent_does_not(wished, seconds, capability, path):
    """For any scopes, lifetime and path: refused, or within the parent's; also once the path is decoded."""
    try:
        child = narrow(PARENT, Wish(tuple(wished), (), seconds), SERVICES, NOW)
    except TokenError:
        return
    tried = {path, *(scope.partition(":")[2] for scope in wished), *(f"{s.partition(':')[2]}/x" for s in wished)}
    for each in tried:
        for wanted in {capability, READ, CREATE}:
            assert not child.permits(wanted, each) or PARENT.permits(wanted, each)
            assert not child.permits(wanted, each) or not _leads_out(each)
    assert not child.permits(capability) or PARENT.permits(capability)
    assert PARENT.issued_at <= child.issued_at <= child.expires_at <= PARENT.expires_at
    assert (child.user, child.job, child.attempt, child.node) == ("ada", "ab", "0", "small-1")


def _leads_out(path):
    """As one would read it who decodes a path before he resolves it."""
    resolved = posixpath.normpath(unquote(path))
    return not any(resolved == top or resolved.startswith(f"{top}/") for top in (OWN, "/inputs/ada/12"))


good = st.builds(
    "{}:{}{}".format,
    st.sampled_from([READ, CREATE]),
    st.just(OWN),
    st.lists(st.sampled_from(["x", "0", "1"]), max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts)),
)


@given(st.lists(good, min_size=1, max_size=3), st.lists(good | scopes, min_size=1, max_size=2), names, good | scopes)
def test_a_grandchild_is_within_a_child(first, second, capability, scope):
    """Narrowing twice is no way round."""
    child = narrow(PARENT, Wish(tuple(first)), SERVICES, NOW)
    try:
        grandchild = narrow(child, Wish(tuple(second)), SERVICES, NOW)
    except TokenError:
        return
    path = scope.partition(":")[2]
    for wanted in {capability, READ, CREATE}:
        assert not grandchild.permits(wanted, path) or child.permits(wanted, path)
    assert grandchild.chain == ("root", child.jti)


@pytest.mark.parametrize(
    ("scope", "good"),
    [
        (f"{CREATE}:{OWN}/objects", True),
        (f"{CREATE}:{OWN}/objects/", True),
        (f"{READ}:{OWN}", True),
        (f"{READ}:/inputs/ada/12", True),
        (CANCEL, True),
        (f"{READ}:/jobs/ab", False),
        (f"{READ}:/jobs/ab/1", False),
        (f"{READ}:{OWN}1", False),
        (f"{READ}:{OWN}/../1", False),
        (f"{READ}:{OWN}/%2e%2e/1", False),
        (f"{READ}:{OWN}/%2E%2E%2F1", False),
        (f"{READ}:{OWN}//x", False),
        (f"{READ}:/JOBS/ab/0", False),
        (f"{READ}:{OWN}/ä", False),
        (f"{READ}:{OWN}/a b", False),
        (f"{READ}:{OWN}/*", False),
        (f"{READ}:jobs/ab/0/x", False),
        (f"{READ}:", False),
        (READ, False),
        (f"{CREATE}:/inputs/ada/12", False),
        (f"storage.modify:{OWN}/x", False),
        (f"{CANCEL}:/x", False),
        ("", False),
    ],
)
def test_a_scope_is_below_one_of_the_parents_or_refused(scope, good):
    """Traversal, escapes, doubled slashes, case, letters that look alike: one reading only."""
    assert any(within(scope, other) for other in PARENT.scopes) is good
    if good:
        assert narrow(PARENT, Wish((scope,)), SERVICES, NOW).scopes == (scope,)
    else:
        with pytest.raises(InvalidScope):
            narrow(PARENT, Wish((scope,)), SERVICES, NOW)


def test_a_child_is_for_its_parents_service():
    """By either of its names; another one is an invalid_target."""
    assert narrow(PARENT, Wish(targets=SERVICES), SERVICES, NOW).scopes == PARENT.scopes
    for other in ("ANY", "https://wlcg.cern.ch/jwt/v1/any", "burst/other", "http://gateway.example"):
        with pytest.raises(InvalidTarget):
            narrow(PARENT, Wish(targets=("burst", other)), SERVICES, NOW)


def test_a_child_ends_with_its_parent_or_sooner():
    """A longer time is cut, a shorter one kept."""
    ends = [narrow(PARENT, Wish(seconds=seconds), SERVICES, NOW).expires_at for seconds in (60, 7199, 7201, 10**9)]
    assert ends == [NOW.replace(microsecond=0) + timedelta(seconds=60), END - timedelta(seconds=1), END, END]


def test_the_chain_of_actors_is_in_the_token_and_has_an_end(tmp_path):
    """RFC 8693 section 4.1: the outermost actor is the nearest; after four the credential can be narrowed no more."""
    credentials = Credentials(KeyRing.open(tmp_path / "keys.json", NOW, "ES256"), "http://gateway", "burst")
    grant = PARENT
    for depth in range(1, DEEPEST + 1):
        grant = narrow(grant, Wish((f"{READ}:{OWN}",)), SERVICES, NOW)
        token = credentials.mint_child(grant, NOW)
        assert credentials.verify(token, NOW, lambda _: False) == grant
        assert len(grant.chain) == depth
    act = json.loads(credentials.ring.verify(token, "at+jwt"))["act"]
    assert act["sub"] == f"credential:{grant.chain[-1]}"
    assert act["act"]["act"]["act"] == {"sub": "credential:root"}
    with pytest.raises(TokenError):
        narrow(grant, Wish(), SERVICES, NOW)


def test_w17_a_capability_for_one_file_opens_no_other():
    """The naive check compares the drive only, so one file's capability opens all files; ours compares the path."""

    def naive(grant, capability, path):
        return any(s.startswith(f"{capability}:") and s.split("/")[1] == path.split("/")[1] for s in grant.scopes)

    one = narrow(PARENT, Wish((f"{READ}:{OWN}/objects/mine.txt",)), SERVICES, NOW)
    for other in (f"{OWN}/objects/other.txt", f"{OWN}/objects/mine.txt2", f"{OWN}/objects", "/jobs/cd/0/objects/x"):
        assert naive(one, READ, other)
        assert not one.permits(READ, other)
    assert one.permits(READ, f"{OWN}/objects/mine.txt")
    assert not replace(one, scopes=()).permits(READ, f"{OWN}/objects/mine.txt")
