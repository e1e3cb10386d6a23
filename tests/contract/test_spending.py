"""What is stored of budgets, charges and publications, on every database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.accounting.budget import Budget, Spending
from gateway.accounting.ledger import AccountKind
from gateway.accounting.settle import Receipt
from gateway.accounting.tariff import Line
from gateway.errors import Conflict, NotFound
from gateway.identity.users import Role, User
from gateway.jobs.job import BurstOptions, Job, JobRequest, Resources, UnitOrder
from gateway.jobs.stages import Stage
from gateway.publishing.record import Access, Creator, Publication, PublicationState, PublishedFile, Record
from gateway.storage.work import SqlWork

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER = UnitOrder("mc.sweep@v1", 5, 3, "sweeps", 10, "last", "stdout", r"(\d+)")
BUDGET = Budget("lab", 100, True, NOW, "root", True, "a" * 64)
SAID = Record(
    "T", (Creator("A"),), "", "P", 2026, Access.RESTRICTED, None, (), (PublishedFile("x", 1, "b" * 64, "k"),), "c" * 64,
    "1" * 32, NOW, "s",
)  # fmt: skip


@pytest.fixture
def work(database):
    """A laboratory's account with money, and two people."""
    with database.begin() as connection:
        work = SqlWork(connection)
        work.ledger.open_account("lab", AccountKind.PROJECT)
        work.ledger.deposit("lab", 10_000, "to start with", NOW)
        for name in ("ada", "bob"):
            work.users.add(User(name, Role.USER, account="lab"), "hash", NOW)
        yield work


def run(work: SqlWork, number: int, at: datetime, charge: int | None) -> str:
    """A job that held 500 and, unless it still runs, was charged."""
    name = f"{number:032x}"
    request = JobRequest("x", "#!/bin/sh\n", (), {}, Resources(), BurstOptions(units=ORDER))
    job = Job(name, number, "ada", "lab", request, "small", Stage.SETTLED, "COMPLETED", "", 500, "a" * 64, at)
    work.jobs.add(job)
    work.ledger.hold(name, "lab", 500, "a" * 64, at)
    if charge is not None:
        work.ledger.settle(name, charge, "", at)
        lines = (Line("sweeps", charge // 10, ORDER.code, charge),)
        work.receipts.keep(
            Receipt(f"R-{number}", name, "lab", "small", lines, 500, charge, 500 - charge, at, "a" * 64, "signed")
        )
    return name


def test_an_order_of_units_is_kept_with_its_price(work):
    """Price and meter of the quote come back with the job."""
    assert work.jobs.get(run(work, 1, NOW, None)).request.burst.units == ORDER


def test_a_budget_counts_from_its_day_on(work):
    """Charges of settled jobs and holds of the others, of this account, funded since."""
    run(work, 1, NOW - timedelta(seconds=1), 400)
    run(work, 2, NOW, 30)
    open_job = run(work, 3, NOW + timedelta(days=1), None)
    work.budgets.put(BUDGET)

    assert work.budgets.spending(BUDGET) == Spending(30, 500)
    assert work.budgets.unsettled(BUDGET) == (open_job,)
    assert work.budgets.spending(replace(BUDGET, account="nobody")) == Spending(0, 0)


def test_a_budget_is_set_again_and_removed(work):
    """One an account; removing what is not there is told."""
    work.budgets.put(BUDGET)
    work.budgets.put(replace(BUDGET, limit_ucr=7))

    assert work.budgets.all() == (replace(BUDGET, limit_ucr=7),)
    work.budgets.remove("lab")
    assert work.budgets.of("lab") is None
    with pytest.raises(NotFound):
        work.budgets.remove("lab")


def test_charges_are_the_ledgers(work):
    """A job that cost nothing is a job; one that is not settled is none; the times bound them."""
    free, paid = run(work, 1, NOW, 0), run(work, 2, NOW + timedelta(days=40), 30)
    run(work, 3, NOW, None)

    found = work.charges.between(None, None)

    assert [(one.job, one.spend_ucr, one.user) for one in found] == [(free, 0, "ada"), (paid, 30, "ada")]
    assert found[1].lines == (Line("sweeps", 3, "mc.sweep@v1", 30),)
    assert work.charges.between(NOW + timedelta(days=1), None) == found[1:]
    assert work.charges.between(None, NOW + timedelta(days=40)) == found[:1]


def a_publication(job: str, **facts: object) -> Publication:
    """Of ada's job."""
    return replace(
        Publication("abc", "10.12345/abc", job, "ada", PublicationState.INTENT, SAID, "d" * 64, NOW), **facts
    )


def test_a_publication_is_mended_until_it_is_findable(work):
    """Then never again, and it comes back whole."""
    job = run(work, 1, NOW, 0)
    work.publications.keep(a_publication(job))
    final = a_publication(job, state=PublicationState.FINDABLE, record=replace(SAID, title="Better"))
    work.publications.keep(final)

    with pytest.raises(Conflict, match="does not change"):
        work.publications.keep(a_publication(job))
    assert work.publications.get("abc") == work.publications.of_job(job) == final
    assert work.publications.of_user("ada") == work.publications.of_user(None) == (final,)
    assert work.publications.of_user("bob") == ()


def test_a_grant_is_given_once_and_taken_back(work):
    """Giving it twice is no error; taking back what is not there is told."""
    work.publications.keep(a_publication(run(work, 1, NOW, 0)))
    for _ in range(2):
        work.publications.grant("abc", "bob", "ada", "e" * 64, NOW)

    assert work.publications.readers("abc") == ("bob",)
    work.publications.revoke("abc", "bob")
    assert work.publications.readers("abc") == ()
    with pytest.raises(NotFound):
        work.publications.revoke("abc", "bob")
