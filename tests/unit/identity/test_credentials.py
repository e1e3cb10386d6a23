"""A job's credential reaches its own attempt's data and nothing beside it."""

from __future__ import annotations

import json
import posixpath
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadSignature, InvalidRequest, Refused, SignatureExpired
from gateway.identity import jws
from gateway.identity.credentials import CANCEL, CREATE, READ, Credentials, JobGrant
from gateway.identity.key_ring import KeyRing
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
END = NOW + timedelta(hours=2)
REQUEST = JobRequest("sim", "#!/bin/sh\n", (), {}, Resources(), BurstOptions())
JOB = Job("ab" * 16, 12, "ada", "ada", REQUEST, "small", Stage.QUEUED, "RUNNING", "", 1, "a" * 64, NOW)
ATTEMPT = Attempt(JOB.id, NO_TASK, 0, 12, "RUNNING")


@pytest.fixture
def credentials(tmp_path):
    return Credentials(KeyRing.open(tmp_path / "keys.json", NOW), "http://gateway", "burst")


def never(_grant: JobGrant) -> bool:
    return False


def grant(*scopes: str) -> JobGrant:
    return JobGrant("j", "ada", JOB.id, "0", "small-1", scopes, NOW, END)


def test_a_credential_is_a_wlcg_token(credentials):
    """The claims that the profile asks for, and the job and attempt that it is for."""
    token = credentials.mint(JOB, ATTEMPT, "small-1", NOW, END)

    claims = json.loads(credentials.ring.verify(token, "at+jwt"))
    assert claims | {"jti": "", "scope": ""} == {
        "wlcg.ver": "1.0",
        "iss": "http://gateway",
        "sub": "ada",
        "aud": "burst",
        "iat": 1767323045,
        "nbf": 1767323045,
        "exp": 1767323045 + 7200,
        "jti": "",
        "scope": "",
        "burst_job": JOB.id,
        "burst_attempt": "0",
        "burst_node": "small-1",
    }
    prefix = f"/jobs/{JOB.id}/0/"
    assert set(claims["scope"].split()) == {f"storage.create:{prefix}", f"storage.read:{prefix}", "compute.cancel"}
    assert jws.header_of(token)["alg"] == "Ed25519"


def test_it_allows_its_own_attempt_and_nothing_beside_it(credentials):
    """Create and read below its prefix, read its inputs, cancel itself."""
    token = credentials.mint(JOB, ATTEMPT, "small-1", NOW, END, reads=("/uploads/abc",))
    allowed = credentials.verify(token, NOW, never)

    assert allowed.permits(CREATE, f"/jobs/{JOB.id}/0/slurm-12.out")
    assert allowed.permits(READ, "/uploads/abc")
    assert allowed.permits(CANCEL)
    for capability, path in (
        (CREATE, f"/jobs/{JOB.id}/1/x"),
        (CREATE, f"/jobs/{JOB.id}/0-1/x"),
        (CREATE, "/uploads/abc"),
        (READ, "/uploads/abcd"),
        ("storage.modify", f"/jobs/{JOB.id}/0/x"),
        ("compute.create", None),
        (CANCEL, "/x"),
    ):
        assert not allowed.permits(capability, path)
        with pytest.raises(Refused):
            allowed.demand(capability, path)


@pytest.mark.parametrize(
    ("scope", "path", "inside"),
    [
        ("/jobs/job1", "/jobs/job1", True),
        ("/jobs/job1", "/jobs/job1/", True),
        ("/jobs/job1", "/jobs/job1/out", True),
        ("/jobs/job1/", "/jobs/job1/a/b", True),
        ("/", "/anything", True),
        ("/jobs/job1", "/jobs/job10", False),
        ("/jobs/job1/", "/jobs/job10/out", False),
        ("/jobs/job10", "/jobs/job1", False),
        ("/jobs/job1", "/jobs", False),
        ("/jobs/job1", "/jobs/job2/../job1/x", False),
        ("/jobs/job1", "/jobs/job1/../job2", False),
        ("/jobs/job1", "/jobs/job1/./x", False),
        ("/jobs/job1", "/jobs//job1/x", False),
        ("/jobs/job1", "//jobs/job1/x", False),
        ("/jobs/job1", "jobs/job1/x", False),
        ("/jobs/job1", "/JOBS/job1/x", False),
        ("/jobs/job1", "", False),
        ("", "/jobs/job1", False),
    ],
)
def test_a_path_is_compared_by_its_segments(scope, path, inside):
    """job1 does not open job10, and a path that is not normal opens nothing."""
    assert grant(f"{CREATE}:{scope}").permits(CREATE, path) is inside


@given(st.lists(st.sampled_from(["jobs", "job1", "job10", "..", ".", "", "x"]), max_size=6))
def test_no_spelling_leads_out(parts):
    """Whatever is put together from these, what is allowed is below the scope once resolved."""
    path = "/" + "/".join(parts)

    if grant(f"{CREATE}:/jobs/job1").permits(CREATE, path):
        resolved = posixpath.normpath(path)
        assert resolved == "/jobs/job1" or resolved.startswith("/jobs/job1/")


def test_a_name_with_a_blank_cannot_smuggle_a_scope(credentials):
    """Scopes are separated by blanks, so a path with one is refused."""
    with pytest.raises(InvalidRequest):
        credentials.mint(JOB, ATTEMPT, "small-1", NOW, END, reads=("/a storage.create:/",))


@pytest.mark.parametrize("offset_s", [-1, 7200, 86400])
def test_outside_its_time_it_is_refused(credentials, offset_s):
    """Not before it was made, not from its expiry on."""
    token = credentials.mint(JOB, ATTEMPT, "small-1", NOW, END)

    with pytest.raises(SignatureExpired):
        credentials.verify(token, NOW + timedelta(seconds=offset_s), never)
    assert credentials.verify(token, NOW + timedelta(seconds=7199), never)


def test_a_revoked_one_is_refused(credentials):
    """Though its time is not over."""
    token = credentials.mint(JOB, ATTEMPT, "small-1", NOW, END)

    with pytest.raises(SignatureExpired, match="revoked"):
        credentials.verify(token, NOW, lambda found: found.job == JOB.id)


@pytest.mark.parametrize("other", [("http://other", "burst"), ("http://gateway", "other")])
def test_it_is_for_one_service(credentials, other):
    """Another issuer or audience is refused, though the key is the same."""
    token = Credentials(credentials.ring, *other).mint(JOB, ATTEMPT, "small-1", NOW, END)

    with pytest.raises(BadSignature, match="another service"):
        credentials.verify(token, NOW, never)


def test_no_other_token_of_the_gateway_is_a_credential(credentials):
    """A receipt's or session's signature does not open the store."""
    token = credentials.ring.sign(b"{}", "burst-receipt+jws", NOW)

    with pytest.raises(BadSignature, match="another purpose"):
        credentials.verify(token, NOW, never)


def test_an_array_task_has_its_own_prefix(credentials):
    """Task 3 of a requeued array cannot write where task 3's first run did."""
    token = credentials.mint(JOB, Attempt(JOB.id, 3, 1, 15, "RUNNING"), "small-1", NOW, END)
    allowed = credentials.verify(token, NOW, never)

    assert allowed.attempt == "1-3"
    assert allowed.permits(CREATE, f"/jobs/{JOB.id}/1-3/out")
    assert not allowed.permits(CREATE, f"/jobs/{JOB.id}/0-3/out")
