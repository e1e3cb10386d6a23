"""The audit log: a chain that shows every change, a database that refuses one, and what is asked of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.accounting.ledger import AccountKind
from gateway.errors import AuditBroken
from gateway.identity.audit import FIRST_HASH, Act, Concerns, Outcome, Question, Record, check_chain
from gateway.storage.work import SqlWork

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
EXAMPLES = 60
FIELDS = ("actor", "action", "subject", "text", "outcome", "authorisation", "job", "amount_ucr", "address")

names = st.text(alphabet='aZ0é\n"\\|: ', min_size=1, max_size=6)
acts = st.builds(
    Act,
    actor=names,
    action=names,
    subject=names,
    text=names,
    outcome=st.sampled_from(Outcome),
    authorisation=st.none() | names,
    job=st.none() | names,
    amount_ucr=st.none() | st.integers(0, 10**12),
    address=st.none() | names,
)


def chained(told):
    """Records with the hashes that were stored for them."""
    found, head = [], FIRST_HASH
    for number, act in enumerate(told, 1):
        record = Record(number, NOW + timedelta(seconds=number), act, head)
        head = record.hash
        found.append((record, head))
    return found


@settings(max_examples=EXAMPLES)
@given(st.lists(acts, max_size=5))
def test_f25_a_log_as_it_was_written_is_whole(told):
    """Whatever was told."""
    found = chained(told)

    chain = check_chain(found)

    assert (chain.records, chain.head) == (len(told), found[-1][1] if found else FIRST_HASH)


@settings(max_examples=EXAMPLES)
@given(st.lists(acts, min_size=1, max_size=5), st.data())
def test_f25_an_edited_record_is_found(told, data):
    """Each field of each record, and its time, whether or not its own hash was made to fit again."""
    found = chained(told)
    place = data.draw(st.integers(0, len(found) - 1))
    record, stored = found[place]
    name = data.draw(st.sampled_from((*FIELDS, "at")))
    edited = replace(record, at=record.at + timedelta(microseconds=1)) if name == "at" else _edited(record, name)

    with pytest.raises(AuditBroken):
        check_chain([*found[:place], (edited, stored), *found[place + 1 :]])
    if place < len(found) - 1:
        with pytest.raises(AuditBroken):
            check_chain([*found[:place], (edited, edited.hash), *found[place + 1 :]])


def _edited(record, name):
    before = getattr(record.act, name)
    match name:
        case "amount_ucr":
            after = 1 if before is None else before + 1
        case "outcome":
            after = next(one for one in Outcome if one != before)
        case _:
            after = f"{before}x"
    return replace(record, act=replace(record.act, **{name: after}))


@settings(max_examples=EXAMPLES)
@given(st.lists(acts, min_size=2, max_size=5), st.data())
def test_f25_a_record_that_is_gone_or_elsewhere_is_found(told, data):
    """Taken out of the middle, two in another order, and the end cut off where its head is known."""
    found = chained(told)
    first, second = sorted(data.draw(st.sets(st.integers(0, len(found) - 1), min_size=2, max_size=2)))
    swapped = list(found)
    swapped[first], swapped[second] = swapped[second], swapped[first]

    with pytest.raises(AuditBroken):
        check_chain(found[:first] + found[first + 1 :])
    with pytest.raises(AuditBroken):
        check_chain(swapped)
    with pytest.raises(AuditBroken, match="gone"):
        check_chain(found[:-1], known=found[-1][1])
    assert check_chain(found, known=found[first][1]).records == len(found)


def tell(database, *told):
    """Append records."""
    with database.begin() as connection:
        for number, act in enumerate(told):
            SqlWork(connection).audit.tell(act, NOW + timedelta(seconds=number))


def act(actor="ada", action="submit", subject="job:1", **more):
    """A record in a line."""
    return Act(actor, action, subject, "text", **more)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_records SET text = 'nothing' WHERE seq = 1",
        "DELETE FROM audit_records WHERE seq = 2",
        "DELETE FROM audit_records",
    ],
)
def test_the_database_itself_refuses_a_change(database, change):
    """By a trigger, whoever asks."""
    tell(database, act(), act())

    with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(text(change))

    with database.read() as connection:
        assert SqlWork(connection).audit.verify_chain().records == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_records SET amount_ucr = 1 WHERE seq = 2",
        "UPDATE audit_records SET authorisation = NULL WHERE seq = 2",
        "DELETE FROM audit_records WHERE seq = 2",
    ],
)
def test_f25_who_takes_the_trigger_away_is_found_out(database, change):
    """An edited and a deleted row, by somebody who owns the database."""
    tell(database, act(), act(authorisation="a" * 64, amount_ucr=5), act())
    sqlite = database.engine.dialect.name == "sqlite"
    triggers = ("audit_records_no_update", "audit_records_no_delete") if sqlite else ("audit_records_append_only",)
    with database.begin() as connection:
        for trigger in triggers:
            connection.execute(text(f"DROP TRIGGER {trigger}{'' if sqlite else ' ON audit_records'}"))
        connection.execute(text(change))

    with database.read() as connection, pytest.raises(AuditBroken, match=r"Record [23]"):
        SqlWork(connection).audit.verify_chain()


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(acts, min_size=1, max_size=5))
def test_what_was_told_is_what_is_read(new_database, told):
    """Every text, number and time comes back as it was hashed."""
    database = new_database()
    tell(database, *told)

    with database.read() as connection:
        assert SqlWork(connection).audit.verify_chain().records == len(told)
        found = SqlWork(connection).audit.find(Question())
    assert [one.act.text for one in reversed(found)] == [one.text for one in told]
    database.close()


def test_a_question_is_answered_by_what_fits_all_of_it(database):
    """By job, user, node, account, time, outcome and page."""
    tell(
        database,
        act(job="j1", subject="job:j1"),
        act("eve", "submit", "job:j2", job="j2"),
        act("gateway", "hold", "account:ada", job="j1", amount_ucr=7),
        act("node:small-1", "run", "job:j1", job="j1"),
        act("gateway", "end-node", "node:small-1"),
        act("eve", "request", "path:/x", outcome=Outcome.REFUSED),
    )

    def asked(**question):
        with database.read() as connection:
            return [record.seq for record in SqlWork(connection).audit.find(Question(**question))]

    assert asked() == [6, 5, 4, 3, 2, 1]
    assert asked(job="j1") == [4, 3, 1]
    assert asked(user="eve") == [6, 2]
    assert asked(node="small-1") == [5, 4]
    assert asked(account="ada") == [3]
    assert asked(since=NOW + timedelta(seconds=2), until=NOW + timedelta(seconds=4)) == [4, 3]
    assert asked(outcome=Outcome.REFUSED) == [6]
    assert asked(limit=2, before=5) == [4, 3]
    assert asked(job="j1", account="ada") == [3]


def test_a_user_is_told_what_concerns_them(database):
    """What they did, what touches their accounts and their groups; nothing of others."""
    with database.begin() as connection:
        SqlWork(connection).ledger.open_account("ada", AccountKind.USER)
    tell(
        database,
        act(),
        act("eve"),
        act("root", "credit", "account:ada"),
        act("root", "credit", "account:lab"),
        act("root", "join-group", "group:readers"),
        act("root", "credit", "account:eve"),
    )
    whom = Concerns("ada", frozenset({"ada", "lab"}), frozenset({"readers"}))

    with database.read() as connection:
        found = SqlWork(connection).audit.find(Question(concerns=whom))

    assert [record.seq for record in found] == [5, 4, 3, 1]
