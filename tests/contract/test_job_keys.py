"""Whom keys to the store are given to, and that none is forgotten: on every database, with a store that can fail."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gateway.errors import BadSignature, Refused, SignatureExpired, StoreUnavailable
from gateway.identity.credentials import Credentials
from gateway.identity.key_ring import KeyRing
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage
from gateway.jobs.store import Part
from gateway.runner.job_keys import JobKeyRunner
from gateway.service.job_keys import ROLE_ARN, JobKeyService
from gateway.staging.job_keys import MOST_READS, SessionKeys, policy, readable
from gateway.storage.work import SqlWork

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST = JobRequest("x", "#!/bin/sh\n", (), {}, Resources(), BurstOptions())
JOB = Job("0" * 32, 12, "ada", "ada", REQUEST, "small", Stage.QUEUED, "RUNNING", "", 7, "a" * 64, NOW)
ATTEMPT = Attempt(JOB.id, NO_TASK, 0, 12, "RUNNING", ("small-1", "small-2"), started_at=NOW)
INPUT = f"inputs/ada/{'1' * 64}"


@dataclass
class Store:
    """A store that remembers whom it gave keys to; ``meanwhile`` happens while it does."""

    alive: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    away: bool = False
    meanwhile: object = None

    def issue(self, prefix, reads, seconds):
        self.alive[prefix] = (tuple(reads), seconds)
        if callable(self.meanwhile):
            self.meanwhile()
        return SessionKeys("access", "secret", "session", NOW + timedelta(seconds=seconds))

    def withdraw(self, prefix):
        if self.away:
            raise StoreUnavailable
        self.alive.pop(prefix, None)


@dataclass
class Gateway:
    """A running job of two nodes, and what gives it keys."""

    works: object
    store: Store
    credentials: Credentials

    @property
    def service(self):
        return JobKeyService(self.works, self.credentials, self.store, lambda: NOW)

    @property
    def runner(self):
        return JobKeyRunner(SimpleNamespace(works=self.works, reads=self.works, job_keys=self.store, now=lambda: NOW))

    def token(self, attempt=ATTEMPT, node="small-1", hours=2):
        return self.credentials.mint(JOB, attempt, node, NOW, NOW + timedelta(hours=hours), reads=(f"/{INPUT}",))

    def assume(self, token=None, seconds=None, role=ROLE_ARN):
        return self.service.assume(token or self.token(), role, seconds)


@pytest.fixture
def gateway(database, tmp_path):
    @contextmanager
    def works():
        with database.begin() as connection:
            yield SqlWork(connection)

    with works() as work:
        work.jobs.add(JOB)
        work.jobs.put_attempt(ATTEMPT)
    ring = KeyRing.open(tmp_path / "keys.json", NOW, "ES256")
    return Gateway(works, Store(), Credentials(ring, "http://gateway", "burst"))


def ended(work):
    work.jobs.put_attempt(replace(ATTEMPT, state="COMPLETED", ended_at=NOW))


def cancelled(work):
    work.jobs.note(JOB, cancel_requested=True)


def done_with(work):
    work.jobs.move(JOB, Stage.RAN, NOW, "ended")


def requeued(work):
    work.jobs.put_attempt(replace(ATTEMPT, number=1))


def reported(work):
    work.jobs.add_part(ATTEMPT, Part("small-1", (), ()), NOW)


def test_each_node_of_a_running_attempt_gets_keys_for_the_credentials_paths(gateway):
    """Both nodes' lead to the one attempt; half an hour unless asked otherwise; never past the credential."""
    assert gateway.assume().keys.access_key == "access"
    assert gateway.store.alive == {ATTEMPT.prefix: ((INPUT,), 1800)}
    gateway.assume(gateway.token(node="small-2"), 3600)
    assert gateway.store.alive == {ATTEMPT.prefix: ((INPUT,), 3600)}
    gateway.assume(gateway.token(hours=0.5), 3600)
    assert gateway.store.alive == {ATTEMPT.prefix: ((INPUT,), 1800)}


