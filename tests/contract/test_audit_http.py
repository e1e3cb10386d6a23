"""The audit of a real run: who, under which authorisation, for which job, at what price, for job, node and credit."""

from __future__ import annotations

import json
import threading
import time

import pytest
from http_door import API, SCRIPT, problem_of

from gateway.accounting.ledger import EntryKind
from gateway.bootstrap.audit import audit
from gateway.cli import burst
from gateway.identity.evidence import verify_evidence
from gateway.storage.database import Database
from gateway.storage.work import SqlWork

PATIENCE_S = 180


@pytest.fixture(scope="module")
def payer(door):
    """A user of their own."""
    return door.add_user("payer", 20_000_000)


@pytest.fixture(scope="module")
def job(payer):
    """A job that has run and settled."""
    view = payer.submit(SCRIPT).json()
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not (found := payer.send("GET", f"/jobs/{view['burst_id']}").json())["finished"]:
        assert time.monotonic() < deadline, found
        pause.wait(0.2)
    return found


def asked(visitor, **question):
    """All records that answer, newest first, by pages of two."""
    found, cursor = [], None
    while True:
        words = {**question, "limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = visitor.send("GET", "/audit?" + "&".join(f"{name}={value}" for name, value in words.items()))
        assert answer.status_code == 200, answer.text
        found += answer.json()["records"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found


def by_action(records):
    """The last record of each action."""
    return {record["action"]: record for record in reversed(records)}


def test_f25_a_jobs_audit_says_who_under_which_authorisation_at_what_price(payer, job):
    """What was held and what was charged, as the receipt has it, on which node, by one signed request."""
    receipt = payer.send("GET", f"/jobs/{job['id']}/receipt").json()

    told = by_action(asked(payer, job=job["id"]))

    assert {"submit", "hold", "run", "settle"} <= set(told)
    assert told["submit"]["actor"] == "payer"
    assert told["submit"]["amount_ucr"] == told["hold"]["amount_ucr"] == receipt["held_ucr"] > 0
    assert told["settle"]["amount_ucr"] == receipt["charged_ucr"]
    assert told["run"]["actor"].startswith("node:")
    assert {told[name]["authorisation"] for name in ("submit", "hold", "run", "settle")} == {receipt["authorisation"]}


def test_f25_every_ledger_row_links_to_an_authorisation_that_verifies(door, admin, payer, job):
    """Holds, charges and refunds to the job's, credits to the administrator's; the signature is verified again."""
    given = admin.send("POST", "/accounts/payer/credits", {"amount_ucr": 5, "memo": "for the audit"})
    assert given.status_code == 200

    opened = Database(door.settings.database_url)
    with opened.read() as connection:
        work = SqlWork(connection)
        rows = work.ledger.entries("payer")
        rows = [row for row in rows if row.memo != "to start with"]
        proofs = {row.authorisation: work.evidence.get(row.authorisation) for row in rows}
    opened.close()
    assert {EntryKind.HOLD, EntryKind.DEPOSIT} <= {row.kind for row in rows}
    for row in rows:
        assert verify_evidence(proofs[row.authorisation], payer.session.audience)
        assert (row.job is None) is (row.kind is EntryKind.DEPOSIT)
    credit = by_action(asked(payer, account="payer"))["credit"]
    assert (credit["actor"], credit["amount_ucr"], credit["text"]) == ("admin", 5, "for the audit")
    assert credit["authorisation"] == next(row.authorisation for row in rows if row.kind is EntryKind.DEPOSIT)


def test_a_nodes_audit_says_how_it_lived_and_for_whom_it_ran(admin, payer, job):
    """Asked for, joined, and the job with its authorisation and price; ordinary users are told of their jobs only."""
    node = next(one for one in asked(payer, job=job["id"]) if one["action"] == "run")["actor"].removeprefix("node:")

    told = asked(admin, node=node)

    assert {"launch-node", "make-machine", "join-node", "run"} <= {record["action"] for record in told}
    ran = next(record for record in told if record["job"] == job["burst_id"])
    assert (ran["amount_ucr"], ran["authorisation"] is not None) == (job["hold_ucr"], True)
    assert {record["action"] for record in asked(payer, node=node)} == {"run"}


def test_a_user_is_told_what_concerns_them_and_no_more(stranger, payer, admin, job):
    """A stranger's question about the job is answered as about one that there is not; an administrator gets all."""
    assert {"login", "submit"} <= {record["action"] for record in asked(payer)}
    assert not [record for record in asked(stranger) if record["job"] == job["burst_id"]]
    assert asked(stranger, user="payer") == []
    problem_of(stranger.send("GET", f"/audit?job={job['id']}"), 404, "not_found")
    assert {"payer", "stranger", "gateway"} <= {record["actor"] for record in asked(admin)}


def test_what_the_policy_refused_is_told(stranger, payer, admin, job):
    """A signed request for another's job, for credit, and by Slurm's own REST API: each with its evidence."""
    before = len(asked(admin, outcome="refused"))
    problem_of(stranger.send("POST", f"/jobs/{job['id']}/cancel"), 404, "not_found")
    problem_of(stranger.send("POST", "/accounts/payer/credits", {"amount_ucr": 1, "memo": "m"}), 403, "refused")
    path = f"/slurm/v0.0.42/job/{job['id']}"
    stranger.http.request("DELETE", path, headers={"Authorization": stranger.sign("DELETE", path)})

    told = asked(admin, outcome="refused")[: -before or None]

    assert len(told) == 3
    assert {record["actor"] for record in told} == {"stranger"}
    assert all(record["authorisation"] for record in told)
    assert "may not give credit" in told[1]["text"]
    assert any(record["job"] == job["burst_id"] for record in asked(payer, outcome="refused"))


def test_logging_in_and_out_is_told(door):
    """Each with its session and, for the login, from where."""
    leaving = door.log_in("demo")
    leaving.send("DELETE", "/sessions/current")

    told = asked(door.log_in("demo"), user="demo")
    about = [record for record in told if record["subject"] == f"session:{leaving.session.id}"]

    assert [record["action"] for record in about] == ["logout", "login"]
    assert about[1]["address"] == "127.0.0.1"


def test_the_chain_is_verified_over_http_and_offline(door, admin, demo, job, capsys):
    """An administrator asks the gateway; whoever has the directory asks that; both say the same of the same log."""
    problem_of(demo.send("GET", "/audit/chain"), 403, "refused")
    chain = admin.send("GET", "/audit/chain").json()
    assert chain["records"] > 5
    assert chain["ledger_entries"] > 0
    assert admin.send("GET", f"/audit/chain?known={chain['head']}").status_code == 200
    assert admin.send("GET", f"/audit/chain?known={'f' * 64}").json()["code"] == "audit_broken"

    assert audit(door.settings.directory, chain["head"])["records"] >= chain["records"]
    code = burst.run(["audit", "--verify", "--dir", str(door.settings.directory), "--known", "f" * 64])
    said = capsys.readouterr().err
    assert code == 1
    assert "is gone" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("query", ["since=2026-01-01T00:00:00", "limit=0", "limit=501", "cursor=0", "outcome=odd"])
def test_a_question_that_makes_no_sense_is_refused(demo, query):
    """With what would."""
    problem_of(demo.send("GET", f"/audit?{query}"), 422, "invalid_request")


def test_the_log_is_asked_with_a_signature(door):
    """Like everything."""
    for path in ("/audit", "/audit/chain", "/shares", "/links", "/jobs/1/shares"):
        problem_of(door.http.get(API + path), 401, "bad_signature")


def test_commands_share_fetch_by_link_and_audit(door, tmp_path, monkeypatch, capsys, job, stranger):
    """What a user types: share with a user, list, a link into a file, fetch by it without a login, take both back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words, code=0, logged_in=True):
        monkeypatch.setenv("BURST_CONFIG", str(tmp_path / ("config" if logged_in else "nobody")))
        assert burst.run(list(words)) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    call("login", "--dir", str(door.settings.directory), "--user", "admin")
    name = str(job["id"])
    assert json.loads(call("share", name, "--with", "stranger", "--json"))["subject"] == "user:stranger"
    assert stranger.send("GET", f"/jobs/{name}/outputs").status_code == 200
    assert "user:stranger" in call("share", name, "--list")
    call("share", name, "--link", "--expires", "1h", "--save", "link.txt")
    assert (tmp_path / "link.txt").stat().st_mode & 0o777 == 0o600
    call("fetch", "--link", "link.txt", "--to", "got", logged_in=False)
    assert list((tmp_path / "got").iterdir())
    assert "sealed" in call("share", name, "--with", "stranger", "--write", code=2)
    assert "no link" in call("fetch", "--link", "http://example.org/x#y", code=2)
    link = json.loads(call("share", "links", "--json"))[0]["id"]
    call("unshare", "--link", link)
    assert "taken back" in call("fetch", "--link", "link.txt", "--to", "got", code=1, logged_in=False)
    call("unshare", name, "--with", "stranger")
    assert stranger.send("GET", f"/jobs/{name}/outputs").status_code == 404
    told = json.loads(call("audit", "--job", name, "--json"))
    assert [one["action"] for one in told][:2] == ["unshare", "open-link"]
    assert "payer" in call("audit", "--job", name)
