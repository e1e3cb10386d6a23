"""Sessions: their users see them and end them; what was signed before the end stays evidence, and only that."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from http_door import API, problem_of
from logins import Person, Web, new_person

from gateway.errors import BadSignature
from gateway.identity.assertion import assertion
from gateway.identity.evidence import Evidence, verify_evidence
from gateway.identity.keys import make_key, public_jwk, read_public
from gateway.identity.signature import sign_request, verify_request
from gateway.storage.database import Database
from gateway.storage.group_tables import audit_records
from gateway.storage.tables import evidence, sessions
from gateway.storage.work import SqlWork

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def person(door):
    """A user of these tests' own."""
    return new_person(door, "sessioner")


@contextmanager
def stored(door):
    """What the gateway has stored."""
    database = Database(door.settings.database_url)
    try:
        with database.read() as connection:
            yield connection
    finally:
        database.close()


def database_files(door):
    """The database's files, with what was not yet written back."""
    path = Path(door.settings.database_url.removeprefix("sqlite:///"))
    return [file for file in path.parent.glob(f"{path.name}*") if file.is_file()]


def ids(visitor):
    """The logins that are listed."""
    return {one["id"] for one in visitor.send("GET", "/sessions").json()}


def test_f04_the_key_stays_in_the_client_and_its_session_can_be_ended(door, person):
    """F04: only the public half is stored; an end needs a signature; after it 401, what was before stays verifiable."""
    visitor = person.log_in()
    private = visitor.key.as_dict(private=True)["d"]
    job = visitor.submit("#!/bin/sh\n#SBATCH --time=1 --hold\ntrue\n").json()["id"]

    assert door.http.delete(f"{API}/sessions/{visitor.session.id}").status_code == 401
    assert visitor.send("GET", "/whoami").status_code == 200
    assert visitor.send("DELETE", f"/sessions/{visitor.session.id}").status_code == 204

    problem_of(visitor.send("GET", "/whoami"), 401, "signature_expired")
    problem_of(visitor.submit(), 401, "signature_expired")
    with stored(door) as connection:
        (row,) = connection.execute(sessions.select().where(sessions.c.id == visitor.session.id))
        kept = connection.execute(evidence.select().where(evidence.c.kid == visitor.session.id)).mappings().all()
        proofs = [SqlWork(connection).evidence.get(one["digest"]) for one in kept]
    assert row.public_key == public_jwk(visitor.key)
    for file in database_files(door):
        assert private.encode() not in file.read_bytes()
    said = [verify_evidence(proof, visitor.session.audience) for proof in proofs]
    assert {"/api/v1/jobs", f"/api/v1/sessions/{visitor.session.id}"} <= {claims.path for claims in said}
    person.log_in().send("POST", f"/jobs/{job}/cancel")


def test_w07_signatures_after_a_logout_fail_and_those_before_it_hold(door, person):
    """W7: a verifier that forgets ended sessions loses its evidence, and one whose check never runs takes new ones."""
    key, before = make_key(), datetime.now(UTC)
    token = sign_request(key, "kid", "POST", "/x", b"{}", "aud", before)
    naive_live = {"kid": key}

    def naive(late_token, now):
        """Ended sessions cannot be looked up; the check of the time is swallowed by its own error."""
        known = naive_live.get("kid")
        if known is None:
            raise BadSignature("unknown session")
        with suppress(NameError):
            assert now <= string_to_datetime("revoked")  # noqa: F821 - never imported: the check that never ran
        how = {"method": "POST", "path": "/x", "body": b"{}", "audience": "aud", "now": now}
        return verify_request(late_token, known, **how)

    after = before + timedelta(seconds=30)
    late = sign_request(key, "kid", "POST", "/x", b"{}", "aud", after)
    assert naive(late, after)  # logged out at ``before``, and signs on
    naive_live.clear()
    with pytest.raises(BadSignature):
        naive(token, before)  # and what was signed in time cannot be verified any more

    visitor = person.log_in()
    assert visitor.send("POST", "/accounts/sessioner/budget", {"limit_ucr": 9}).status_code == 200
    visitor.send("DELETE", "/sessions/current")
    problem_of(visitor.send("POST", "/accounts/sessioner/budget", {"limit_ucr": 8}), 401, "signature_expired")
    with stored(door) as connection:
        kept = SqlWork(connection)
        query = evidence.select().where(evidence.c.kid == visitor.session.id, evidence.c.path.contains("budget"))
        (row,) = connection.execute(query).mappings()
        session = kept.sessions.get(visitor.session.id)
        claims = verify_evidence(kept.evidence.get(row["digest"]), visitor.session.audience)
    assert session.revoked_at is not None
    assert claims.issued_at <= session.revoked_at
    with pytest.raises(BadSignature):
        verify_evidence(replace(kept_evidence(row), body=b'{"limit_ucr": 8}'), visitor.session.audience)


