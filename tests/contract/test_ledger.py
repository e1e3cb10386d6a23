"""The ledger's invariants, on every database: no credit appears, none is spent twice, none moves unexplained."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from gateway.accounting.ledger import HOLDS, ISSUED, REVENUE, AccountKind, EntryKind, Settlement
from gateway.accounting.settle import Receipt, bill, issue, verify_receipt
from gateway.accounting.tariff import Line, Tariff
from gateway.errors import BadSignature, Conflict, InsufficientFunds, InvalidRequest, LedgerBroken, NotFound
from gateway.identity.key_ring import KeyRing
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage
from gateway.storage.database import Database
from gateway.storage.ledger import SqlLedger, SqlReceipts
from gateway.storage.tables import accounts, balances, ledger_entries

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDIT = 1_000_000
SIGNED = "a" * 64


@pytest.fixture
def funded(database):
    """A database in which ada has ten credits."""
    with database.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.open_account("ada", AccountKind.USER)
        ledger.deposit("ada", 10 * CREDIT, "to start with", NOW)
    return database


def test_a_hold_moves_from_available_to_held(funded):
    """What is held can no longer be spent, and is shown as held."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", 4 * CREDIT, SIGNED, NOW)
        balance = ledger.balance("ada")

    assert (balance.available_ucr, balance.held_ucr) == (6 * CREDIT, 4 * CREDIT)


def test_settling_charges_what_was_used_and_gives_back_the_rest(funded):
    """Four held and one used leaves nine, and one with the provider."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", 4 * CREDIT, SIGNED, NOW)
        settlement = ledger.settle("job1", CREDIT, "receipt R-000001", NOW)
        left = {name: ledger.balance(name).available_ucr for name in ("ada", HOLDS, REVENUE, ISSUED)}

    assert settlement == Settlement(charged_ucr=CREDIT, refunded_ucr=3 * CREDIT)
    assert left == {"ada": 9 * CREDIT, HOLDS: 0, REVENUE: CREDIT, ISSUED: -10 * CREDIT}


def test_every_entry_says_why_and_by_whose_word(funded):
    """The account's history names the job, the kind and the signed request of each movement."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", 4 * CREDIT, SIGNED, NOW)
        ledger.settle("job1", CREDIT, "receipt R-000001", NOW)
        entries = ledger.entries("ada")

    assert [(entry.kind, entry.amount_ucr, entry.job, entry.authorisation) for entry in entries] == [
        (EntryKind.DEPOSIT, 10 * CREDIT, None, None),
        (EntryKind.HOLD, -4 * CREDIT, "job1", SIGNED),
        (EntryKind.REFUND, 3 * CREDIT, "job1", SIGNED),
    ]


def test_a_hold_that_is_not_covered_is_refused_with_the_figures(funded):
    """The refusal says what it would cost, what there is and what is missing, and nothing is held."""
    with pytest.raises(InsufficientFunds) as refused, funded.begin() as connection:
        SqlLedger(connection).hold("job1", "ada", 12_500_000, SIGNED, NOW)

    assert refused.value.detail == (
        "The job may cost 12.5 credits; the account ada has 10 credits available, 2.5 credits too little."
    )
    assert refused.value.hint
    with funded.read() as connection:
        assert SqlLedger(connection).balance("ada").held_ucr == 0


def test_an_overdraft_is_spendable_to_its_last_micro_credit(database):
    """An account with an overdraft of two may go two below zero and no further."""
    with database.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.open_account("lab", AccountKind.PROJECT, overdraft_ucr=2)
        ledger.hold("job1", "lab", 2, SIGNED, NOW)
        with pytest.raises(InsufficientFunds):
            ledger.hold("job2", "lab", 1, SIGNED, NOW)
        assert ledger.balance("lab").available_ucr == -2


