"""The money of simulated histories: every job is held, billed by the runs that Slurm gave it, and settled, on the real
ledger, with a process that ends before and after its commits."""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import structlog

from gateway.accounting.ledger import HOLDS, REVENUE, AccountKind, Settlement
from gateway.accounting.settle import bill, issue
from gateway.accounting.tariff import Tariff
from gateway.errors import Conflict, InsufficientFunds
from gateway.identity.key_ring import KeyRing
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage
from gateway.storage.database import Database
from gateway.storage.ledger import SqlLedger, SqlReceipts
from gateway.testing.process import Killed
from gateway.testing.run import any_history, run
from gateway.testing.slurm_job import SlurmJob
from gateway.testing.virtual_time import START

HISTORIES = 12
BUDGET_UCR = 400_000
TARIFF = Tariff({"small": 3_600_000})
"""A thousand micro-credits a second."""
TIME_LIMIT_S = 100
SIGNED = "a" * 64


@dataclass
class Purse:
    """One account, and what happened to it; ``deaths`` decides where the process ends."""

    database: Database
    ring: KeyRing
    deaths: random.Random
    holds: dict[str, int] = field(default_factory=dict)
    settled: dict[str, Settlement] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    died: int = 0

    def hold(self, job: SlurmJob) -> None:
        amount = TARIFF.charge("small", job.nodes_wanted * TIME_LIMIT_S)
        at = START + timedelta(seconds=job.submitted_at)
        try:
            self._surely(lambda ledger, _: ledger.hold(job.token, "ada", amount, SIGNED, at))
        except InsufficientFunds:
            self.refused += 1
            return
        except Conflict:
            pass  # the process had ended after the commit, and did it again
        self.holds[job.token] = amount

    def settle(self, job: SlurmJob) -> None:
        if job.token not in self.holds:
            return
        facts = gateway_job(job, self.holds[job.token])
        at = START + timedelta(seconds=job.ended_at or 0.0)
        billed = bill(facts, attempts(job), TARIFF, at)
        self.lines[job.token] = sum("not charged" not in line.text for line in billed.lines)

        def both(ledger: SqlLedger, receipts: SqlReceipts) -> Settlement:
            settlement = ledger.settle(job.token, billed.charged_ucr, "job ended", at)
            with suppress(Conflict):  # it has one
                receipts.keep(issue(facts, billed, receipts.next_number(), self.ring, at))
            return settlement

        self.settled[job.token] = self._surely(both)

    def _surely(self, act):
        """Until it is done; the process may end before its commit, when nothing is, or after it, when all is."""
        while True:
            fate = self.deaths.random()
            try:
                with self.database.begin() as connection:
                    outcome = act(SqlLedger(connection), SqlReceipts(connection))
                    _dies(now=fate < 0.2)
                _dies(now=fate > 0.9)
            except Killed:
                self.died += 1
            else:
                return outcome

    def figures(self) -> tuple[int, int, int]:
        """Available, held, charged."""
        with self.database.read() as connection:
            ledger = SqlLedger(connection)
            balance = ledger.balance("ada")
            return balance.available_ucr, balance.held_ucr, ledger.balance(REVENUE).available_ucr


def _dies(*, now: bool) -> None:
    if now:
        raise Killed


def gateway_job(job: SlurmJob, hold_ucr: int) -> Job:
    request = JobRequest("sim", "#!/bin/sh\n", (), {}, Resources(), BurstOptions())
    at = START + timedelta(seconds=job.submitted_at)
    ended = Stage.STAGED_OUT
    return Job(job.token, job.id, "ada", "ada", request, "small", ended, job.state, "", hold_ucr, SIGNED, at)


def attempts(job: SlurmJob) -> list[Attempt]:
    times = [(START + timedelta(seconds=begun), START + timedelta(seconds=until)) for _, _, begun, until in job.runs]
    return [
        Attempt(job.token, NO_TASK, number, job.id, job.state, nodes, *when)
        for (number, nodes, _, _), when in zip(job.runs, times, strict=True)
    ]


@pytest.fixture(scope="module")
def purses(sqlite_url, tmp_path_factory):
    """A purse for each history, its jobs held and settled in the order in which they were submitted and ended."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    source = random.Random(4)
    ring = KeyRing.open(tmp_path_factory.mktemp("ring") / "keys.json", START)
    found = []
    for _ in range(HISTORIES):
        world = run(any_history(source))
        purse = Purse(Database(sqlite_url()), ring, source)
        with purse.database.begin() as connection:
            ledger = SqlLedger(connection)
            ledger.open_account("ada", AccountKind.USER)
            ledger.deposit("ada", BUDGET_UCR, "to start with", START)
        jobs = world.slurm.jobs.values()
        steps = [(job.submitted_at, 0, job, purse.hold) for job in jobs]
        steps += [(job.ended_at or 0.0, 1, job, purse.settle) for job in jobs]
        figures = []
        for _, _, job, step in sorted(steps, key=lambda each: (each[0], each[1], each[2].id)):
            step(job)
            figures.append(purse.figures())
        found.append((world, purse, figures))
    yield found
    structlog.configure(**before)
    for _, purse, _ in found:
        purse.database.close()


def test_the_money_of_the_histories_was_at_stake(purses):
    """Jobs were refused, ran more than once and ran for longer than was held; the process ended many times."""
    assert sum(purse.died for _, purse, _ in purses) > 10
    assert sum(purse.refused for _, purse, _ in purses) > 0
    assert any(len(job.runs) > 1 for world, _, _ in purses for job in world.slurm.jobs.values())


def test_i04_charges_and_holds_are_never_above_the_budget(purses):
    """At every instant; and what a job costs is never above its hold, however long it ran and how often."""
    for _, purse, figures in purses:
        for available, held, charged in figures:
            assert available >= 0
            assert held + charged <= BUDGET_UCR
            assert available + held + charged == BUDGET_UCR
        assert all(purse.settled[job].charged_ucr <= held for job, held in purse.holds.items())


def test_i07_every_hold_is_charge_and_refund_with_one_receipt(purses):
    """Exactly, whatever was requeued, cancelled or settled twice; each run is a line of the receipt."""
    for world, purse, _ in purses:
        with purse.database.read() as connection:
            ledger, receipts = SqlLedger(connection), SqlReceipts(connection)
            ledger.verify_chain()
            assert ledger.balance(HOLDS).available_ucr == 0
            for job, held in purse.holds.items():
                settlement, receipt = purse.settled[job], receipts.of(job)
                assert settlement.charged_ucr + settlement.refunded_ucr == held
                assert (receipt.charged_ucr, receipt.refunded_ucr) == (settlement.charged_ucr, settlement.refunded_ucr)
            numbers = [receipts.of(job).number for job in purse.holds]
            assert len(set(numbers)) == len(numbers)
        for job in world.slurm.jobs.values():
            if job.token in purse.holds:
                assert purse.lines[job.token] == len(job.runs)