def kept_evidence(row):
    """A row as evidence."""
    return Evidence(**row)


def test_w08_ending_a_session_needs_a_signature(door, person):
    """W8: a logout by the session's name alone ends anybody's; here it takes a signature by its user or an admin."""
    naive_sessions = {"victims-session": "live"}

    def naive_logout(session_id):
        """Whoever knows the name."""
        naive_sessions[session_id] = "logged_out"

    naive_logout("victims-session")
    assert naive_sessions == {"victims-session": "logged_out"}

    victim, stranger = person.log_in(), new_person(door, "w08-stranger").log_in()
    path = f"/sessions/{victim.session.id}"
    for answer in (
        door.http.delete(API + path),
        door.http.delete(f"{API}/sessions/current"),
        door.http.delete(f"{API}/sessions"),
        door.http.request("DELETE", API + path, headers={"Authorization": f"Burst {victim.session.certificate}"}),
        victim.http.delete(API + path, headers={"Authorization": victim.sign("DELETE", API + path, key=make_key())}),
    ):
        problem_of(answer, 401, "bad_signature")
    gone = stranger.send("DELETE", "/sessions/0123456789abcdefghijkl")
    other = stranger.send("DELETE", path)
    problem_of(other, 404, "not_found")
    assert other.text == gone.text.replace("0123456789abcdefghijkl", victim.session.id)
    assert victim.send("GET", "/whoami").status_code == 200


def test_logins_are_listed_with_what_they_are(person):
    """How, from which computer and address, since when, last used, until when, what they may; this one is marked."""
    one, other = person.log_in(host="laptop"), person.log_in("people:read", host="cluster")

    found = {each["id"]: each for each in other.send("GET", "/sessions").json()}

    mine, first = found[other.session.id], found[one.session.id]
    assert (mine["current"], first["current"]) == (True, False)
    assert (mine["host"], mine["how"], mine["scopes"]) == ("cluster", "password", ["people:read"])
    assert (first["host"], first["address"], first["used_at"]) == ("laptop", "127.0.0.1", None)
    assert mine["used_at"]
    assert first["since"] < first["expires_at"]


def test_others_are_ended_in_one_step(door):
    """All but the one that signs; a browser's cookie ends with its session and without one; all is told in the log."""
    person = new_person(door, "ender")
    one, two, keyless = person.log_in(), person.log_in(), person.browse()
    key = make_key()
    keyed = Web.at(door)
    keyed.sign_in(person.name, person.password, "/web/jobs", public_key=json.dumps(public_jwk(key)))
    assert (keyed.http.get("/web/jobs").status_code, keyless.http.get("/web/jobs").status_code) == (200, 200)
    assert len(ids(one)) == 4

    assert one.send("DELETE", "/sessions?others=true").json() == {"ended": 3}

    assert ids(one) == {one.session.id}
    problem_of(two.send("GET", "/whoami"), 401, "signature_expired")
    assert [web.http.get("/web/jobs").status_code for web in (keyed, keyless)] == [303, 303]
    with stored(door) as connection:
        query = audit_records.select().where(audit_records.c.actor == person.name).order_by(audit_records.c.seq)
        told = [(row.action, row.subject, row.authorisation) for row in connection.execute(query)]
    (proof,) = [digest for action, subject, digest in told if subject == f"session:{two.session.id}" and digest]
    assert proof
    assert ("login", f"session:{one.session.id}", None) in told