def test_a_job_is_held_once(funded):
    """A second hold for the same job is a conflict."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", CREDIT, SIGNED, NOW)
        with pytest.raises(Conflict):
            ledger.hold("job1", "ada", CREDIT, SIGNED, NOW)
        assert ledger.balance("ada").held_ucr == CREDIT


def test_a_job_is_settled_once(funded):
    """The same settlement again answers the same and moves nothing; another one is a conflict."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", 4 * CREDIT, SIGNED, NOW)
        first = ledger.settle("job1", CREDIT, "", NOW)
        assert ledger.settle("job1", CREDIT, "", NOW) == first
        with pytest.raises(Conflict):
            ledger.settle("job1", 2 * CREDIT, "", NOW)
        assert ledger.balance("ada").available_ucr == 9 * CREDIT


@pytest.mark.parametrize("charge", [-1, CREDIT + 1])
def test_a_charge_outside_the_hold_is_refused(funded, charge):
    """Never more than was held, never less than nothing."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", CREDIT, SIGNED, NOW)
        with pytest.raises(Conflict):
            ledger.settle("job1", charge, "", NOW)


@pytest.mark.parametrize("amount", [0, -1, 10**16])
def test_a_deposit_must_be_positive_and_sane(funded, amount):
    """Credits cannot be taken away by giving a negative amount."""
    with pytest.raises(InvalidRequest), funded.begin() as connection:
        SqlLedger(connection).deposit("ada", amount, "", NOW)


def test_a_negative_hold_is_refused(funded):
    """It would be a deposit in disguise."""
    with pytest.raises(InvalidRequest), funded.begin() as connection:
        SqlLedger(connection).hold("job1", "ada", -1, SIGNED, NOW)


def test_a_free_job_is_held_and_settled_without_an_entry(funded):
    """Zero is held, charged and refunded; the ledger has nothing to say about it."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.hold("job1", "ada", 0, SIGNED, NOW)
        assert ledger.settle("job1", 0, "", NOW) == Settlement(0, 0)
        assert len(ledger.entries("ada")) == 1


def test_what_is_not_there_is_said_to_be_missing(database):
    """An unknown account, and a job that was never held."""
    with database.begin() as connection:
        ledger = SqlLedger(connection)
        for call in (
            lambda: ledger.balance("nobody"),
            lambda: ledger.deposit("nobody", 1, "", NOW),
            lambda: ledger.hold("job1", "nobody", 0, SIGNED, NOW),
            lambda: ledger.settle("job1", 0, "", NOW),
            lambda: ledger.held("job1"),
        ):
            with pytest.raises(NotFound):
                call()


def test_opening_an_account_twice_keeps_its_money(funded):
    """A second opening changes nothing; as another kind it is a conflict."""
    with funded.begin() as connection:
        ledger = SqlLedger(connection)
        ledger.open_account("ada", AccountKind.USER)
        assert ledger.balance("ada").available_ucr == 10 * CREDIT
        with pytest.raises(Conflict):
            ledger.open_account("ada", AccountKind.PROJECT)
        assert [balance.account for balance in ledger.balances()] == ["ada"]


