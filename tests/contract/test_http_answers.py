"""What the door answers: views as ``gateway.wire`` has them, and refusals that name what is at fault."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_door import API, SCRIPT, problem_of
from pydantic import TypeAdapter

from gateway import wire
from gateway.api.app import MAX_BODY_BYTES
from gateway.settings import CREDIT

TOO_LONG = "Pathname of a file, directory or other parameter too long"
SLEEPER = "#!/bin/sh\n#SBATCH --time=1 --hold\ntrue\n"
"""Slurm holds it, so that it costs no node and stands still."""


def read(answer, model, status=200):
    """The answer, which must be one of ``model`` and of nothing more."""
    assert answer.status_code == status, answer.text
    adapter = TypeAdapter(model)
    view = adapter.validate_json(answer.content)
    assert json.loads(adapter.dump_json(view)) == answer.json()
    return view


@pytest.fixture(scope="module")
def held(demo):
    """A job of the demo user that waits in Slurm; cancelled at the end."""
    job = read(demo.submit(SLEEPER), wire.JobView, 201)
    yield job
    demo.send("POST", f"/jobs/{job.id}/cancel")


def test_whoami_says_whose_session_it_is(demo):
    """User, role, account and end of the session."""
    identity = read(demo.send("GET", "/whoami"), wire.Identity)

    assert (identity.user, identity.role, identity.session) == ("demo", "user", demo.session.id)


def test_a_quote_prices_a_job_and_creates_nothing(demo):
    """Offer, lines and total, and no job appears for it."""
    before = read(demo.send("GET", "/jobs"), wire.JobPage)

    quote = read(demo.send("POST", "/quotes", {"script": SCRIPT}), wire.Quote)

    assert quote.total_ucr == sum(line.amount_ucr for line in quote.lines) > 0
    assert read(demo.send("GET", "/jobs"), wire.JobPage) == before


def test_a_submitted_job_is_answered_whole(demo, held):
    """It has Slurm's id, and is found by it, by a task's name and by its own id, with its timeline."""
    views = [read(demo.send("GET", f"/jobs/{name}"), wire.JobView) for name in (held.id, f"{held.id}_3", held.burst_id)]

    assert held.id
    assert {view.burst_id for view in views} == {held.burst_id}
    assert [event.kind for event in views[0].timeline][:5] == [
        "submitted",
        "authorised",
        "quoted",
        "funded",
        "staged-in",
    ]


def test_pages_of_jobs_follow_each_other(demo, held):
    """Newest first, each job once, until there is no next page."""
    made = [read(demo.submit(SLEEPER), wire.JobView, 201) for _ in range(3)]
    seen, cursor = [], ""
    while cursor is not None:
        page = read(demo.send("GET", f"/jobs?limit=2{cursor and f'&cursor={cursor}'}"), wire.JobPage)
        assert len(page.jobs) <= 2
        seen, cursor = [*seen, *page.jobs], page.next
    for job in made:
        demo.send("POST", f"/jobs/{job.id}/cancel")

    assert [job.id for job in seen][:3] == [job.id for job in reversed(made)]
    assert len({job.burst_id for job in seen}) == len(seen)


@pytest.mark.parametrize(
    ("path", "model"),
    [("/nodes", list[wire.NodeView]), ("/offers", list[wire.OfferView]), ("/balance", list[wire.Balance])],
)
def test_lists_are_what_the_wire_says(demo, path, model):
    """Each view is whole and has nothing besides."""
    read(demo.send("GET", path), model)


def test_a_user_sees_the_own_account_and_an_admin_all(demo, admin, stranger):
    """Balances of others are not told."""
    mine = {one.account for one in read(demo.send("GET", "/balance"), list[wire.Balance])}
    all_of_them = {one.account for one in read(admin.send("GET", "/balance"), list[wire.Balance])}

    assert mine == {"demo"}
    assert all_of_them >= {"demo", "stranger", "admin"}


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("POST", "/cancel"), ("GET", "/outputs"), ("GET", "/logs"), ("GET", "/receipt")],
)
def test_a_job_of_somebody_else_is_not_there(stranger, held, method, rest):
    """A stranger gets the very answer that a job gets which does not exist."""
    foreign = problem_of(stranger.send(method, f"/jobs/{held.id}{rest}"), 404, "not_found")
    absent = problem_of(stranger.send(method, f"/jobs/4000000000{rest}"), 404, "not_found")

    assert foreign.detail.replace(str(held.id), "") == absent.detail.replace("4000000000", "")


def test_an_admin_may_see_and_cancel_it(admin, demo):
    """An administrator acts for the owner."""
    job = read(demo.submit(SLEEPER), wire.JobView, 201)

    assert read(admin.send("POST", f"/jobs/{job.id}/cancel"), wire.JobView).burst_id == job.burst_id
    timeline = read(demo.send("GET", f"/jobs/{job.id}"), wire.JobView).timeline
    assert "admin cancelled it" in [event.text for event in timeline]


@pytest.mark.parametrize("name", ["0", "12_", "12_x", "x", "%00", "..%2Fadmin", "9" * 40, "12%20", "\u0661\u0662"])
def test_what_is_no_job_is_not_found(demo, name):
    """Names that nothing can have are refused like jobs that are not there."""
    answer = demo.send("GET", f"/jobs/{name.encode('idna').decode() if not name.isascii() else name}")

    problem_of(answer, 404, "not_found")


def test_only_an_admin_gives_credit(demo, admin):
    """A user who tries is told who may."""
    gift = {"amount_ucr": CREDIT, "memo": "for me"}

    problem = problem_of(demo.send("POST", "/accounts/demo/credits", gift), 403, "refused")
    # No job is paid from the administrator's own account: demo's may be settled meanwhile.
    before = {one.account: one for one in read(admin.send("GET", "/balance"), list[wire.Balance])}["admin"]
    after = read(admin.send("POST", "/accounts/admin/credits", gift), wire.Balance)

    assert "administrator" in problem.hint
    assert after.available_ucr == before.available_ucr + CREDIT


@pytest.mark.parametrize("amount", [0, -1, 2**63, 10**30, 1.5, "many", None])
def test_an_amount_that_is_none_is_refused_by_name(admin, amount):
    """Credits are whole, positive and not absurd."""
    answer = admin.send("POST", "/accounts/demo/credits", {"amount_ucr": amount, "memo": "x"})

    assert problem_of(answer, 422, "invalid_request").field == "amount_ucr"


def test_an_account_that_is_not_there_gets_no_credit(admin):
    """Nothing is opened by a slip of the finger."""
    answer = admin.send("POST", "/accounts/nobody-here/credits", {"amount_ucr": 1, "memo": "x"})

    problem_of(answer, 404, "not_found")


def test_credits_given_twice_under_one_key_are_given_once(admin):
    """A reply that was lost may be asked for again."""
    gift, key = {"amount_ucr": 7, "memo": "once"}, {"Idempotency-Key": "gift-0123456789"}

    first = read(admin.send("POST", "/accounts/demo/credits", gift, headers=key), wire.Balance)
    again = read(admin.send("POST", "/accounts/demo/credits", gift, headers=key), wire.Balance)

    assert again == first


@pytest.mark.parametrize(
    ("script", "code", "line"),
    [
        ("", "invalid_script", None),
        ("echo no interpreter\n", "invalid_script", 1),
        ("#!/bin/sh\n#SBATCH --no-such-option\n", None, 2),
        ("#!/bin/sh\n#SBATCH --time=soon\n", None, 2),
        ("#!/bin/sh\n#SBATCH --nodes=9999\n", "no_offer_fits", None),
    ],
)
def test_a_bad_script_is_refused_with_its_line(stranger, script, code, line):
    """What sbatch would refuse is refused before anything is created; no job of this user's can settle meanwhile."""
    before = read(stranger.send("GET", "/balance"), list[wire.Balance])

    answer = stranger.submit(script)

    problem = problem_of(answer, 422, code or answer.json()["code"])
    assert problem.line == line
    assert read(stranger.send("GET", "/balance"), list[wire.Balance]) == before


