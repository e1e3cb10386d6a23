"""Every command as a user types it: its JSON, its exit code, and that starting or stopping twice is harmless."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gateway_site import Answer, NewSite, Site
from pydantic import TypeAdapter

from gateway import wire
from gateway.cli.burst import SECTIONS
from gateway.daemons import Daemon

pytestmark = pytest.mark.root

USER = "kit"
SCRIPT = "#!/bin/sh\n#SBATCH --time=5\necho hello\nprintf data > data.txt\n"
DAEMONS = ("gateway", "munged", "slurmctld", "slurmrestd", "store")


@dataclass(frozen=True)
class Typist:
    """A user in a folder with a script, and the id of a job that has settled."""

    site: Site
    folder: Path
    job: str

    def __call__(self, *words: str, **how: str) -> Answer:
        return self.site.burst(*words, user=USER, cwd=self.folder, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def burst(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Typist:
    """Submit one job with --wait: it ends with the job's own exit code."""
    folder = tmp_path_factory.mktemp("typist")
    (folder / "job.sh").write_text(SCRIPT)
    site.add_user(USER)
    done = site.burst("submit", "--wait", "--parsable", "job.sh", user=USER, cwd=folder)
    assert done.code == 0, done.err
    return Typist(site, folder, done.out.splitlines()[0])


ANSWERS: dict[str, tuple[str, Any]] = {
    "whoami": ("whoami --json", wire.Identity),
    "quote": ("quote --json job.sh", wire.Quote),
    "jobs": ("jobs --json", list[wire.JobView]),
    "job": ("job JOB --json", wire.JobView),
    "logs": ("logs JOB --json", dict[str, str]),
    "cancel": ("cancel JOB --json", list[wire.JobView]),
    "fetch": ("fetch JOB --to here --json", wire.Outputs),
    "receipt": ("receipt JOB --json", wire.Receipt),
    "balance": ("balance --json", list[wire.Balance]),
    "nodes": ("nodes --json", list[wire.NodeView]),
    "offers": ("offers --json", list[wire.OfferView]),
    "units": ("units --json", list[wire.UnitView]),
    "budget": ("budget --json", list[wire.BudgetView]),
    "report": ("report --json", wire.Report),
}
"""Command → what is typed, and what its stdout is."""

ELSEWHERE = {
    "up", "down", "check", "login", "logout", "submit", "credit", "completion",
    "demo",  # test_leftovers
    "call",  # test_notebook
    "commands",  # test_slurm_commands
    "publish", "share",  # test_publishing
    "site",  # test_site_cluster
    "peers", "visit",  # test_federation
    "sessions",  # test_login_sessions
    "principals",  # test_principals
    "register", "password", "totp", "devices", "users", "groups",  # test_people_commands, test_people
    "keys",  # test_key_rotation, test_at_rest
    "verify",  # test_proofs
    "unshare",  # test_sharing
    "audit",  # test_audit_http
    "reconcile",  # test_node_admin
    "hosts",  # test_hosts, test_woken_metal
}  # fmt: skip
"""Commands that have tests of their own."""


def test_every_command_is_tested_here() -> None:
    """A new command needs a line above."""
    assert {name for commands in SECTIONS.values() for name in commands} == set(ANSWERS) | ELSEWHERE


@pytest.mark.parametrize("name", ANSWERS)
def test_json_is_what_the_gateway_answered(burst: Typist, name: str) -> None:
    """--json prints one document of the wire's own form and nothing else; without it the command ends with 0 too."""
    line, form = ANSWERS[name]
    words = line.replace("JOB", burst.job).split()
    answer = burst(*words)
    assert (answer.code, answer.err) == (0, "")
    TypeAdapter(form).validate_json(answer.out)
    plain = burst(*(word for word in words if word != "--json"))
    assert plain.code == 0
    assert plain.out or plain.err