def test_twenty_threads_never_overdraw(funded):
    """Of twenty holds of one credit at once against ten, exactly ten are made."""
    outcomes: list[str] = []
    ready = threading.Barrier(20)

    def hold(job: str) -> None:
        ready.wait()
        try:
            funded.transact(lambda connection: SqlLedger(connection).hold(job, "ada", CREDIT, SIGNED, NOW))
            outcomes.append("held")
        except InsufficientFunds:
            outcomes.append("refused")

    threads = [threading.Thread(target=hold, args=(f"job{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["held"] * 10 + ["refused"] * 10
    with funded.read() as connection:
        ledger = SqlLedger(connection)
        assert (ledger.balance("ada").available_ucr, ledger.balance("ada").held_ucr) == (0, 10 * CREDIT)
        assert ledger.verify_chain().entries == 2 + 20


def test_settling_at_once_charges_once(funded):
    """Of ten workers that settle one job at the same moment, one moves money; all get the same answer."""
    funded.transact(lambda connection: SqlLedger(connection).hold("job1", "ada", 4 * CREDIT, SIGNED, NOW))
    answers: list[Settlement] = []
    ready = threading.Barrier(10)

    def settle() -> None:
        ready.wait()
        answers.append(funded.transact(lambda connection: SqlLedger(connection).settle("job1", CREDIT, "", NOW)))

    threads = [threading.Thread(target=settle) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [Settlement(CREDIT, 3 * CREDIT)] * 10
    with funded.read() as connection:
        assert SqlLedger(connection).balance("ada").available_ucr == 9 * CREDIT


def unlock(connection, table: str) -> None:
    """Take away what keeps entries from being changed, as somebody with the database file could."""
    if connection.dialect.name == "sqlite":
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {table}_no_{verb}")
    else:
        connection.exec_driver_sql(f"DROP TRIGGER {table}_append_only ON {table}")


@pytest.mark.parametrize(
    "forgery",
    [
        update(ledger_entries).where(ledger_entries.c.seq == 2).values(amount_ucr=11 * CREDIT),
        update(ledger_entries).where(ledger_entries.c.seq == 2).values(memo="a gift"),
        update(ledger_entries).where(ledger_entries.c.seq == 2).values(authorisation="b" * 64),
        update(ledger_entries).where(ledger_entries.c.seq == 2).values(at=NOW + timedelta(microseconds=1)),
        ledger_entries.delete().where(ledger_entries.c.seq == 1),
        ledger_entries.delete().where(ledger_entries.c.seq >= 3),
        update(balances).where(balances.c.account == "ada").values(amount_ucr=99 * CREDIT),
    ],
    ids=["amount", "memo", "authorisation", "time", "first row gone", "last rows gone", "balance"],
)
def test_a_changed_row_is_found(funded, forgery):
    """Editing, cutting off the end and changing a balance are all seen by an audit."""
    with funded.begin() as connection:
        SqlLedger(connection).hold("job1", "ada", CREDIT, SIGNED, NOW)
        assert SqlLedger(connection).verify_chain().entries == 4
        unlock(connection, "ledger_entries")
        connection.execute(forgery)

        with pytest.raises(LedgerBroken):
            SqlLedger(connection).verify_chain()


def test_the_chain_cannot_fork(funded):
    """A second row after the same row is refused by the database."""
    facts = {"txn": "t", "account": "ada", "amount_ucr": 5, "kind": "deposit", "memo": "", "at": NOW}

    with pytest.raises(IntegrityError), funded.begin() as connection:
        connection.execute(ledger_entries.insert().values(**facts, seq=99, prev_hash="0" * 64, hash="1" * 64))


class LedgerMachine(RuleBasedStateMachine):
    """Random deposits, holds and settlements, against a model in plain integers."""

    database: Database

    @initialize(overdraft=st.integers(0, 50))
    def open(self, overdraft: int) -> None:
        self.available = {"ada": 0, "lab": 0}
        self.overdraft = {"ada": 0, "lab": overdraft}
        self.open_holds: dict[str, tuple[str, int]] = {}
        self.jobs = 0
        with self.database.begin() as connection:
            for name, limit in self.overdraft.items():
                SqlLedger(connection).open_account(name, AccountKind.PROJECT, limit)

    @rule(account=st.sampled_from(["ada", "lab"]), amount=st.integers(1, 100))
    def deposit(self, account: str, amount: int) -> None:
        with self.database.begin() as connection:
            SqlLedger(connection).deposit(account, amount, "", NOW)
        self.available[account] += amount

    @rule(account=st.sampled_from(["ada", "lab"]), amount=st.integers(0, 150))
    def hold(self, account: str, amount: int) -> None:
        self.jobs += 1
        job = f"job{self.jobs}"
        try:
            with self.database.begin() as connection:
                SqlLedger(connection).hold(job, account, amount, SIGNED, NOW)
        except InsufficientFunds:
            assert amount > self.available[account] + self.overdraft[account]
            return
        assert amount <= self.available[account] + self.overdraft[account]
        self.available[account] -= amount
        self.open_holds[job] = (account, amount)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if not self.open_holds:
            return
        job = data.draw(st.sampled_from(sorted(self.open_holds)))
        account, amount = self.open_holds.pop(job)
        charge = data.draw(st.integers(0, amount))
        with self.database.begin() as connection:
            assert SqlLedger(connection).settle(job, charge, "", NOW) == Settlement(charge, amount - charge)
        self.available[account] += amount - charge

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "available"):
            return
        with self.database.read() as connection:
            ledger = SqlLedger(connection)
            ledger.verify_chain()
            assert connection.execute(select(func.coalesce(func.sum(ledger_entries.c.amount_ucr), 0))).scalar_one() == 0
            for name, available in self.available.items():
                held = sum(amount for account, amount in self.open_holds.values() if account == name)
                balance = ledger.balance(name)
                assert (balance.available_ucr, balance.held_ucr) == (available, held)
                assert balance.available_ucr >= -balance.overdraft_ucr


def test_random_histories_keep_every_invariant(sqlite_url):
    """After any sequence of deposits, holds and settlements all sums hold and the chain verifies."""

    def machine() -> LedgerMachine:
        made = LedgerMachine()
        made.database = Database(sqlite_url())
        return made

    how = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=how)


def a_job(hold_ucr: int = 10 * CREDIT) -> Job:
    request = JobRequest("sim", "#!/bin/sh\n", (), {}, Resources(), BurstOptions())
    return Job("f" * 32, 12, "ada", "ada", request, "small", Stage.STAGED_OUT, "COMPLETED", "", hold_ucr, SIGNED, NOW)


def a_receipt(tmp_path, number: str) -> tuple[Receipt, KeyRing]:
    ring = KeyRing.open(tmp_path / "keys.json", NOW)
    attempt = Attempt(a_job().id, NO_TASK, 0, 12, "COMPLETED", ("small-1",), NOW, NOW + timedelta(seconds=90))
    billed = bill(a_job(), [attempt], Tariff({"small": 1_200_000}), NOW)
    return issue(a_job(), billed, number, ring, NOW), ring


def test_a_receipt_comes_back_as_it_was_signed(database, tmp_path):
    """Kept as JSON and read again, its signature still holds; receipts are numbered one after the other."""
    with database.begin() as connection:
        receipts = SqlReceipts(connection)
        receipt, ring = a_receipt(tmp_path, receipts.next_number())
        receipts.keep(receipt)
        kept = receipts.of(a_job().id)
        assert receipts.next_number() == "R-000002"

    assert kept == receipt
    assert kept.number == "R-000001"
    assert kept.lines == (Line("1 node for 90 s, 1.2 credits an hour", 90, "node-second", 30_000),)
    verify_receipt(kept, ring.verify)


def test_a_job_has_one_receipt(database, tmp_path):
    """A second one, whatever its number, is a conflict."""
    with database.begin() as connection:
        SqlReceipts(connection).keep(a_receipt(tmp_path, "R-000001")[0])
        with pytest.raises(Conflict):
            SqlReceipts(connection).keep(a_receipt(tmp_path, "R-000002")[0])


def test_an_altered_receipt_is_found(tmp_path):
    """A figure that was changed no longer has the gateway's signature."""
    receipt, ring = a_receipt(tmp_path, "R-000001")

    with pytest.raises(BadSignature):
        verify_receipt(replace(receipt, charged_ucr=1), ring.verify)


def test_the_system_accounts_are_there_and_cannot_be_taken(database):
    """A user cannot be given the account that credits come from."""
    with database.begin() as connection:
        names = set(connection.execute(select(accounts.c.name)).scalars())
        assert names == {ISSUED, HOLDS, REVENUE}
        with pytest.raises(Conflict):
            SqlLedger(connection).open_account(ISSUED, AccountKind.USER)
