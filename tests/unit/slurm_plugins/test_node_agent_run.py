"""The node's daemon: joining once, keeping the lease, ending itself; with a shell script in slurmd's place."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from agent_site import JOIN_TOKEN, NODE, invitation, start, until
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import OKPKey

from gateway.identity.keys import public_jwk

SLURMD = """#!/bin/sh
echo "$@" > "$(dirname "$0")/slurmd.args"
echo "$SLURM_CONF" > "$(dirname "$0")/slurmd.conf"
echo $$ > "$(dirname "$0")/slurmd.pid"
exec sleep 1000
"""


@pytest.fixture
def invited(site):
    """A node that has an invitation and no identity yet; slurmd is a script."""
    slurmd = site.root / "slurmd"
    slurmd.write_text(SLURMD)
    slurmd.chmod(0o755)
    with invitation(site, slurmd=str(slurmd), agent_sha256="0" * 64) as invited:
        yield invited


def slurmd_pid(site) -> int | None:
    try:
        return int((site.root / "slurmd.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None


def test_it_trades_its_token_and_becomes_a_node(invited):
    """The token leaves the disk, the identity comes to it, and slurmd is told its name and configuration."""
    process = start(invited)
    until(lambda: slurmd_pid(invited) and any(name == "lease" for name, _ in invited.requests))
    arguments = (invited.root / "slurmd.args").read_text().split()
    assert arguments == ["-D", "-b", "-N", NODE, "-f", "/dev/null"]
    assert (invited.root / "slurmd.conf").read_text() == "/dev/null\n"
    identity = invited.state / "identity.json"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert JOIN_TOKEN not in invited.join_file.read_text() + identity.read_text() + invited.log
    inventory = dict(invited.requests)["join"]["inventory"]
    assert inventory["cores"] == len(os.sched_getaffinity(0))
    assert inventory["memory_mb"] > 0
    assert len(inventory["agent_sha256"]) == 64
    pid = slurmd_pid(invited)
    process.terminate()
    assert process.wait(10) == 0
    assert not Path(f"/proc/{pid}").exists()


def test_it_joins_once(invited):
    """Killed and started again, it is the same node and asks for no second identity."""
    process = start(invited)
    until(lambda: slurmd_pid(invited))
    process.kill()
    process.wait()
    os.kill(slurmd_pid(invited), signal.SIGKILL)
    (invited.root / "slurmd.pid").unlink()
    start(invited)
    until(lambda: slurmd_pid(invited))
    assert [name for name, _ in invited.requests].count("join") == 1


def test_it_makes_its_own_key_and_sends_the_public_half(invited):
    """Mode 0600, in its own folder; what it signs afterwards verifies with what it sent, and nothing else is sent."""
    start(invited)
    until(lambda: any(name == "lease" for name, _ in invited.requests))
    file = invited.state / "node.key"
    private = load_pem_private_key(file.read_bytes(), None)
    sent = dict(invited.requests)["join"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sent["public_key"] == public_jwk(OKPKey.import_key(private))
    secret = base64.urlsafe_b64encode(private.private_bytes_raw()).rstrip(b"=").decode()
    assert secret not in json.dumps(invited.requests) + invited.log + (invited.state / "identity.json").read_text()


def test_a_lost_answer_is_asked_for_with_the_same_key(invited):
    """The gateway traded the token but its answer never came: the second try can be told from a thief's."""
    answers = [(503, {})]
    invited.hook = lambda name, _: answers.pop() if name == "join" and answers else None
    start(invited)
    until(lambda: slurmd_pid(invited))
    first, second = (said["public_key"] for name, said in invited.requests if name == "join")
    assert first == second


def test_killed_before_the_answer_it_asks_with_the_same_key(invited):
    """The key is on disk before anybody hears of it."""
    invited.hook = lambda name, _: (503, {}) if name == "join" else None
    process = start(invited)
    until(lambda: invited.requests)
    process.kill()
    process.wait()
    invited.hook = lambda *_: None
    start(invited)
    until(lambda: slurmd_pid(invited))
    assert len({said["public_key"]["x"] for name, said in invited.requests if name == "join"}) == 1


def test_without_openssl_it_says_so(invited, tmp_path):
    """One line, with what to do; the token is not spent."""
    empty = tmp_path / "empty"
    empty.mkdir()
    agent = invited.agent.read_text()
    invited.agent.write_text(agent.replace('PLACES = "', f'PLACES = "{empty}" or "'))
    process = start(invited)
    assert process.wait(20) == 1
    said = process.stderr.read()
    assert "openssl is not installed" in said
    assert "apt-get install openssl" in said
    assert "Traceback" not in said
    assert invited.requests == []
    assert JOIN_TOKEN in invited.join_file.read_text()


def test_a_gateway_that_is_away_is_waited_for(invited):
    """A node may boot while its gateway is being restarted."""
    invited.close()
    start(invited)
    until(lambda: "wait: POST" in invited.log)
    invited.open()
    until(lambda: slurmd_pid(invited))


def test_a_used_token_is_an_error(invited):
    """Refused, it says so and ends: it is no node."""
    invited.hook = lambda name, _: (401, {"detail": "used"}) if name == "join" else None
    process = start(invited)
    assert process.wait(10) == 1
    assert "401" in process.stderr.read()
    assert slurmd_pid(invited) is None
    assert JOIN_TOKEN in invited.join_file.read_text()


def test_told_to_drain_it_ends_itself(invited):
    """The next renewal that says so is the node's last."""
    invited.lease = {"lease_seconds": 3, "drain": False}
    process = start(invited)
    until(lambda: [name for name, _ in invited.requests].count("lease") >= 2)
    pid = slurmd_pid(invited)
    invited.lease = {"lease_seconds": 3, "drain": True}
    assert process.wait(10) == 0
    assert not Path(f"/proc/{pid}").exists()
    assert "drained" in invited.log


def test_a_lease_that_is_not_renewed_ends_the_node(invited):
    """Twice the lease's time without the gateway, and nobody pays for the machine any longer."""
    invited.lease = {"lease_seconds": 1, "drain": False}
    process = start(invited)
    until(lambda: any(name == "lease" for name, _ in invited.requests))
    invited.close()
    assert process.wait(15) == 0
    assert "nobody renewed the lease" in invited.log


def test_a_short_absence_of_the_gateway_does_not(invited):
    """Away for less than the lease, then back: the node stays."""
    invited.lease = {"lease_seconds": 6, "drain": False}
    process = start(invited)
    until(lambda: any(name == "lease" for name, _ in invited.requests))
    invited.close()
    before = len(invited.requests)
    threading.Event().wait(2.5)
    invited.open()
    until(lambda: len(invited.requests) >= before + 2)
    assert process.poll() is None


def test_without_slurmd_there_is_no_node(invited):
    """When slurmd ends, so does the agent: the machine is no use to anybody."""
    process = start(invited)
    until(lambda: slurmd_pid(invited))
    os.kill(slurmd_pid(invited), signal.SIGKILL)
    assert process.wait(10) == 0


def test_a_guest_never_touches_the_hosts_own_munge(invited):
    """Started by hand, outside its unit, where /etc/munge is the host's: it says so and writes no key."""
    before = sorted(path.name for path in Path("/etc/munge").glob("*"))
    command = invited.command("run", "--guest", "--join", str(invited.join_file))
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the host's own: run this by burst-node.service" in done.stderr
    assert sorted(path.name for path in Path("/etc/munge").glob("*")) == before
