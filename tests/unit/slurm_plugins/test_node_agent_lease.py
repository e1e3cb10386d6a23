"""The lease of a node: how long it outlives its gateway, with jobs and without, by which clock, over its own deaths."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest
from agent_site import invitation, named, start, until

SLURMD = "#!/bin/sh\nexec sleep 1000\n"
SCONTROL = """#!/bin/sh
# What scontrol(1) does with a node's state, in a file.
state="$(dirname "$0")/../state"
case "$1 $3" in
"show $3") echo "NodeName=$3"; echo "   State=$(cat "$state") ThreadsPerCore=1"; [ ! -s "$state.reason" ] ||
    echo "   Reason=$(cat "$state.reason") [root@2026-11-23T08:00:00]" ;;
"update $3") case "$3" in
    state=drain) echo IDLE+CLOUD+DRAIN > "$state"; echo "${4#reason=}" > "$state.reason" ;;
    state=resume) echo IDLE+CLOUD > "$state"; : > "$state.reason" ;; esac ;;
esac
case "$1" in update) echo "$*" >> "$state.said" ;; esac
"""
SKEWED = """from __future__ import annotations

import time as _time

_true_time = _time.time
_time.time = lambda: _true_time() + float(open({file!r}).read())
"""


@pytest.fixture
def invited(site):
    """A node that has an invitation and no identity yet; slurmd and scontrol are scripts in one tree."""
    tree = site.root / "slurm"
    for name, text in (("sbin/slurmd", SLURMD), ("bin/scontrol", SCONTROL)):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    (tree / "state").write_text("IDLE+CLOUD\n")
    site.tree = tree
    site.lease = {"lease_seconds": 1, "grace_seconds": 600, "drain": False}
    with invitation(site, slurmd=str(tree / "sbin/slurmd"), lease_seconds=1) as invited:
        yield invited


def skew(site, seconds: float) -> None:
    """Let the agent's clock be wrong from now on."""
    file = site.root / "skew"
    file.write_text(str(seconds))
    if str(file) not in site.agent.read_text():
        future = "from __future__ import annotations\n"
        site.agent.write_text(site.agent.read_text().replace(future, SKEWED.format(file=str(file)), 1))


def renewals(site) -> int:
    return len(named(site, "lease"))


def with_job(site, number: int) -> None:
    """As prolog leaves it while a job runs."""
    folder = site.state / "jobs" / str(number)
    folder.mkdir(parents=True)
    (folder / "plan").write_text("{}")


def state(site) -> str:
    return (site.tree / "state").read_text().strip()


@pytest.mark.parametrize("seconds", [300, -300])
def test_i24_a_clock_that_is_five_minutes_wrong_kills_nothing(invited, seconds):
    """The node joins, its signatures are good, and its lease is renewed again and again; none was refused."""
    skew(invited, seconds)
    process = start(invited)
    until(lambda: renewals(invited) >= 8)
    assert process.poll() is None
    assert "not renewed" not in invited.log
    assert "which is followed" in invited.log


def test_i24_a_clock_that_jumps_kills_nothing(invited):
    """Set by five minutes while the node lives, forth and back: the lease is not counted by it."""
    skew(invited, 0)
    process = start(invited)
    for seconds in (300, -300, 0):
        before = renewals(invited)
        until(lambda before=before: renewals(invited) >= before + 3)
        skew(invited, seconds)
    before = renewals(invited)
    until(lambda: renewals(invited) >= before + 3)
    assert process.poll() is None
    assert state(invited) == "IDLE+CLOUD"


def test_a_clock_that_is_days_wrong_is_not_followed(invited):
    """Whoever answers in the gateway's place could otherwise have it sign for tomorrow."""
    skew(invited, -86400)
    process = start(invited)
    assert process.wait(20) == 1
    assert "too far: set it" in invited.log