def test_one_browser_without_a_key_is_ended_by_its_name(door):
    """It is listed as one that only looks, and its cookie ends at once."""
    person = new_person(door, "keyless")
    visitor, web = person.log_in(), person.browse()
    (name,) = ids(visitor) - {visitor.session.id}

    assert visitor.send("DELETE", f"/sessions/{name}").status_code == 204

    assert web.http.get("/web/jobs").status_code == 303
    problem_of(visitor.send("DELETE", f"/sessions/{name}"), 404, "not_found")


def test_an_administrator_sees_and_ends_anybodys(door, admin, person):
    """Others are refused, for a user that exists as for one that does not."""
    visitor = person.log_in()
    listed = {one["id"] for one in admin.send("GET", f"/sessions?user={person.name}").json()}

    assert visitor.session.id in listed
    answers = [visitor.send("GET", f"/sessions?user={name}") for name in ("demo", "nobody-here")]
    assert {problem_of(answer, 403, "refused").detail for answer in answers} == {"sessioner may not see these logins."}
    assert admin.send("DELETE", f"/sessions/{visitor.session.id}").status_code == 204
    problem_of(visitor.send("GET", "/whoami"), 401, "signature_expired")


def test_the_page_shows_the_same_logins(person):
    """Each with its computer and what it may; what ends one is a signed request, so there is no form."""
    person.log_in("jobs:read", host="cluster-7")
    page = person.browse("/web/sessions").http.get("/web/sessions")

    assert page.status_code == 200
    assert "cluster-7" in page.text
    assert "jobs:read" in page.text
    assert 'data-end="/api/v1/sessions?others=true"' in page.text
    assert page.text.count("<form") == 1  # sign out


def test_refused_logins_do_not_say_whether_a_user_exists(door):
    """Password, principal's key, device: status, body and headers are alike for who is there and who is not."""
    key, absent = public_jwk(make_key()), "nobody-at-all"
    present = new_person(door, "somebody-ok").name
    assert read_public(key)

    def refused(path, **facts):
        answer = door.http.post(API + path, json=facts)
        kept = {name: value for name, value in answer.headers.items() if name not in {"date", "content-length"}}
        return answer.status_code, answer.text, kept

    pairs = [
        [refused("/sessions", user=name, password="wrong", public_key=key) for name in (present, absent)],
        [
            refused("/principals/login", assertion=unregistered(name, door), public_key=key)
            for name in (present, absent)
        ],
        [refused("/device/token", device_code=code) for code in ("x" * 43, "y" * 43)],
    ]
    for one, other in pairs:
        assert one == other
        assert one[0] in {401, 403, 404}


def unregistered(name, door):
    """An assertion by a key that nobody registered."""
    return assertion(make_key(), name, make_key(), door.url, datetime.now(UTC))


def test_guessing_is_limited(door):
    """Five wrong passwords for one name, and a sixth try has to wait, however right it is."""
    person = new_person(door, "guessed-at")
    wrong = Person(door, person.name, "wrong")
    facts = {"user": wrong.name, "password": wrong.password, "public_key": public_jwk(make_key())}
    statuses = [door.http.post(f"{API}/sessions", json=facts).status_code for _ in range(5)]

    last = door.http.post(f"{API}/sessions", json={**facts, "password": person.password})

    assert statuses == [403] * 5
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) > 0