def test_what_a_settled_job_shows(burst: Typist) -> None:
    """logs has what it printed, fetch what it wrote, quote a price that the receipt stays under."""
    assert burst("logs", burst.job).out == "hello\n"
    burst("fetch", burst.job, "--to", "there")
    assert (burst.folder / "there/data.txt").read_text() == "data"
    quote, receipt = burst("quote", "--json", "job.sh").json, burst("receipt", burst.job, "--json").json
    assert receipt["charged_ucr"] <= receipt["held_ucr"] == quote["total_ucr"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("job 999999", 1),
        ("receipt 999999", 1),
        ("fetch ../../etc", 1),
        ("logs", 2),
        ("jobs --limit none", 2),
        ("no-such-command", 2),
        ("submit none.sh", 1),
        ("submit --no-such job.sh", 255),
        ("credit kit 5 --memo mine", 1),
        ("up --dir x --set no_such_setting=1", 1),
        ("up --dir x --set idle_s=never", 1),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(burst: Typist, line: str, code: int) -> None:
    """On stderr what is wrong and, after a semicolon, what to do; nothing on stdout; sbatch's code, or click's."""
    answer = burst(*line.split())
    assert (answer.code, answer.out) == (code, "")
    assert answer.complaint.startswith("burst: error: ")
    assert "; " in answer.complaint


def test_submit_json_and_cancel(burst: Typist) -> None:
    """submit --json prints the job; --test-only creates none; what was submitted can be cancelled by its id."""
    known = len(burst("jobs", "--json").json)
    assert burst("submit", "--test-only", "job.sh").code == 0
    job = burst("submit", "--json", "--begin=now+1hour", "job.sh").json
    assert len(burst("jobs", "--json").json) == known + 1
    (cancelled,) = burst("cancel", str(job["id"]), "--json").json
    assert cancelled["burst_id"] == job["burst_id"]
    ended = burst("job", str(job["id"]), "--watch", "--json")
    assert ended.json["state"] == "CANCELLED"


def test_submit_wait_ends_with_the_jobs_code(burst: Typist) -> None:
    """A script from stdin, --wait: the job's exit code is the command's."""
    answer = burst("submit", "--wait", "--time=5", "--parsable", stdin="#!/bin/sh\nexit 9\n")
    assert answer.code == 9


def test_login_and_logout(burst: Typist, tmp_path: Path) -> None:
    """login keeps a key that only its owner can read; after logout no command works; a wrong password never does."""
    own = {"BURST_CONFIG": str(tmp_path / "config")}
    password = burst.site.directory / "secrets" / f"{USER}.password"
    login = ("login", burst.site.url, "--user", USER, "--password-file", str(password))

    def typed(*words: str, stdin: str | None = None) -> Answer:
        return burst.site.burst(*words, user=None, env=own, stdin=stdin)

    assert typed(*login, "--json").json["user"] == USER
    (profile,) = (tmp_path / "config/profiles").iterdir()
    assert profile.stat().st_mode & 0o077 == 0
    assert typed("whoami", "--json").json["user"] == USER
    assert typed("logout", "--json").json == {"logged_out": True}
    assert not profile.exists()
    assert typed("jobs").code == 1
    wrong = typed("login", burst.site.url, "--user", USER, "--password-file", "-", stdin="not it\n")
    assert (wrong.code, wrong.out, profile.exists()) == (1, "", False)
    assert "; " in wrong.complaint


def test_credit_is_the_admins(burst: Typist) -> None:
    """The admin gives credits and prints the account; it has them."""
    (before,) = burst("balance", "--json").json
    given = burst.site.burst("credit", USER, "2.5", "--memo", "a grant", "--json", user="admin")
    assert given.code == 0, given.err
    (after,) = burst("balance", "--json").json
    assert given.json["available_ucr"] == after["available_ucr"] == before["available_ucr"] + 2_500_000


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(burst: Typist, shell: str) -> None:
    """A script that names the command."""
    answer = burst("completion", shell)
    assert answer.code == 0
    assert "burst" in answer.out


def test_up_again_changes_nothing(burst: Typist) -> None:
    """Given a gateway that runs, when it is brought up again, then the same processes serve at the same places."""
    before, pids = dict(burst.site.facts), _pids(burst.site)
    again = burst.site.burst("up", "--dir", str(burst.site.directory), "--json", user=None)
    assert again.code == 0, again.err
    assert {**again.json, "started_s": 0} == {**before, "started_s": 0}
    assert _pids(burst.site) == pids
    assert None not in pids.values()


def test_check_says_that_it_runs(burst: Typist) -> None:
    """check lists what it looked at; all of it is in order here."""
    answer = burst.site.burst("check", "--dir", str(burst.site.directory), "--json", user=None)
    assert answer.code == 0, answer.err
    checks = {check["name"]: check for check in answer.json["checks"]}
    assert all(check["ok"] for check in checks.values())
    assert checks["gateway"]["detail"] == "runs"
    assert checks["nodes"]["detail"] == "containers"


def test_down_twice_then_up_again(new_site: NewSite) -> None:
    """down says what it stopped, again it stops nothing; check then fails; up brings the same gateway back."""
    site = new_site(nodes="process")
    where = ("--dir", str(site.directory), "--json")
    first = site.burst("down", *where, user=None)
    assert first.code == 0
    assert "gateway" in first.json["stopped"]
    assert set(_pids(site).values()) == {None}
    second = site.burst("down", *where, user=None)
    assert second.code == 0
    assert "gateway" not in second.json["stopped"]
    checked = site.burst("check", *where, user=None)
    assert checked.code == 1
    assert "not in order: gateway" in checked.complaint
    assert [check["name"] for check in json.loads(checked.out)["checks"] if not check["ok"]] == ["gateway"]
    before = site.url
    assert site.up().url == before
    assert site.burst("balance").code == 0


def test_down_where_nothing_ever_was(new_site: NewSite) -> None:
    """down in a directory without a gateway is no error and makes nothing there."""
    site = new_site(start=False)
    answer = site.burst("down", "--dir", str(site.directory), "--json", user=None)
    assert (answer.code, answer.json["stopped"]) == (0, [])
    assert not site.directory.exists() or not list(site.directory.iterdir())


def _pids(site: Site) -> dict[str, int | None]:
    run, log = site.directory / "run", site.directory / "log"
    return {name: Daemon(name, run, log / f"{name}.log").pid() for name in DAEMONS}
