"""Revoked credentials as every database keeps them, and the keys that end with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from test_job_keys import ATTEMPT, INPUT, JOB, NOW, Gateway, gateway

from gateway.errors import SignatureExpired
from gateway.identity.credentials import CREATE, READ, JobGrant
from gateway.identity.delegation import Wish, narrow
from gateway.identity.revocations import Revocation
from gateway.staging.job_keys import Narrowed, narrowed_policy

__all__ = ["gateway"]

GRANT = JobGrant("root", "ada", JOB.id, "0", "small-1", (), NOW, NOW + timedelta(hours=2))
CHILD = replace(GRANT, jti="child", chain=("root",))
GRANDCHILD = replace(GRANT, jti="grandchild", chain=("root", "child"))
OTHER = replace(GRANT, jti="other", chain=("root",))
FAMILY = (GRANT, CHILD, GRANDCHILD, OTHER)


def revoked(jti, at=NOW, until=NOW + timedelta(hours=2)):
    return Revocation(JOB.id, jti, "ada", at, until)


def hits(gateway: Gateway):
    with gateway.works() as work:
        return [work.revocations.hit(grant) for grant in FAMILY]


@pytest.mark.parametrize(
    ("jti", "dead"),
    [
        ("root", [True, True, True, True]),
        ("child", [False, True, True, False]),
        ("grandchild", [False, False, True, False]),
        ("", [True, True, True, True]),
    ],
)
def test_what_came_from_a_revoked_credential_is_revoked(gateway, jti, dead):
    """Downwards only; of another job, nothing."""
    assert hits(gateway) == [False] * 4
    with gateway.works() as work:
        assert work.revocations.add(revoked(jti))
        assert not work.revocations.hit(replace(GRANT, job="1" * 32))
    assert hits(gateway) == dead


def test_a_jobs_revocation_is_of_what_it_was_given_until_then(gateway):
    """A run after it has its own; a later revocation reaches further, an earlier one no less far."""
    later = replace(GRANT, issued_at=NOW + timedelta(seconds=60))
    with gateway.works() as work:
        work.revocations.add(revoked(""))
        assert not work.revocations.hit(later)
        assert work.revocations.add(revoked("", NOW + timedelta(seconds=61)))
        assert not work.revocations.add(revoked("", NOW))
        assert work.revocations.hit(later)


def test_a_revocation_is_kept_until_the_credentials_own_end(gateway):
    """And not a second longer than until the next one is recorded; it cannot be taken back by another."""
    with gateway.works() as work:
        work.revocations.add(revoked("child", until=NOW + timedelta(seconds=5)))
        assert not work.revocations.add(revoked("child"))
        work.revocations.add(revoked("other", NOW + timedelta(seconds=4)))
        assert work.revocations.hit(CHILD)
        work.revocations.add(revoked("x", NOW + timedelta(seconds=6)))
        assert not work.revocations.hit(CHILD)
        assert work.revocations.hit(OTHER)


def test_a_childs_keys_are_withdrawn_by_themselves(gateway):
    """Each credential has a role of its own in the store; the end of one's record is the end of those below it."""
    gateway.assume()
    parent = gateway.credentials.verify(gateway.token(), NOW, lambda _: False)
    wish = Wish((f"{READ}:/{INPUT}", f"{CREATE}:/{ATTEMPT.prefix}objects"))
    child = narrow(parent, wish, ("burst",), NOW)
    grandchild = narrow(child, Wish((f"{READ}:/{INPUT}",)), ("burst",), NOW)
    given = []
    gateway.store.issue = lambda *call: given.append(call) or gateway.store.__class__.issue(gateway.store, *call[:3])
    for grant in (child, grandchild):
        gateway.assume(gateway.credentials.mint_child(grant, NOW))
    assert [call[3] for call in given] == [
        Narrowed(child.jti, (INPUT,), (f"{ATTEMPT.prefix}objects",)),
        Narrowed(grandchild.jti, (INPUT,), ()),
    ]
    withdrawn = []
    gateway.store.withdraw = withdrawn.append
    with gateway.works() as work:
        for record in work.key_records.of(JOB.id):
            if record.of_credential(child.jti, "0", narrowed=True):
                work.key_records.end(record.job, record.label, NOW)
    gateway.runner.tick()
    assert set(withdrawn) == {f"{ATTEMPT.prefix}#{grant.jti}" for grant in (child, grandchild)}
    with gateway.works() as work:
        assert [record.label for record in work.key_records.not_withdrawn()] == ["0"]
        work.revocations.add(revoked(child.jti))
    with pytest.raises(SignatureExpired):
        gateway.assume(gateway.credentials.mint_child(grandchild, NOW))


@pytest.mark.parametrize(
    ("writes", "allowed"),
    [
        (("jobs/a/0",), ["jobs/a/0/objects", "jobs/a/0/objects/*"]),
        (("jobs/a/0/objects",), ["jobs/a/0/objects", "jobs/a/0/objects/*"]),
        (("jobs/a/0/objects/x",), ["jobs/a/0/objects/x", "jobs/a/0/objects/x/*"]),
        (("jobs/a/0/objects2", "jobs/a/0/files"), []),
    ],
)
def test_a_narrowed_policy_writes_objects_only(writes, allowed):
    """Never what is the node's to write, and never beside a folder of a longer name."""
    text = narrowed_policy("b", "jobs/a/0/", Narrowed("j", ("inputs/ada/1",), writes))
    assert all((f'"arn:aws:s3:::b/{path}"' in text) for path in allowed)
    assert ("s3:PutObject" in text) is bool(allowed)
    assert "ListBucket" not in text
    assert " " not in text
