"""burst site: what is shown, what is asked for, and that nothing is done without --apply."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gateway.cli import site

FOUND = [{"line": "ok    slurmctld: release 24.11.5 answers"}, {"line": "note  slurm.conf:4: MinJobAge stays"}]
PLAN = {"diff": "+Include burst.conf\n", "files": ["/etc/slurm/slurm.conf"], "notes": ["it was edited"], "stops": 0}
PEOPLE = {"people": [{"unix": "asmith", "user": "alice", "by": "administrator"}], "same_names": True}


class Calls(list):
    """What gateway.bootstrap was asked for, and what more it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.more: dict[str, object] = {}


@pytest.fixture
def calls(monkeypatch) -> Calls:
    asked = Calls()

    def bootstrap(verb, directory, more=(), *, progress):
        asked.append([verb, *more])
        if verb == "site-people":
            return PEOPLE
        return {**PLAN, "findings": FOUND, "done": "--apply" in more, "rolled_back": "", **asked.more}

    monkeypatch.setattr(site, "bootstrap", bootstrap)
    return asked


def run(*words: str):
    return CliRunner().invoke(site.site, words)


def test_it_is_dry_by_default(calls):
    """What was found and what would change is shown, and how to do it said."""
    ran = run("install", "--slurm-conf", "/etc/slurm/slurm.conf", "--partition", "burst")

    assert ran.exit_code == 0, ran.output
    assert calls == [["site-install", "--set", 'site={slurm_conf = "/etc/slurm/slurm.conf", partition = "burst"}']]
    assert "release 24.11.5" in ran.stdout
    assert "+Include burst.conf" in ran.stdout
    assert "--apply does it" in ran.stderr


def test_check_and_diff_show_one_of_both(calls):
    """--diff alone on stdout is what patch(1) takes."""
    check, diff = run("install", "--check"), run("install", "--diff")

    assert "+Include" not in check.stdout
    assert diff.stdout == "+Include burst.conf\n"
    assert calls == [["site-install"]] * 2
    assert run("install", "--check", "--apply").exit_code == 2


def test_apply_is_told_and_as_json_one_document(calls):
    """One call; with --json stdout is one document."""
    plain, as_json = run("install", "--apply"), run("install", "--apply", "--json")

    assert "Changed: /etc/slurm/slurm.conf; slurmctld has it." in plain.stdout
    assert json.loads(as_json.stdout)["done"] is True
    assert calls == [["site-install", "--apply"]] * 2


@pytest.mark.parametrize(("more", "code"), [({"stops": 2}, 1), ({"rolled_back": "slurmctld did not take it"}, 3)])
def test_the_exit_code_says_how_it_went(calls, more, code):
    """1: something stands in the way; 3: it was taken back."""
    calls.more = more

    ran = run("install", "--apply")

    assert ran.exit_code == code
    assert "Nothing" in ran.stderr
    assert run("install", "--apply", "--json").exit_code == code


def test_remove_is_dry_by_default_too(calls):
    """The same words as of install; notes go to stderr."""
    dry, done = run("remove"), run("remove", "--apply")

    assert "--apply does it" in dry.stderr
    assert "note: it was edited" in dry.stderr
    assert "Changed: /etc/slurm/slurm.conf." in done.stdout
    assert calls == [["site-remove"], ["site-remove", "--apply"]]


def test_people_are_shown_and_linked(calls):
    """The table after it, whatever was asked."""
    shown, linked, gone = run("people"), run("people", "link", "asmith", "alice"), run("people", "unlink", "asmith")

    assert "asmith               alice                by administrator" in shown.stdout
    assert [shown.exit_code, linked.exit_code, gone.exit_code] == [0, 0, 0]
    assert calls == [
        ["site-people"],
        ["site-people", "--link", "asmith", "alice"],
        ["site-people", "--unlink", "asmith"],
    ]
    assert json.loads(run("people", "--json").stdout) == PEOPLE
