"""Service principals: a program logs in by a key of its own, for what it was given and no more."""

from __future__ import annotations

import json
import secrets
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from http_door import API, Visitor, problem_of
from logins import new_person, new_project

from gateway.cli.burst import run
from gateway.client import principal as client
from gateway.client.gateway import Gateway, Submission
from gateway.client.session import Session as ClientSession
from gateway.errors import InvalidRequest, NotAllowed, SetupError
from gateway.identity.assertion import assertion
from gateway.identity.keys import make_key, public_jwk, thumbprint
from gateway.storage.database import Database
from gateway.storage.group_tables import audit_records
from gateway.wire import Session

SCOPES = ["jobs:read", "jobs:write", "storage:read"]
JOB = "#!/bin/sh\n#SBATCH --time=1\necho done\n"


@pytest.fixture(scope="module")
def leader(door):
    """Who leads the project."""
    person = new_person(door, "leader")
    new_project(door, "climate", person.name)
    return person.log_in()


def add(visitor, name, key, scopes=SCOPES, project="climate"):
    """Register a principal with a key."""
    facts = {"name": name, "project": project, "scopes": scopes, "public_key": public_jwk(key)}
    return visitor.send("POST", "/principals", facts)


def log_in(door, name, key, scopes=(), session_key=None, token=None):
    """Log a principal in; the answer."""
    session_key = session_key or make_key()
    token = token or assertion(key, name, session_key, door.url, datetime.now(UTC))
    facts = {"assertion": token, "public_key": public_jwk(session_key), "scopes": list(scopes)}
    return door.http.post(f"{API}/principals/login", json=facts)


@pytest.fixture
def robot(leader):
    """A principal of the project, and its key."""
    name, key = f"climate-{secrets.token_hex(4)}", make_key()
    assert add(leader, name, key).status_code == 201
    return name, key


def test_f07_a_program_submits_three_jobs_in_one_process(door, leader, tmp_path):
    """F07: it logs in again by itself before its session ends; its key never leaves its file; its project pays."""
    file = tmp_path / "robot.key"
    public = client.make_key_file(file)
    private = json.loads(file.read_text())["d"]
    facts = {"name": "climate-robot", "project": "climate", "scopes": SCOPES, "public_key": public}
    view = leader.send("POST", "/principals", facts).json()
    before = {one["account"]: one["available_ucr"] for one in leader.send("GET", "/balance").json()}["climate"]

    session = client.login(door.url, "climate-robot", file)
    gateway, sessions = Gateway(session), set()
    for number in range(3):
        job = gateway.submit(Submission(JOB, f"job-{number}"))
        ended = gateway.wait(job.id)
        assert (ended.state, ended.user, ended.account) == ("COMPLETED", "climate-robot", "climate")
        sessions.add(session.profile.session)
        # As if hours had passed: the next request finds a session that ends in a minute.
        session.profile = replace(session.profile, expires_at=datetime.now(UTC) + timedelta(minutes=1))

    assert len(sessions) == 3
    after = {one["account"]: one["available_ucr"] for one in leader.send("GET", "/balance").json()}["climate"]
    assert after < before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert view["keys"][0]["id"] == thumbprint(client.read_key_file(file))
    assert private not in door.log()
    database = Database(door.settings.database_url)
    with database.read() as connection:
        told = connection.execute(audit_records.select().where(audit_records.c.subject == "user:climate-robot")).all()
        logins = connection.execute(audit_records.select().where(audit_records.c.actor == "climate-robot")).all()
    database.close()
    assert [row.action for row in told] == ["principal-add"]
    assert told[0].authorisation
    assert len([row for row in logins if row.action == "login"]) == 3
    session.close()


