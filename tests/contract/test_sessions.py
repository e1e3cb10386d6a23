"""Who is asking: logins, signed requests, replays, evidence and idempotency on every database."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import (
    BadSignature,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    SignatureExpired,
    SignatureReplayed,
)
from gateway.identity.authenticate import Caller, Request, Verifier
from gateway.identity.evidence import verify_evidence
from gateway.identity.join import node_kid
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.passwords import hash_password
from gateway.identity.sessions import Session, check_password, new_session
from gateway.identity.signature import sign_request
from gateway.identity.users import Role, User
from gateway.storage.database import Database
from gateway.storage.identity import (
    Answer,
    SqlEvidence,
    SqlIdempotency,
    SqlNonces,
    SqlSessions,
    SqlUsers,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PASSWORD = "correct horse battery"
PASSWORD_HASH = hash_password(PASSWORD)
KEY = make_key()
VERIFIER = Verifier("burst", skew_s=60)
PATH = "/api/v1/jobs"


@pytest.fixture
def known(database):
    """A database that knows ada."""
    with database.begin() as connection:
        SqlUsers(connection).add(User("ada", Role.USER, "ada"), PASSWORD_HASH, NOW)
    return database


def log_in(database: Database, name: str = "ada", password: str = PASSWORD, **members: str) -> Session:
    with database.begin() as connection:
        user = check_password(SqlUsers(connection), name, password)
        session = new_session(user, {**public_jwk(KEY), **members}, NOW, timedelta(hours=12))
        SqlSessions(connection).add(session)
    return session


def signed(session: Session, body: bytes = b"{}", method: str = "POST", now: datetime = NOW) -> Request:
    token = sign_request(KEY, session.id, method, PATH, body, "burst", now)
    return Request(method, PATH, body, f"Burst {token}")


def receive(database: Database, request: Request, now: datetime = NOW) -> Caller:
    def work(connection):
        stores = SqlSessions(connection), SqlUsers(connection), SqlNonces(connection)
        return VERIFIER.user(request, *stores, now)

    return database.transact(work)


def test_a_login_makes_a_session_that_signs(known):
    """The password certifies a key; requests signed with it are ada's."""
    session = log_in(known)

    caller = receive(known, signed(session))

    assert (caller.user.name, caller.session) == ("ada", session)


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("eve", PASSWORD), ("ada", "")])
def test_a_wrong_login_is_refused_in_the_same_words(known, name, password):
    """A wrong name cannot be told from a wrong password, and no session is made."""
    with pytest.raises(NotAllowed, match=r"The user name or the password is wrong\."):
        log_in(known, name, password)


@pytest.mark.parametrize("members", [{"kty": "RSA"}, {"crv": "X25519"}, {"d": "c2VjcmV0"}, {"x": "AAAA"}, {"x": "!"}])
def test_a_login_takes_only_a_public_ed25519_key(known, members):
    """Another kind of key, a private one and a broken one are refused, naming the field."""
    with pytest.raises(InvalidRequest) as refused:
        log_in(known, **members)
    assert refused.value.field == "public_key"


def test_a_user_name_is_taken_once(known):
    """A second ada is a conflict; ada's password is still ada's."""
    with known.begin() as connection, pytest.raises(Conflict):
        SqlUsers(connection).add(User("ada", Role.ADMIN, "x"), hash_password("another password"), NOW)
    log_in(known)


def test_a_session_ends_at_its_time(known):
    """Twelve hours later its signatures are refused, with the way out."""
    session = log_in(known)
    late = NOW + timedelta(hours=12)

    with pytest.raises(SignatureExpired, match="session expired") as refused:
        receive(known, signed(session, now=late), late)
    assert "burst login" in str(refused.value.hint)


def test_a_revoked_session_signs_no_more_but_its_past_stays_verifiable(known):
    """After a logout new requests are refused; what it signed before still verifies from the evidence."""
    session = log_in(known)
    before = receive(known, signed(session, b'{"script":"x"}'))
    with known.begin() as connection:
        SqlEvidence(connection).keep(before.evidence)
        SqlSessions(connection).revoke(session.id, NOW + timedelta(seconds=10))
        SqlSessions(connection).revoke(session.id, NOW + timedelta(seconds=20))

    later = NOW + timedelta(seconds=11)
    with pytest.raises(SignatureExpired, match="was ended"):
        receive(known, signed(session, now=later), later)
    with known.read() as connection:
        assert SqlSessions(connection).get(session.id).revoked_at == NOW + timedelta(seconds=10)
        assert verify_evidence(SqlEvidence(connection).get(before.claims.digest), "burst") == before.claims


