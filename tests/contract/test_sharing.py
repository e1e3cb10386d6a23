"""Sharing: rules and links about the outputs of a real job, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from http_door import API, problem_of
from sqlalchemy import text

from gateway.identity.groups import Group, GroupRole
from gateway.storage.database import Database
from gateway.storage.work import SqlWork

SCRIPT = """#!/bin/sh
#SBATCH --time=1
mkdir results other
echo a > results/a.txt
echo b > results/b.txt
echo c > other/c.txt
"""
PATIENCE_S = 180


@pytest.fixture(scope="module")
def people(door):
    """Users of their own: ada who submits, bob, carol and dan."""
    return {name: door.add_user(name, 50_000_000) for name in ("ada", "bob", "carol", "dan")}


@pytest.fixture(scope="module")
def ada(people):
    """Who submits."""
    return people["ada"]


@pytest.fixture(scope="module")
def job(ada):
    """A job of ada's that has run and settled."""
    view = ada.submit(SCRIPT).json()
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not (found := ada.send("GET", f"/jobs/{view['burst_id']}").json())["finished"]:
        assert time.monotonic() < deadline, found
        pause.wait(0.2)
    assert found["state"] == "COMPLETED", found
    return str(found["id"])


@pytest.fixture(autouse=True)
def nothing_shared(request):
    """Each test begins without rules and links."""
    ada, job, admin = (request.getfixturevalue(name) for name in ("ada", "job", "admin"))
    yield
    assert admin.send("POST", f"/jobs/{job}/shares", rule("user:ada", owner=True, readable=True)).status_code == 200
    for one in ada.send("GET", f"/jobs/{job}/shares").json():
        if one["subject"] != "user:ada":
            assert unshare(ada, job, one["subject"], one["path"]).status_code == 204


def rule(subject, path="", **rights):
    """The body of a rule; who may read, unless it says otherwise."""
    return {"subject": subject, "path": path, **(rights or {"owner": False, "readable": True})}


def share(visitor, job, subject, path="", **rights):
    """Set a rule."""
    return visitor.send("POST", f"/jobs/{job}/shares", rule(subject, path, **rights))


def unshare(visitor, job, subject, path=""):
    """Take it away."""
    query = f"?{httpx2.QueryParams({'path': path})}" if path else ""
    return visitor.send("DELETE", f"/jobs/{job}/shares/{subject.replace(':', '%3A')}{query}")


def paths(answer):
    """The files of an answer."""
    assert answer.status_code == 200, answer.text
    return {file["path"] for file in answer.json()["files"] if not file["path"].startswith("slurm-")}


def outputs(visitor, job, path=""):
    """Ask for them."""
    return visitor.send("GET", f"/jobs/{job}/outputs{'?path=' + path if path else ''}")


@contextmanager
def database(door):
    """The gateway's own database, for what only other services do."""
    opened = Database(door.settings.database_url)
    with opened.begin() as connection:
        yield SqlWork(connection)
    opened.close()


def made_link(visitor, job, path="", **how):
    """A new link's id and secret."""
    answer = visitor.send("POST", f"/jobs/{job}/links", {"path": path, **how})
    assert answer.status_code == 201, answer.text
    return answer.json()["link"]["id"], answer.json()["secret"]


def open_link(door, link, secret, **asked):
    """Open it as somebody who is not logged in."""
    return door.http.post(f"{API}/shared/{link}", json={"secret": secret, **asked})


def test_a_stranger_is_not_told_that_the_job_is_there(people, job):
    """Its outputs, its rules and its prints are not found, in the words for a job that does not exist."""
    for path in (f"/jobs/{job}/outputs", f"/jobs/{job}/shares", f"/jobs/{job}/logs"):
        detail = problem_of(people["bob"].send("GET", path), 404, "not_found").detail
        unknown = problem_of(people["bob"].send("GET", path.replace(job, "99999")), 404, "not_found").detail
        assert detail.replace(job, "N") == unknown.replace("99999", "N")


def test_f17_a_right_is_granted_listed_and_revoked(people, ada, job):
    """From one request to the next, with the digest of the signed request beside it."""
    bob = people["bob"]

    granted = share(ada, job, "user:bob")
    assert granted.status_code == 200, granted.text
    assert paths(outputs(bob, job)) == {"results/a.txt", "results/b.txt", "other/c.txt"}
    file = next(one for one in outputs(bob, job, "results/a.txt").json()["files"])
    assert httpx2.get(file["url"]).content == b"a\n"
    (listed,) = (one for one in ada.send("GET", f"/jobs/{job}/shares").json() if one["subject"] == "user:bob")
    assert listed == granted.json()
    assert len(listed["authorisation"]) == 64
    assert [one["subject"] for one in bob.send("GET", "/shares").json()] == ["user:bob"]

    assert unshare(ada, job, "user:bob").status_code == 204
    problem_of(outputs(bob, job), 404, "not_found")
    assert bob.send("GET", "/shares").json() == []
    problem_of(unshare(ada, job, "user:bob"), 404, "not_found")


