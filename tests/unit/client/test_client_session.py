"""Sessions: signed requests, retries, and errors that come back as what they were."""

from __future__ import annotations

import json

import pytest
import time_machine
from stub_gateway import PASSWORD, job_view, problem

from gateway import wire
from gateway.client.problems import classes, from_problem
from gateway.client.session import Session
from gateway.errors import BurstError, GatewayUnavailable, NotAllowed, NotFound, OptionError, ScriptError


def test_login_sends_no_private_key(stub, session):
    """The gateway sees the public half only; the private half stays in the profile."""
    sent = stub.requests("POST /api/v1/sessions")[0].json
    assert set(sent["public_key"]) == {"kty", "crv", "x"}
    assert session.profile.key["d"] not in json.dumps(sent)


def test_a_wrong_password_is_refused(stub):
    """The gateway's refusal arrives as the error that it raised."""
    with pytest.raises(NotAllowed) as caught:
        Session.login(stub.url, "demo", "wrong")
    assert caught.value.hint == "check both"


def test_requests_are_signed_as_they_are_sent(stub, session):
    """The stub verifies method, path with query, body and audience: a signature of anything else would be refused."""
    stub.on("GET /api/v1/jobs?limit=3", (200, {"jobs": [], "next": None}))
    assert session.get("/jobs", wire.JobPage, limit=3).jobs == ()


def test_a_saved_login_is_used_again(stub, session):
    """What login saved signs the requests of a later process."""
    session.save()
    stub.on("GET /api/v1/jobs/7", (200, job_view()))
    with Session.saved() as later:
        assert later.get("/jobs/7", wire.JobView).id == 7


def test_an_expired_login_is_said_before_anything_is_sent(stub, session):
    """Past its end a session is not even tried."""
    session.save()
    seen = len(stub.seen)
    with time_machine.travel(session.profile.expires_at), pytest.raises(NotAllowed, match="ended at"):
        Session.saved()
    assert len(stub.seen) == seen


def test_a_lost_reply_is_asked_for_again_under_a_new_signature(stub, session):
    """Each try has a nonce of its own, so that a retry is no replay."""
    stub.on("GET /api/v1/jobs/7", (200, job_view()))
    stub.drop_next = 2
    assert session.get("/jobs/7", wire.JobView).id == 7
    tokens = [one.headers["authorization"] for one in stub.requests("GET /api/v1/jobs/7")]
    assert len(tokens) == len(set(tokens)) == 3


def test_503_is_tried_again(stub, session):
    """A gateway that waits for its Slurm is asked again."""
    unavailable = problem("scheduler_unavailable", 503, "no slurmctld", retryable=True)
    stub.on("GET /api/v1/jobs/7", (503, unavailable), (200, job_view()))
    assert session.get("/jobs/7", wire.JobView).id == 7


def test_what_must_happen_once_is_not_repeated(stub, session):
    """A request that is not safe is sent once when it may have arrived."""
    stub.drop_next = 1
    with pytest.raises(GatewayUnavailable):
        session.request("POST", "/accounts/demo/credits", wire.CreditRequest(amount_ucr=1, memo="m"), safe=False)
    assert len(stub.requests("POST /api/v1/accounts/demo/credits")) == 1


def test_nobody_answers(stub, session):
    """After its patience a request ends with where it was sent and what to do."""
    session.patience_s = 0.3
    stub.drop_next = 100
    with pytest.raises(GatewayUnavailable) as caught:
        session.get("/jobs/7", wire.JobView)
    assert stub.url in caught.value.detail
    assert "burst up" in caught.value.hint


def test_logout_forgets_the_key_even_if_the_gateway_objects(stub, session):
    """A session that the gateway no longer knows is still removed here."""
    session.save()
    with pytest.raises(NotFound):
        session.logout()
    with pytest.raises(NotAllowed):
        Session.saved()


@pytest.mark.parametrize("answer", ["<html>", {"jobs": 3}])
def test_an_answer_of_something_else_is_no_traceback(stub, session, answer):
    """What is not a gateway's answer is said so."""
    stub.on("GET /api/v1/jobs", (200, answer))
    with pytest.raises(BurstError, match="not a gateway's"):
        session.get("/jobs", wire.JobPage)


@pytest.mark.parametrize("code", sorted(classes()))
def test_every_error_comes_back_as_itself(code):
    """Each code of the tree is rebuilt as its own class, with detail, hint and field."""
    given = wire.Problem.model_validate(problem(code, 400, "what", hint="next", field="f"))
    error = from_problem(given)
    assert type(error) is classes()[code]
    assert (error.detail, error.hint, error.field) == ("what", "next", "f")


def test_places_and_exit_codes_come_back():
    """A script's line and sbatch's exit codes survive the journey, 0 included."""
    script = from_problem(wire.Problem.model_validate(problem("invalid_script", 422, "d", line=3, exit_code=1)))
    assert isinstance(script, ScriptError)
    assert (script.line, script.exit_code) == (3, 1)
    option = from_problem(wire.Problem.model_validate(problem("invalid_option", 422, "d", exit_code=0)))
    assert isinstance(option, OptionError)
    assert option.exit_code == 0


def test_an_unknown_code_keeps_its_text():
    """A newer gateway's error is shown all the same."""
    assert from_problem(wire.Problem.model_validate(problem("new", 400, "text"))).detail == "text"


def test_the_password_is_in_no_profile(stub, session, tmp_path):
    """The password is used once and kept nowhere."""
    session.save()
    assert all(PASSWORD not in path.read_text() for path in tmp_path.rglob("*.json"))
