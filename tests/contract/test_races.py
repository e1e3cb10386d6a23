"""Two writers at the same row: what may happen once happens once, by transactions and keys, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from gateway.accounting.ledger import AccountKind
from gateway.errors import InsufficientFunds, SignatureReplayed
from gateway.identity.keys import make_key
from gateway.identity.signature import open_request, sign_request
from gateway.storage.identity import SqlNonces
from gateway.storage.ledger import SqlLedger

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDIT = 1_000_000
WRITERS = 8


def together(act) -> list:
    """What each of several threads made of it, all let go at once."""
    gate = threading.Barrier(WRITERS)

    def run(number: int):
        gate.wait()
        try:
            return act(number)
        except (InsufficientFunds, SignatureReplayed) as error:
            return type(error)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


def test_w22_money_for_one_is_held_once(database):
    """Naive: look, then write; all see ten credits and all take them. Ours: one does, in a serialisable transaction."""
    naive, looked = {"ada": 10}, threading.Barrier(WRITERS)

    def take(_number: int) -> bool:
        enough = naive["ada"] >= 7
        looked.wait()  # everybody has looked before anybody writes
        if enough:
            naive["ada"] -= 7
        return enough

    assert together(take) == [True] * WRITERS
    assert naive["ada"] < 0

    with database.begin() as connection:
        SqlLedger(connection).open_account("ada", AccountKind.USER)
        SqlLedger(connection).deposit("ada", 10 * CREDIT, "to start with", NOW)
    took = together(
        lambda number: database.transact(
            lambda connection: SqlLedger(connection).hold(f"job{number}", "ada", 7 * CREDIT, "a" * 64, NOW)
        )
    )
    assert took.count(InsufficientFunds) == WRITERS - 1
    with database.read() as connection:
        balance = SqlLedger(connection).balance("ada")
    assert (balance.available_ucr, balance.held_ucr) == (3 * CREDIT, 7 * CREDIT)


@pytest.mark.parametrize("how", ["naive", "ours"])
def test_w22_a_nonce_is_used_once(database, how):
    """Naive: "is it there? no: put it there" lets all through. Ours: the unique key of the table lets one."""
    key = make_key()
    claims = open_request(sign_request(key, "s1", "POST", "/api/v1/jobs", b"", "burst", NOW), key)
    if how == "naive":
        used: set[str] = set()
        looked = threading.Barrier(WRITERS)

        def use(_number: int) -> bool:
            new = claims.nonce not in used
            looked.wait()
            used.add(claims.nonce)
            return new

        assert together(use) == [True] * WRITERS
        return
    answers = together(
        lambda _number: database.transact(lambda connection: SqlNonces(connection).use(claims, NOW) or True)
    )
    assert answers.count(True) == 1
    assert answers.count(SignatureReplayed) == WRITERS - 1