def test_evidence_for_another_body_does_not_verify(known):
    """Whoever edits the kept body breaks the proof."""
    evidence = receive(known, signed(log_in(known))).evidence

    with pytest.raises(BadSignature, match="another body"):
        verify_evidence(replace(evidence, body=b'{"nodes":64}'), "burst")


def test_an_unknown_session_is_a_bad_signature(known):
    """A key that the gateway never certified."""
    ghost = Session("ghost", "ada", public_jwk(KEY), NOW, NOW + timedelta(hours=1))

    with pytest.raises(BadSignature, match="does not know this session"):
        receive(known, signed(ghost))


def test_a_signed_request_is_good_once(known):
    """The second use of the same token is a replay, also when the first one's work failed."""
    request = signed(log_in(known))
    receive(known, request)

    with pytest.raises(SignatureReplayed):
        receive(known, request)


def test_reading_may_be_repeated(known):
    """GET changes nothing, so its signature may be used again while it is fresh."""
    request = signed(log_in(known), b"", "GET")

    assert receive(known, request).user == receive(known, request).user


def test_of_fifty_uses_at_once_one_passes(known):
    """Fifty threads send the same signed request; exactly one is let through."""
    request = signed(log_in(known))
    outcomes: list[str] = []
    ready = threading.Barrier(50)

    def send() -> None:
        ready.wait()
        try:
            receive(known, request)
            outcomes.append("passed")
        except SignatureReplayed:
            outcomes.append("replayed")

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["passed"] + ["replayed"] * 49


def test_a_bad_request_does_not_use_up_the_nonce(known):
    """Somebody who saw the token and sends it with another body spoils nothing."""
    request = signed(log_in(known))

    with pytest.raises(BadSignature):
        receive(known, replace(request, body=b"other"))
    receive(known, request)


def test_nonces_are_forgotten_only_after_their_signatures_are_dead(known):
    """A replay is refused for as long as the clock check would let it pass."""
    request = signed(log_in(known))
    receive(known, request)
    last = NOW + timedelta(seconds=119)
    with known.begin() as connection:
        assert SqlNonces(connection).forget(last) == 0

    with pytest.raises(SignatureReplayed):
        receive(known, request, last)
    with known.begin() as connection:
        assert SqlNonces(connection).forget(NOW + timedelta(hours=1)) == 1


def test_a_node_signs_as_its_present_generation_only(known):
    """The machine that a node had before is not the node any more."""
    key = make_key()

    def send(generation: int) -> str:
        kid = node_kid("small-1", generation)
        token = sign_request(key, kid, "POST", PATH, b"", "burst", NOW)
        with known.begin() as connection:
            request = Request("POST", PATH, b"", f"Burst {token}")
            return VERIFIER.node(request, lambda _: (2, public_jwk(key)), SqlNonces(connection), NOW)

    assert send(2) == "small-1"
    with pytest.raises(BadSignature, match="not one of the gateway's any more"):
        send(1)


def test_a_node_that_has_not_joined_cannot_sign(known):
    """Without a public key there is nothing that it could be verified with."""
    token = sign_request(make_key(), node_kid("small-1", 1), "POST", PATH, b"", "burst", NOW)

    with pytest.raises(BadSignature), known.begin() as connection:
        VERIFIER.node(Request("POST", PATH, b"", f"Burst {token}"), lambda _: (1, None), SqlNonces(connection), NOW)


def test_a_user_cannot_pass_as_a_node(known):
    """A session's id is no node's key id."""
    request = signed(log_in(known))

    with pytest.raises(BadSignature, match="not a node's"), known.begin() as connection:
        VERIFIER.node(request, lambda _: (1, public_jwk(make_key())), SqlNonces(connection), NOW)


def test_the_same_key_answers_the_same(known):
    """A repeated request with its Idempotency-Key gets the first answer; with another body it is a conflict."""
    answer = Answer(201, {"id": 12})
    with known.begin() as connection:
        kept = SqlIdempotency(connection)
        assert kept.answered("ada", "k1", b"body") is None
        kept.keep("ada", "k1", b"body", answer, NOW)

        assert kept.answered("ada", "k1", b"body") == answer
        assert kept.answered("eve", "k1", b"body") is None
        with pytest.raises(Conflict):
            kept.answered("ada", "k1", b"another body")
        with pytest.raises(Conflict):
            kept.keep("ada", "k1", b"body", answer, NOW)
        assert kept.forget(NOW + timedelta(hours=25)) == 1


def test_what_is_not_there_is_said_to_be_missing(known):
    """An unknown user, and evidence of an unknown digest."""
    with known.read() as connection:
        with pytest.raises(NotFound):
            SqlUsers(connection).get("eve")
        with pytest.raises(NotFound):
            SqlEvidence(connection).get("0" * 64)