def test_f17_a_folder_is_shared_without_its_siblings(people, ada, job):
    """Who may read one folder gets that folder, and is told no more of the rest than that it is not theirs."""
    assert share(ada, job, "user:bob", "results").status_code == 200

    assert paths(outputs(people["bob"], job)) == {"results/a.txt", "results/b.txt"}
    problem_of(outputs(people["bob"], job, "other"), 404, "not_found")
    problem_of(people["bob"].send("GET", f"/jobs/{job}/logs"), 403, "refused")
    problem_of(people["bob"].send("GET", f"/jobs/{job}/receipt"), 404, "not_found")


def test_f17_the_last_owner_stays(people, ada, job):
    """Refused until there is another; the other may then share, and who gave it away may no more."""
    problem_of(unshare(ada, job, "user:ada"), 409, "conflict")
    problem_of(share(ada, job, "user:ada", owner=False, readable=True), 409, "conflict")
    assert paths(outputs(ada, job))

    assert share(ada, job, "user:carol", owner=True, readable=True).status_code == 200
    assert unshare(ada, job, "user:ada").status_code == 204

    problem_of(outputs(ada, job), 404, "not_found")
    problem_of(unshare(people["carol"], job, "user:carol"), 409, "conflict")
    assert share(people["carol"], job, "user:dan").status_code == 200


def test_f17_a_reader_shares_nothing(people, ada, job):
    """Reading is not owning."""
    share(ada, job, "user:bob")

    problem_of(share(people["bob"], job, "user:dan"), 403, "refused")
    problem_of(people["bob"].send("POST", f"/jobs/{job}/links", {}), 403, "refused")
    problem_of(unshare(people["bob"], job, "user:ada"), 403, "refused")


@pytest.mark.parametrize("subject", ["user:nobody-here", "group:nobody-here"])
def test_a_rule_about_nobody_is_refused(ada, job, subject):
    """A slip of the finger is no rule for who comes later."""
    problem_of(share(ada, job, subject), 404, "not_found")


def test_f16_a_removed_member_is_refused_at_once(door, people, ada, job):
    """The rule about the group stays as it is; who is in it is looked up at each request."""
    with database(door) as work:
        work.groups.add(Group("readers", "Readers", None), datetime.now(UTC))
        work.groups.put("readers", "carol", GroupRole.LEADER, datetime.now(UTC))
        work.groups.put("readers", "dan", GroupRole.MEMBER, datetime.now(UTC))
    share(ada, job, "group:readers")
    assert paths(outputs(people["dan"], job))

    with database(door) as work:
        work.groups.remove("readers", "dan")

    problem_of(outputs(people["dan"], job), 404, "not_found")
    assert people["dan"].send("GET", "/shares").json() == []
    assert paths(outputs(people["carol"], job))


def test_f18_a_link_opens_its_file_and_not_the_sibling(door, ada, job):
    """For a bearer without a login: the file, whole; nothing else of the job, however it is asked for."""
    link, secret = made_link(ada, job, "results/a.txt")

    opened = open_link(door, link, secret)
    assert paths(opened) == {"results/a.txt"}
    assert httpx2.get(opened.json()["files"][0]["url"]).content == b"a\n"
    for sibling in ("results/b.txt", "results", "other/c.txt", ""):
        problem_of(open_link(door, link, secret, path=sibling), 403, "refused")
    problem_of(open_link(door, link, secret, path="results/../other"), 422, "invalid_request")


def test_f18_a_link_to_a_folder_opens_what_is_in_it(door, ada, job):
    """And one file of it, if that is asked for."""
    link, secret = made_link(ada, job, "results")

    assert paths(open_link(door, link, secret)) == {"results/a.txt", "results/b.txt"}
    assert paths(open_link(door, link, secret, path="results/b.txt")) == {"results/b.txt"}


