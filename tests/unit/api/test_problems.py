"""Errors as problem documents: each has a status, and what is none of ours tells nothing of its cause."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway import errors
from gateway.api import problems
from gateway.api.body_limit import BodyLimit

JSON = {"Content-Type": "application/json"}


def every_error() -> list[type[errors.BurstError]]:
    """All classes of the tree."""
    found, border = [], [errors.BurstError]
    while border:
        found += border
        border = [child for parent in border for child in parent.__subclasses__()]
    return [kind for kind in found if kind.__module__ == errors.__name__]


def raised(kind: type[errors.BurstError]) -> errors.BurstError:
    """An error of this class."""
    return kind("what went wrong")


@pytest.fixture
def client():
    """An app whose endpoints fail as their path says."""
    app = FastAPI()
    app.add_middleware(BodyLimit, most=10)
    problems.install(app)

    @app.get("/fail/{name}")
    def fail(name: str) -> None:
        raise {"ours": errors.Refused("no", hint="ask"), "bug": RuntimeError("the password is hunter2")}[name]

    @app.post("/body")
    def body(document: dict[str, int]) -> int:
        return len(document)

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_and_its_code(kind):
    """The status says whose fault it is, and a retry is only promised where one can help."""
    problem = problems.problem_of(raised(kind))

    assert 400 <= problem.status < 600
    assert (problem.code, problem.retryable) == (kind.code, kind.retryable)
    assert problem.status >= 500 or not problem.retryable
    assert problem.detail == "what went wrong"


def test_codes_are_of_one_class_each():
    """A program that reads the code knows what happened."""
    codes = [kind.code for kind in every_error()]

    assert len(codes) == len(set(codes))


def test_the_line_of_a_script_is_told():
    """With sbatch's own exit code."""
    problem = problems.problem_of(errors.ScriptError("bad", line=3, exit_code=255, hint="mend it"))

    assert (problem.line, problem.exit_code, problem.hint) == (3, 255, "mend it")


def test_our_errors_are_answered_in_full(client):
    """Detail and hint reach the caller."""
    answer = client.get("/fail/ours")

    assert (answer.status_code, answer.json()["detail"], answer.json()["hint"]) == (403, "no", "ask")


def test_a_bug_tells_nothing_of_its_cause(client):
    """Neither its text nor its place; that is for the log."""
    answer = client.get("/fail/bug")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert "hunter2" not in answer.text
    assert answer.json()["hint"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(client, announced):
    """Whether its length was announced or not; up to the limit it is read."""
    content = b'{"a": 1234}' if announced else iter([b'{"a":', b" 1234}"])

    assert client.post("/body", content=b'{"a": 123}', headers=JSON).status_code == 200
    answer = client.post("/body", content=content, headers=JSON)

    assert (answer.status_code, answer.headers["content-type"]) == (413, problems.MEDIA_TYPE)