def test_a_job_that_its_account_cannot_fund_is_refused_with_the_figures(stranger):
    """Ten credits do not pay for a day on the largest machines."""
    answer = stranger.submit("#!/bin/sh\n#SBATCH --time=1-0 --gpus=2\n")

    assert "10 credits" in problem_of(answer, 402, "insufficient_funds").detail


def test_an_input_that_was_never_uploaded_is_refused(demo):
    """The line that asks for it is named."""
    body = b"never uploaded"
    file = {"source": "a", "destination": "a", "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}

    answer = demo.submit("#!/bin/sh\n#BURST --stage-in=a\ntrue\n", inputs=[file])

    problem_of(answer, 422, "input_missing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("script", None),
        ("script", 7),
        ("options", "--nodes=2"),
        ("environment.A", {"A": 1}),
        ("inputs.0.sha256", [{"source": "a", "destination": "a", "sha256": "zz", "size": 1}]),
        ("inputs.0.size", [{"source": "a", "destination": "a", "sha256": "0" * 64, "size": -1}]),
        ("surprise", 1),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(demo, field, value):
    """The refusal says which field, and unknown ones are not ignored."""
    answer = demo.send("POST", "/jobs", {"script": SCRIPT, field.split(".")[0]: value})

    assert problem_of(answer, 422, "invalid_request").field == field


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff", b'{"script": "\\ud800"}', b"NaN", b"[" * 100_000])
def test_a_body_that_is_no_request_is_refused(demo, body):
    """Broken JSON, other types, lone surrogates and deep nesting are all answered in the same form."""
    answer = demo.send("POST", "/jobs", body)

    assert answer.status_code in {400, 422}, answer.text
    problem_of(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("limit", ["0", "201", "many", "-1"])
def test_a_page_size_out_of_range_is_named(demo, limit):
    """So are parameters of the query."""
    problem = problem_of(demo.send("GET", f"/jobs?limit={limit}"), 422, "invalid_request")

    assert problem.field.endswith("limit")


def test_a_script_of_more_than_four_megabytes_is_refused_in_slurms_words(demo):
    """The largest that Slurm takes is taken, one byte more is not."""
    largest = SCRIPT + "#" * (wire.MAX_SCRIPT_BYTES - len(SCRIPT))

    assert demo.send("POST", "/quotes", {"script": largest}).status_code == 200
    for script in (largest + "#", largest[:-1] + "\u00e9"):
        problem = problem_of(demo.submit(script), 422, "invalid_script")
        assert problem.detail.endswith(TOO_LONG)
        assert problem.exit_code == 1


def test_a_body_that_no_request_needs_is_not_read(demo):
    """More than the limit is refused, however it is signed."""

    def drops():
        for _ in range(MAX_BODY_BYTES // 2**20 + 2):
            yield b"x" * 2**20

    announced = demo.send("POST", "/jobs", b"x" * (MAX_BODY_BYTES + 1))
    in_chunks = demo.http.post(f"{API}/jobs", content=drops(), headers={"Authorization": demo.sign("POST", "/x")})

    for answer in (announced, in_chunks):
        problem_of(answer, 413, answer.json()["code"])


def test_the_same_idempotency_key_gives_the_same_job(demo):
    """Asked twice, or by many at once, there is one job; one hold; with another body it is a conflict."""
    key, other = ({"Idempotency-Key": uuid.uuid4().hex} for _ in range(2))
    start = threading.Barrier(4)

    def ask(_: int) -> wire.JobView:
        start.wait()
        answer = demo.submit(SLEEPER, headers=other)
        return answer.status_code, answer.json()

    first, again = (read(demo.submit(SLEEPER, headers=key), wire.JobView, 201) for _ in range(2))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    last = read(demo.submit(SLEEPER, headers=other), wire.JobView, 201)
    for job in (first, last):
        demo.send("POST", f"/jobs/{job.id}/cancel")

    assert again.id == first.id
    assert {status for status, _ in answers} <= {201, 503}
    assert {body["burst_id"] for status, body in answers if status == 201} == {last.burst_id}
    assert all(body["id"] for status, body in answers if status == 201)
    conflict = problem_of(demo.submit(SCRIPT, headers=key), 409, "conflict")
    assert "new key" in conflict.hint


@pytest.mark.parametrize("key", ["short", "x" * 129])
def test_an_idempotency_key_has_a_sensible_length(demo, key):
    """Too short a key would be somebody else's by chance."""
    problem_of(demo.submit(headers={"Idempotency-Key": key}), 422, "invalid_request")


def test_cancelling_ends_a_job_and_gives_its_hold_back(stranger):
    """It settles at nothing, and cancelling it again changes nothing."""
    before = read(stranger.send("GET", "/balance"), list[wire.Balance])
    job = read(stranger.submit(SLEEPER), wire.JobView, 201)

    stranger.send("POST", f"/jobs/{job.id}/cancel")
    settled = until_finished(stranger, job.id)
    receipt = read(stranger.send("GET", f"/jobs/{job.id}/receipt"), wire.Receipt)
    again = read(stranger.send("POST", f"/jobs/{job.id}/cancel"), wire.JobView)

    assert (settled.state, receipt.charged_ucr, receipt.refunded_ucr) == ("CANCELLED", 0, job.hold_ucr)
    assert again == settled
    assert read(stranger.send("GET", "/balance"), list[wire.Balance]) == before


def test_cancelling_one_task_leaves_the_others(demo):
    """12_1 is not 12."""
    job = read(demo.submit("#!/bin/sh\n#SBATCH --time=1 --hold --array=0-2\ntrue\n"), wire.JobView, 201)

    answer = read(demo.send("POST", f"/jobs/{job.id}_1/cancel"), wire.JobView)

    assert (answer.finished, answer.state) == (False, "PENDING")
    assert "demo cancelled task 1" in [event.text for event in answer.timeline]
    demo.send("POST", f"/jobs/{job.id}/cancel")
    assert until_finished(demo, job.id).state == "CANCELLED"


def test_an_unfinished_job_has_no_outputs_and_no_receipt_yet(demo, held):
    """Both say where the job is and what to do."""
    problem_of(demo.send("GET", f"/jobs/{held.id}/outputs"), 404, "not_found")
    problem_of(demo.send("GET", f"/jobs/{held.id}/receipt"), 404, "not_found")
    assert demo.send("GET", f"/jobs/{held.id}/logs").text == ""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/jobs", 405), ("GET", "/jobs/", 404), ("DELETE", "/whoami", 405)],
)
def test_what_is_not_offered_is_a_problem_too(demo, method, path, status):
    """Unknown paths and methods are answered in the same form."""
    answer = demo.send(method, path)

    problem_of(answer, status, answer.json()["code"])
    assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/.well-known/openid-configuration", "/.well-known/jwks.json"]
)
def test_what_needs_no_signature_is_answered(door, path):
    """Probes, metrics and keys are public, and the gateway is ready."""
    answer = door.http.get(path)

    assert answer.status_code == 200, answer.text
    assert path != "/readyz" or answer.json() == {"database": "ok", "slurm": "ok", "store": "ok"}


def test_no_answer_and_no_log_tells_a_secret(door, demo, held):
    """Neither private keys nor passwords nor munge's key are in any document or in the log."""
    paths = ["/jobs", f"/jobs/{held.id}", "/nodes", "/offers", "/balance", "/whoami"]
    told = [demo.send("GET", path).text for path in paths]
    told += [door.http.get(path).text for path in ("/metrics", "/.well-known/jwks.json", "/node-agent.py")]
    told += [door.http.get("/openapi.json").text, door.log()]
    jwks = json.loads((door.settings.secrets_dir / "signing-keys.json").read_text())
    secret = [key["jwk"]["d"] for key in jwks["keys"]]
    secret += [(door.settings.secrets_dir / f"{user}.password").read_text() for user in ("demo", "admin")]

    assert not [text[:80] for text in told for one in secret if one in text]
    assert '"d":' not in door.http.get("/.well-known/jwks.json").text
    assert "Traceback" not in door.log()


def until_finished(visitor, job_id):
    """The job once it has settled; each look is a request, so nothing spins."""
    for _ in range(2000):
        view = read(visitor.send("GET", f"/jobs/{job_id}"), wire.JobView)
        if view.finished:
            return view
    raise AssertionError(view)


def test_a_gateway_without_a_registry_says_what_to_set(demo, held):
    """There are no made-up DOIs."""
    said = {"title": "T", "creators": ["Byron, A"]}

    problem = problem_of(demo.send("POST", f"/jobs/{held.id}/publication", said), 422, "doi_refused")

    assert all(
        name in problem.hint
        for name in ("datacite_url", "datacite_prefix", "datacite_repository", "datacite_password_file")
    )


def test_an_unknown_unit_names_its_line_and_what_there_is(demo):
    """As any other mistake in a script."""
    script = "#!/bin/sh\n#SBATCH --time=1\n#BURST --units=md.ns@v1:3\ntrue\n"

    problem = problem_of(demo.send("POST", "/quotes", {"script": script}), 422, "invalid_script")

    assert problem.line == 3
    assert "mc.sweep@v1" in problem.hint