def test_a_principal_has_no_more_than_its_scopes(door, robot):
    """It asks for less and gets that, for more and gets what it has, for nothing of its own and is refused."""
    name, key = robot
    assert log_in(door, name, key).json()["scopes"] == SCOPES
    assert log_in(door, name, key, ["jobs:read"]).json()["scopes"] == ["jobs:read"]
    assert log_in(door, name, key, ["jobs:read", "people:write"]).json()["scopes"] == ["jobs:read"]
    assert "jobs:read" in problem_of(log_in(door, name, key, ["people:write"]), 403, "refused").hint


def test_an_assertion_is_good_once_for_one_key_at_one_gateway(door, robot):
    """Replayed, stale, from the future, for another gateway, another key, another name, or by another key: refused."""
    name, key = robot
    session_key, now = make_key(), datetime.now(UTC)
    token = assertion(key, name, session_key, door.url, now)
    assert log_in(door, name, key, session_key=session_key, token=token).status_code == 201
    problem_of(log_in(door, name, key, session_key=session_key, token=token), 401, "signature_replayed")

    for seconds in (-300, 300):
        stale = assertion(key, name, session_key, door.url, now + timedelta(seconds=seconds))
        problem_of(log_in(door, name, key, session_key=session_key, token=stale), 401, "signature_expired")
    wrong = [
        assertion(key, name, session_key, "https://another.example", now),
        assertion(key, name, make_key(), door.url, now),
        assertion(key, "demo", session_key, door.url, now),
        assertion(make_key(), name, session_key, door.url, now),
        "a.b.c",
    ]
    answers = [log_in(door, name, key, session_key=session_key, token=each) for each in wrong]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {
        (403, "The name or the key is wrong.")
    }


def test_a_principal_has_no_password(door, admin, robot):
    """Neither an empty one nor any other is right; an administrator gives it neither one nor another role."""
    for verb, body in (("role", {"role": "admin"}), ("reset", {"password": True})):
        said = problem_of(admin.send("POST", f"/users/{robot[0]}/{verb}", body), 409, "conflict")
        assert "service principal" in said.detail
    for password in ("!", "x" * 12):
        facts = {"user": robot[0], "password": password, "public_key": public_jwk(make_key())}
        problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "not_allowed")


def test_keys_are_rotated_without_a_gap_and_removed_for_ever(door, leader, robot):
    """The new key works beside the old; with the old one end the sessions that it began, and only those."""
    name, old = robot
    new = make_key()
    path = f"/principals/{name}/keys"
    assert leader.send("POST", path, {"public_key": public_jwk(new)}).status_code == 201
    one, other = (visitor(door, name, key) for key in (old, new))

    assert leader.send("DELETE", f"{path}/{thumbprint(old)}").status_code == 204

    problem_of(log_in(door, name, old), 403, "not_allowed")
    problem_of(one.send("GET", "/whoami"), 401, "signature_expired")
    assert other.send("GET", "/whoami").json()["role"] == "service"
    problem_of(leader.send("POST", path, {"public_key": public_jwk(old)}), 409, "conflict")

    assert leader.send("DELETE", f"/principals/{name}").status_code == 204
    problem_of(log_in(door, name, new), 403, "not_allowed")
    problem_of(other.send("GET", "/whoami"), 401, "signature_expired")
    problem_of(leader.send("DELETE", f"/principals/{name}"), 404, "not_found")


def visitor(door, name, key):
    """A principal that has logged in."""
    session_key = make_key()
    answer = log_in(door, name, key, session_key=session_key)
    assert answer.status_code == 201, answer.text
    return Visitor(door.http, Session.model_validate_json(answer.content), session_key)


