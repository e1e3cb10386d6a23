"""A real job's bill, proved without the gateway: after log-out, after the key has changed, and not when altered."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from gateway_site import Site

NewSite = Callable[..., Site]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_receipt_is_proved_offline_after_log_out_and_rotation(new_site: NewSite) -> None:
    """Ordered, billed and logged out; the gateway gone, then with another key: the file still says who and what."""
    site = new_site(nodes="process", idle_s=2)
    key = fingerprint(log_in(site))
    shown = site.burst("whoami", user=None).out
    script = site.directory.parent / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --time=1\necho done\n")
    told = site.burst("submit", "--parsable", "--max-cost", "5", str(script), user=None)
    assert told.code == 0, told.err
    job = told.out.strip()
    with site.login() as gateway:
        gateway.wait(job)
    before, after = (site.directory.parent / name for name in ("before.json", "after.json"))
    assert site.burst("receipt", job, "--evidence", str(before), user=None).code == 0
    by_id = site.burst("verify", job, user=None)
    assert site.burst("logout", user=None).code == 0

    site.down()
    offline = site.burst("verify", str(before), user=None)
    assert site.burst("keys", "rotate", "signing", "--dir", str(site.directory), user=None).code == 0
    site.up()
    again = log_in(site, "--fingerprint", key)
    assert site.burst("receipt", job, "--evidence", str(after), user=None).code == 0
    later = [site.burst("verify", str(file), user=None) for file in (before, after)]

    assert key in shown
    assert fingerprint(again) != key
    for answer in (by_id, offline, *later):
        assert answer.code == 0, answer.err
        assert answer.out.startswith(f"demo ordered job {job} (job.sh) on "), answer.out
        assert "allowing at most 5" in answer.out
        assert "All of it holds." in answer.out
    elsewhere = {"BURST_CONFIG": str(site.directory.parent / "nobody")}
    assert "Nobody here knows" in site.burst("verify", str(after), user=None, env=elsewhere).complaint
    assert site.burst("verify", str(after), "--fingerprint", key, user=None, env=elsewhere).code == 0
    forged = json.loads(after.read_text())
    forged["receipt"]["charged_ucr"] += 1
    after.write_text(json.dumps(forged))
    refused = site.burst("verify", str(after), user=None)
    assert refused.code == 1
    assert "does not hold" in refused.complaint


def log_in(site: Site, *more: str) -> dict[str, str]:
    """What ``burst login --json`` says."""
    password = site.directory / "secrets/demo.password"
    words = ("login", site.url, "--user", "demo", "--password-file", str(password), "--json", *more)
    done = site.burst(*words, user=None)
    assert done.code == 0, done.err
    return dict(done.json)


def fingerprint(said: dict[str, str]) -> str:
    """What a login said of the gateway's key."""
    assert said["fingerprint"].startswith("SHA256:")
    return said["fingerprint"]