def test_f18_a_link_that_expired_or_was_revoked_is_refused(door, ada, job):
    """With the right secret too."""
    expiring, first = made_link(ada, job, "results")
    revoked, second = made_link(ada, job, "results")
    listed = {one["id"] for one in ada.send("GET", "/links").json()}
    assert {expiring, revoked} <= listed

    assert ada.send("DELETE", f"/links/{revoked}").status_code == 204
    opened = Database(door.settings.database_url)
    with opened.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        statement = text("UPDATE share_links SET expires_at = :past WHERE id = :id")
        connection.execute(statement, {"past": past.strftime("%Y-%m-%d %H:%M:%S.%f"), "id": expiring})
    opened.close()

    assert "expired" in problem_of(open_link(door, expiring, first), 403, "refused").detail
    assert "taken back" in problem_of(open_link(door, revoked, second), 403, "refused").detail


def test_f18_a_maker_who_loses_the_right_takes_it_from_the_link(door, people, ada, job):
    """The link is cut at what its maker may at this moment; with the right it comes back."""
    carol = people["carol"]
    share(ada, job, "user:carol", owner=True, readable=True)
    link, secret = made_link(carol, job, "results")
    assert paths(open_link(door, link, secret))

    assert unshare(ada, job, "user:carol").status_code == 204
    problem_of(open_link(door, link, secret), 403, "refused")

    share(ada, job, "user:carol", "results/b.txt")
    assert paths(open_link(door, link, secret, path="results/b.txt")) == {"results/b.txt"}
    problem_of(open_link(door, link, secret), 403, "refused")


def test_f18_another_ones_link_cannot_be_revoked(people, ada, job):
    """Nor is it told that it is there."""
    link, _ = made_link(ada, job)

    problem_of(people["bob"].send("DELETE", f"/links/{link}"), 404, "not_found")
    problem_of(people["bob"].send("DELETE", f"/links/{'0' * 16}"), 404, "not_found")


def test_f18_a_guessed_secret_is_refused_in_the_words_for_no_link_and_then_not_heard(door, ada, job):
    """A wrong secret and an unknown link read the same; after ten tries even the right one must wait."""
    link, secret = made_link(ada, job)
    wrong = problem_of(open_link(door, link, "x" * 43), 403, "refused")
    unknown = problem_of(open_link(door, "0" * 16, "x" * 43), 403, "refused")
    assert (wrong.detail, wrong.hint) == (unknown.detail, unknown.hint)

    for _ in range(9):
        problem_of(open_link(door, link, "x" * 43), 403, "refused")
    assert problem_of(open_link(door, link, secret), 429, "too_many_tries")


def test_f18_the_secret_of_a_link_is_kept_nowhere(door, ada, job):
    """Neither in the database nor in the log; what is kept is its SHA-256; the page's address does not need it."""
    link, secret = made_link(ada, job)
    landing = door.http.get(f"/shared/{link}")
    assert open_link(door, link, secret).status_code == 200

    kept = door.settings.directory / "state.db"
    files = [path for path in kept.parent.rglob("*") if path.is_file() and path.suffix in {".db", ".db-wal", ".log"}]
    assert kept in files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert landing.status_code == 200
    assert "no-store" in landing.headers["cache-control"]
    assert landing.headers["referrer-policy"] == "no-referrer"
    unknown = door.http.get(f"/shared/{'0' * 16}").text
    assert landing.text.replace(link, "N") == unknown.replace("0" * 16, "N")


def test_a_denied_member_reads_nothing_whatever_the_others_may(people, ada, job):
    """A rule about one user that takes away, beside one that lets everyone read."""
    share(ada, job, "everyone")
    assert paths(outputs(people["bob"], job))

    denied = {"owner": False, "readable": False, "combination": "min"}
    assert share(ada, job, "user:bob", **denied).status_code == 200

    problem_of(outputs(people["bob"], job), 404, "not_found")
    assert paths(outputs(people["dan"], job))


def test_what_was_done_about_a_jobs_outputs_is_in_its_audit(door, people, ada, job):
    """Granting, opening and being refused: who, by which signed request, from where."""
    share(ada, job, "user:bob")
    link, secret = made_link(ada, job)
    open_link(door, link, secret)
    open_link(door, link, "wrong")
    problem_of(share(people["bob"], job, "user:dan"), 403, "refused")

    told = ada.send("GET", f"/audit?job={job}&limit=500").json()["records"]
    found = {(one["actor"], one["action"], one["outcome"]) for one in told}
    assert ("ada", "share", "done") in found
    assert ("ada", "link", "done") in found
    assert (f"link:{link}", "open-link", "done") in found
    assert (f"link:{link}", "open-link", "refused") in found
    assert all(one["authorisation"] for one in told if one["action"] in {"share", "link", "open-link", "submit"})
    assert secret not in json.dumps(told)
    refused = people["bob"].send("GET", "/audit?outcome=refused").json()["records"]
    assert any(f"/jobs/{job}/shares" in one["subject"] for one in refused)
