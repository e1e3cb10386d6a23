"""Bad input: each is refused before anything is created, and says where the fault is and what to do next.

Each goes through the real command, and as a signed request past the command's own checks, so that the gateway itself
refuses it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from gateway_site import Site
from joserfc.jwk import OKPKey

from gateway.client import profile as profiles
from gateway.identity.keys import make_key
from gateway.identity.signature import sign_request
from gateway.wire import MAX_SCRIPT_BYTES, Problem, SubmitRequest

pytestmark = pytest.mark.root

GOOD = "#!/bin/sh\nhostname\n"
POOR = "poor"


@dataclass(frozen=True)
class Case:
    """A submission that is refused: exit code of the command, code of the problem, and words that both must have."""

    text: str
    options: tuple[str, ...] = ()
    exit_code: int = 1
    code: str = "invalid_script"
    words: tuple[str, ...] = ()
    field: str | None = None
    user: str = "demo"


def line(number: int) -> str:
    """The field of a problem in a script's line."""
    return f"script:{number}"


CASES = {
    "no-interpreter": Case("hostname\n", words=("job.sh:1", "must start with #!"), field=line(1)),
    "empty": Case("", words=("Batch script is empty!",)),
    "blank": Case("\n \n", words=("job.sh:1", "only whitespace"), field=line(1)),
    "dos": Case("#!/bin/sh\r\nhostname\r\n", words=("job.sh:1", "DOS line breaks"), field=line(1)),
    "too-long": Case("#!/bin/sh\n" + "#" * MAX_SCRIPT_BYTES, words=("too long",)),
    "unknown-directive": Case(
        "#!/bin/sh\n\n#SBATCH --no-such=1\n", exit_code=255, words=("job.sh:3", "--no-such"), field=line(3)
    ),
    "malformed-time": Case(
        "#!/bin/sh\n#SBATCH --time=soon\n", exit_code=255, words=("job.sh:2", "time"), field=line(2)
    ),
    "malformed-nodes": Case("#!/bin/sh\n#SBATCH -N two\n", exit_code=255, words=("job.sh:2", "two"), field=line(2)),
    "malformed-memory": Case(
        "#!/bin/sh\n#SBATCH --mem=lots\n", exit_code=255, words=("job.sh:2", "mem"), field=line(2)
    ),
    "stray-word": Case("#!/bin/sh\n#SBATCH -N1 stray\n", exit_code=255, words=("job.sh:2", "stray"), field=line(2)),
    "unknown-burst-line": Case(
        "#!/bin/sh\n#BURST --no-such=1\n", exit_code=255, words=("job.sh:2", "--no-such"), field=line(2)
    ),
    "unknown-option": Case(GOOD, ("--no-such",), 255, "invalid_option", ("--no-such",)),
    "malformed-option": Case(GOOD, ("--time=never",), 255, "invalid_option", ("time",)),
    "too-much-time": Case(GOOD, ("--time=99-0",), 1, "invalid_option", ("time limit",), "--time"),
    "too-many-nodes": Case(GOOD, ("--nodes=500",), 1, "no_offer_fits", ("500",)),
    "too-many-gpus": Case(GOOD, ("--gres=gpu:64",), 1, "no_offer_fits", ("64",)),
    "too-many-cores": Case(GOOD, ("--cpus-per-task=512",), 1, "no_offer_fits", ("512",)),
    "too-much-memory": Case("#!/bin/sh\n#SBATCH --mem=9T\n", (), 1, "no_offer_fits", ()),
    "unfunded": Case(GOOD, ("--time=10:00:00",), 1, "insufficient_funds", (POOR, "0.1 ", "12 "), user=POOR),
    "above-max-cost": Case("#!/bin/sh\n#BURST --max-cost=0.001\n", ("--time=60",), 1, "refused", ("0.001",)),
    "missing-input": Case(
        "#!/bin/sh\n#SBATCH -N1\n#BURST --stage-in=none.dat\n",
        code="input_missing",
        words=("job.sh:3", "none.dat"),
        field=line(3),
    ),
    "input-that-leaves": Case(
        "#!/bin/sh\n#BURST --stage-in=job.sh:../../etc/passwd\n", exit_code=255, words=("job.sh:2",), field=line(2)
    ),
    "other-account": Case("#!/bin/sh\n#BURST --account-to=demo\n", code="refused", words=("may not spend",), user=POOR),
}


@pytest.fixture(scope="module")
def poor(site: Site) -> Site:
    """The site, with a user who can pay for minutes only."""
    site.add_user(POOR, credits_ucr=100_000)
    return site


@pytest.fixture
def nothing_new(poor: Site) -> Iterator[Site]:
    """After the test no job, hold, entry or object is there that was not before, and no node has come."""
    before, machines = _created(poor), {str(node.id) for node in poor.list_nodes()}
    yield poor
    assert _created(poor) == before
    assert {str(node.id) for node in poor.list_nodes()} <= machines


@pytest.mark.parametrize("name", CASES)
def test_the_command_refuses(nothing_new: Site, tmp_path: Path, name: str) -> None:
    """sbatch's exit code, no word on stdout, one line on stderr with the place, the fault and what to do next."""
    case = CASES[name]
    (tmp_path / "job.sh").write_bytes(case.text.encode())
    answer = nothing_new.burst("submit", *case.options, "job.sh", user=case.user, cwd=tmp_path)
    assert (answer.code, answer.out) == (case.exit_code, ""), answer.err
    assert answer.complaint.startswith("burst: error: ")
    assert "; " in answer.complaint
    assert not [word for word in case.words if word not in answer.complaint], answer.complaint