@pytest.mark.parametrize("change", [ended, cancelled, done_with, requeued, reported])
def test_who_does_not_run_gets_none(gateway, change):
    """Neither after the end, nor once it is cancelled, superseded or reported by its node."""
    with gateway.works() as work:
        change(work)
    with pytest.raises(SignatureExpired):
        gateway.assume()
    assert gateway.store.alive == {}


def test_who_is_somebody_else_gets_none(gateway):
    """A node that the job does not run on, a credential that ends within STS's shortest session, another role."""
    for token in (gateway.token(node="small-3"), gateway.token(hours=0.2)):
        with pytest.raises(SignatureExpired):
            gateway.assume(token)
    with pytest.raises(Refused):
        gateway.assume(role="arn:aws:iam:::role/another")
    with pytest.raises(BadSignature):
        gateway.assume(replace(gateway.credentials, audience="another").mint(JOB, ATTEMPT, "small-1", NOW, NOW))
    assert gateway.store.alive == {}


@pytest.mark.parametrize("change", [ended, cancelled, done_with, requeued])
def test_keys_are_withdrawn_when_the_attempt_has_ended(gateway, change):
    """Not before; and from then on none are given, whatever the job's state says later."""
    gateway.assume()
    gateway.runner.tick()
    assert gateway.store.alive
    with gateway.works() as work:
        change(work)
    gateway.runner.tick()
    assert gateway.store.alive == {}
    with gateway.works() as work:
        record = work.key_records.get(JOB.id, "0")
        assert (record.opened_at, record.ended_at, record.withdrawn_at) == (NOW, NOW, NOW)
        assert work.key_records.not_withdrawn() == ()
        assert not work.key_records.open(JOB.id, "0", NOW)


def test_a_store_that_is_away_is_asked_until_it_has_confirmed(gateway):
    """The record stays open, also for the next process; meanwhile nobody gets new keys."""
    gateway.assume()
    gateway.store.away = True
    with gateway.works() as work:
        ended(work)
    gateway.runner.tick()
    assert gateway.store.alive
    with gateway.works() as work:
        assert [record.ended_at for record in work.key_records.not_withdrawn()] == [NOW]
    gateway.store.away = False
    gateway.runner.tick()
    assert gateway.store.alive == {}


def test_keys_of_an_attempt_that_ends_meanwhile_are_shown_to_nobody(gateway):
    """The withdrawal came between the check and the store's answer: they are withdrawn again."""

    def end():
        with gateway.works() as work:
            ended(work)
        gateway.runner.tick()
        gateway.store.alive[ATTEMPT.prefix] = ((), 0)

    gateway.store.meanwhile = end
    with pytest.raises(SignatureExpired):
        gateway.assume()
    assert gateway.store.alive == {}


def test_a_credential_names_few_inputs_and_else_their_folder(gateway):
    """However many there are, the token stays one that every verifier takes, and the policy names no other user."""
    keys = [f"inputs/{'u' * 64}/{number:064x}" for number in range(MOST_READS + 1)]
    folders = [f"jobs/{number:032x}/0-{number}/" for number in range(100)]
    assert readable("ada", [INPUT, INPUT], folders[:1]) == (f"/{INPUT}", f"/{folders[0]}")
    assert readable("u" * 64, keys, ())[0] == f"/inputs/{'u' * 64}/"
    longest = readable("u" * 64, keys[:-1], folders)
    token = gateway.credentials.mint(JOB, ATTEMPT, "small-1", NOW, NOW + timedelta(hours=2), reads=longest)
    gateway.assume(token)
    reads = gateway.store.alive[ATTEMPT.prefix][0]
    assert reads == tuple(path[1:] for path in longest)
    assert len(policy("b" * 63, ATTEMPT.prefix, reads)) < 10_240
