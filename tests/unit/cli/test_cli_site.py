"""burst site: what is shown, what is asked, and that nothing is done before the answer."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gateway.cli import site

PLAN = {"diff": "+Include burst.conf\n", "files": ["/etc/slurm/slurm.conf"], "notes": ["MinJobAge stays"]}


@pytest.fixture
def calls(monkeypatch) -> list[list[str]]:
    """What gateway.bootstrap was asked for; it always has the same to change."""
    asked: list[list[str]] = []

    def bootstrap(verb, directory, more=(), *, progress):
        asked.append([verb, *more])
        return {**PLAN, "done": "--dry-run" not in more}

    monkeypatch.setattr(site, "bootstrap", bootstrap)
    return asked


def run(*words: str, answer: str | None = None):
    return CliRunner().invoke(site.site, words, input=answer)


def test_who_says_no_changes_nothing(calls):
    """The difference is shown, the question asked, and that was all."""
    ran = run("uninstall", answer="n\n")

    assert ran.exit_code != 0
    assert "+Include burst.conf" in ran.stdout
    assert calls == [["site-uninstall", "--dry-run"]]


def test_who_says_yes_has_seen_it_before(calls):
    """First the plan, then the deed."""
    ran = run("uninstall", answer="y\n")

    assert ran.exit_code == 0
    assert calls == [["site-uninstall", "--dry-run"], ["site-uninstall"]]


def test_yes_is_not_asked_but_told(calls):
    """One call, whose difference is printed; with --json stdout is one document."""
    plain, as_json = run("uninstall", "--yes"), run("uninstall", "--yes", "--json")

    assert "+Include burst.conf" in plain.stdout
    assert json.loads(as_json.stdout)["done"] is True
    assert calls == [["site-uninstall"]] * 2


def test_a_dry_run_never_asks(calls):
    """Nor does it change anything."""
    ran = run("install", "--dry-run", "--slurm-conf", "/etc/slurm/slurm.conf", "--partition", "burst")

    assert ran.exit_code == 0, ran.output
    said = 'site={slurm_conf = "/etc/slurm/slurm.conf", partition = "burst"}'
    assert calls == [["site-install", "--set", said, "--dry-run"]]


def test_a_key_without_its_site_is_refused(calls):
    """--munge-key and --partition are a site's."""
    assert run("install", "--munge-key", "/etc/munge/munge.key").exit_code == 2
    assert calls == []