@pytest.mark.parametrize("name", CASES)
def test_the_gateway_refuses(nothing_new: Site, name: str) -> None:
    """A client that checks nothing gets a problem document with code, field, hint and sbatch's exit code."""
    case = CASES[name]
    request = SubmitRequest.model_construct(script=case.text, options=case.options)
    answer = _post(nothing_new, _profile(nothing_new, case.user), request.model_dump_json().encode())
    problem = Problem.model_validate_json(answer.content)
    assert (answer.status_code, problem.code) == (_STATUS.get(case.code, 422), case.code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.hint
    assert problem.exit_code in {None, case.exit_code}
    if case.field is not None:
        assert problem.field == case.field


def test_a_quote_refuses_the_same(nothing_new: Site, tmp_path: Path) -> None:
    """Asking for the price of a job that cannot be is the same error."""
    (tmp_path / "job.sh").write_text(CASES["malformed-nodes"].text)
    answer = nothing_new.burst("quote", "job.sh", cwd=tmp_path)
    assert (answer.code, answer.out) == (255, "")
    assert "job.sh:2" in answer.complaint


def _tampered(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return body.replace(b"hostname", b"rm -rf ~"), headers


def _unsigned(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return body, {name: value for name, value in headers.items() if name != "Authorization"}


def _spoilt(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    head, claims, _ = headers["Authorization"].split(".")
    return body, {**headers, "Authorization": f"{head}.{claims}.{'A' * 86}"}


@pytest.mark.parametrize("change", [_tampered, _unsigned, _spoilt])
def test_a_signature_that_does_not_fit(
    nothing_new: Site, change: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
) -> None:
    """Given a good request, when body or signature is changed on its way, then it is 401 and nothing happens."""
    answer = _post(nothing_new, _profile(nothing_new, "demo"), _good(), change=change)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature")


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_signature_of_another_time(nothing_new: Site, minutes: int) -> None:
    """Signed five minutes ago, or five minutes ahead: refused."""
    when = datetime.now(UTC) + timedelta(minutes=minutes)
    answer = _post(nothing_new, _profile(nothing_new, "demo"), _good(), when=when)
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_expired")
    assert answer.json()["hint"]


def test_a_signature_is_good_once(nothing_new: Site) -> None:
    """Given a signed request that was taken, when it is sent again as it was, then it is refused."""
    with _signed(nothing_new, _profile(nothing_new, "demo"), "/api/v1/quotes", _good()) as send:
        assert send().status_code == 200
        again = send()
    assert (again.status_code, again.json()["code"]) == (401, "signature_replayed")


def test_the_command_with_another_key(nothing_new: Site, tmp_path: Path) -> None:
    """Given a login whose key is not the one that was certified, the command says so in one line, exit 1."""
    key = {
        name: str(value) for name, value in make_key().as_dict(private=True).items() if name in {"kty", "crv", "x", "d"}
    }
    answer = _submit_as(nothing_new, replace(_profile(nothing_new, "demo"), key=key), tmp_path)
    assert (answer[0], answer[1]) == (1, "")
    assert "; " in answer[2]


def test_the_command_with_an_ended_login(nothing_new: Site, tmp_path: Path) -> None:
    """Given a login of yesterday, the command says to log in again."""
    ended = replace(_profile(nothing_new, "demo"), expires_at=datetime.now(UTC) - timedelta(days=1))
    answer = _submit_as(nothing_new, ended, tmp_path)
    assert (answer[0], answer[1]) == (1, "")
    assert f"; burst login {nothing_new.url}" in answer[2]


_STATUS = {"insufficient_funds": 402, "refused": 403}


def _created(site: Site) -> dict[str, object]:
    """All that a submission could have made."""
    counts = {table: site.rows(f"SELECT count(*) FROM {table}") for table in ("jobs", "holds", "ledger_entries")}  # noqa: S608
    next_id = [row for row in site.slurm("scontrol", "show", "config").splitlines() if row.startswith("NEXT_JOB_ID")]
    return {**counts, "next": next_id, "uploads": sorted(key for key, _ in site.store.list("inputs/"))}


def _profile(site: Site, user: str) -> profiles.Profile:
    with site.login(user) as gateway:
        return gateway.session.profile


def _good() -> bytes:
    return SubmitRequest(script=GOOD).model_dump_json().encode()


@contextmanager
def _signed(
    site: Site,
    profile: profiles.Profile,
    path: str,
    body: bytes,
    *,
    when: datetime | None = None,
    change: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]] = lambda body, headers: (body, headers),
) -> Iterator[Callable[[], httpx2.Response]]:
    """What sends one signed request, as often as it is called."""
    key = OKPKey.import_key(dict(profile.key))
    token = sign_request(key, profile.session, "POST", path, body, profile.audience, when or datetime.now(UTC))
    content, headers = change(body, {"Authorization": f"Burst {token}", "Content-Type": "application/json"})
    with httpx2.Client(timeout=60) as client:
        yield lambda: client.post(f"{site.url}{path}", content=content, headers=headers)


def _post(
    site: Site,
    profile: profiles.Profile,
    body: bytes,
    *,
    when: datetime | None = None,
    change: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]] = lambda body, headers: (body, headers),
) -> httpx2.Response:
    with _signed(site, profile, "/api/v1/jobs", body, when=when, change=change) as send:
        return send()


def _submit_as(site: Site, profile: profiles.Profile, folder: Path) -> tuple[int, str, str]:
    """`burst submit` with this profile: code, stdout, the only line of stderr."""
    profiles.save(profile, folder / "config/profiles/default.json")
    (folder / "job.sh").write_text(GOOD)
    answer = site.burst("submit", "job.sh", cwd=folder, env={"BURST_CONFIG": str(folder / "config")})
    return answer.code, answer.out, answer.complaint