def test_a_job_runs_on_when_the_gateway_is_silent_and_the_node_drains(invited):
    """Slurm sends no more jobs; when the gateway speaks again, the node is as it was."""
    process = start(invited)
    until(lambda: renewals(invited))
    with_job(invited, 7)
    invited.close()
    until(lambda: state(invited) == "IDLE+CLOUD+DRAIN")
    assert (invited.tree / "state.reason").read_text() == "gateway: its gateway is silent\n"
    invited.open()
    until(lambda: state(invited) == "IDLE+CLOUD")
    assert process.poll() is None


def test_after_the_job_the_node_ends(invited):
    """As soon as the job's outputs are in the store or given up, however long the grace is."""
    process = start(invited)
    until(lambda: renewals(invited))
    with_job(invited, 7)
    invited.close()
    until(lambda: state(invited) == "IDLE+CLOUD+DRAIN")
    assert process.poll() is None
    (invited.state / "jobs/7/plan").unlink()
    assert process.wait(20) == 0
    assert "this node ends itself: nobody renewed the lease" in invited.log


def test_after_the_grace_the_node_ends_with_its_job(invited):
    """The lease said how long a job may go on."""
    invited.lease["grace_seconds"] = 2
    process = start(invited)
    until(lambda: renewals(invited))
    with_job(invited, 7)
    invited.close()
    silent = time.monotonic()
    assert process.wait(30) == 0
    assert time.monotonic() - silent > 3


def test_a_drain_of_others_is_neither_overwritten_nor_taken_back(invited):
    """I23, on the node: an administrator's reason is there before, meanwhile and afterwards."""
    (invited.tree / "state").write_text("IDLE+CLOUD+DRAIN\n")
    (invited.tree / "state.reason").write_text("bad fan\n")
    process = start(invited)
    until(lambda: renewals(invited))
    with_job(invited, 7)
    invited.close()
    until(lambda: "jobs that run here may end" in invited.log)
    before = renewals(invited)
    invited.open()
    until(lambda: renewals(invited) >= before + 2)
    assert process.poll() is None
    assert not (invited.tree / "state.said").exists()


def test_an_agent_that_dies_again_and_again_does_not_keep_its_node(invited):
    """Started anew while the gateway is silent, it goes on with the lease that it had."""
    invited.lease["lease_seconds"] = 3
    process = start(invited)
    until(lambda: renewals(invited))
    invited.close()
    silent = time.monotonic()
    for _ in range(2):
        threading.Event().wait(2)
        process.kill()
        process.wait()
        process = start(invited)
    assert process.wait(20) == 0
    assert time.monotonic() - silent < 12


def test_it_tells_the_gateway_that_it_leaves(invited):
    """Where a guest cannot end its machine's bill, the gateway can."""
    start(invited)
    until(lambda: renewals(invited))
    pid = subprocess.run(
        ["pgrep", "-P", str(invited.started[0].pid), "sleep"], capture_output=True, text=True, check=True
    )
    os.kill(int(pid.stdout), 9)
    until(lambda: named(invited, "leave"))
    assert named(invited, "leave") == [{"reason": "slurmd has ended"}]


def test_a_quarantined_node_starts_no_slurmd(invited):
    """It keeps its lease, so that somebody can look at it, until the gateway wants it to end."""
    reply = {**invited.join_reply(), "quarantined": "it has 1 of 2 GPUs", "lease_seconds": 1}
    invited.hook = lambda name, _: (200, reply) if name == "join" else None
    process = start(invited)
    until(lambda: renewals(invited) >= 2)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    assert children == ""
    invited.lease["drain"] = True
    assert process.wait(10) == 0


def test_each_word_carries_what_the_machine_has_now(invited):
    """After the first look, which keeps no lease waiting."""
    start(invited)
    until(lambda: any(said["inventory"] for said in named(invited, "lease")))
    found = next(said["inventory"] for said in named(invited, "lease") if said["inventory"])
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_mb"] > 0