def test_who_leads_a_project_manages_its_principals(door, leader, admin, robot):
    """Others neither see nor change them, a site's own is an administrator's, and nobody gives what they have not."""
    stranger, narrow = (new_person(door, f"p-{name}").log_in() for name in ("one", "two"))
    assert robot[0] in {one["name"] for one in leader.send("GET", "/principals").json()}
    assert stranger.send("GET", "/principals").json() == []
    problem_of(stranger.send("DELETE", f"/principals/{robot[0]}"), 404, "not_found")
    problem_of(add(stranger, "p-robot", make_key()), 403, "refused")
    problem_of(add(leader, "site-robot", make_key(), project=None), 403, "refused")
    assert add(admin, "site-robot", make_key(), project=None).json()["account"] == "site-robot"
    assert narrow.send("GET", "/principals").status_code == 200

    password = (door.settings.secrets_dir / "admin.password").read_text()
    key = make_key()
    facts = {"user": "admin", "password": password, "public_key": public_jwk(key), "scopes": ["people:write"]}
    session = Session.model_validate_json(door.http.post(f"{API}/sessions", json=facts).content)
    refused = add(Visitor(door.http, session, key), "escalated", make_key(), project=None)
    assert "jobs:read" in problem_of(refused, 403, "refused").detail


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    """And one that is there is never overwritten; what holds no key is said to hold none."""
    file = tmp_path / "robot.key"
    client.make_key_file(file)
    with pytest.raises(InvalidRequest, match="is there already"):
        client.make_key_file(file)
    file.chmod(0o640)
    with pytest.raises(SetupError, match="others can read"):
        client.read_key_file(file)
    file.chmod(0o600)
    file.write_text("no key")
    with pytest.raises(SetupError, match="holds no key"):
        client.read_key_file(file)


def test_the_commands(door, leader, tmp_path, monkeypatch, capsys):
    """new-key, add, login with the key, sessions, remove: as a person types them."""
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "leader"))
    monkeypatch.chdir(tmp_path)
    key = {name: str(leader.key.as_dict(private=True)[name]) for name in ("kty", "crv", "x", "d")}
    saved = client.profile_of(door.url, leader.key, leader.session)
    ClientSession(replace(saved, key=key)).save()
    added = ["add", "climate-cli", "--project", "climate", "--scope", "jobs:read", "--public-key", "cli.key.pub"]

    def burst(*words):
        code = run(list(words))
        seen = capsys.readouterr()
        assert code == 0, seen.err
        return seen.out

    burst("principals", "new-key", "cli.key")
    assert "climate-cli" in burst("principals", *added)
    assert "climate-cli" in burst("principals")
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "robot"))
    burst("login", door.url, "--key-file", "cli.key", "--user", "climate-cli")
    who = burst("whoami")
    assert "climate-cli (service)" in who
    assert "jobs:read" in who
    assert run(["sessions"]) != 0
    assert "people:read" in capsys.readouterr().err
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "leader"))
    listed = json.loads(burst("sessions", "--json"))
    assert [one["id"] for one in listed if one["current"]] == [leader.session.id]
    assert leader.session.id in burst("sessions", "list")
    burst("principals", "remove", "climate-cli")
    assert run(["principals", "add", "Bad Name", "--scope", "jobs:read", "--public-key", "cli.key.pub"]) == 2
    assert run(["login", door.url, "--key-file", "cli.key"]) == 2
    assert run(["login", door.url, "--user", "leader", "--scope", "jobs:rule"]) != 0
    assert "there are jobs:read" in capsys.readouterr().err
    assert run(["sessions", "end"]) == 2


def test_an_ended_session_of_a_principal_stays_ended(door, robot):
    """A session that was ended signs nothing; the client says so, and a new login is a new session."""
    name, key = robot
    one = visitor(door, name, key)
    assert one.send("DELETE", "/sessions/current").status_code == 204
    problem_of(one.send("GET", "/whoami"), 401, "signature_expired")
    assert visitor(door, name, key).send("GET", "/whoami").status_code == 200


def test_a_principal_that_nobody_registered(door, tmp_path):
    """The client says what to look at, and never the key."""
    file = tmp_path / "k"
    client.make_key_file(file)
    started = time.monotonic()
    with pytest.raises(NotAllowed, match="name or the key"):
        client.login(door.url, "climate-nobody", file)
    assert time.monotonic() - started < 30
