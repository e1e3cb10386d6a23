"""Daemons with real processes: found again, never mistaken for another, ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gateway.daemons import Daemon, reap, start_time
from gateway.errors import SetupError

SLEEP = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable, "-S", "-E", "-u", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)",
]  # fmt: skip

# The first thread ends, so the process is a zombie; the second goes on and keeps every file open.
HALF_DEAD_PROGRAM = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=[600]).start()
ctypes.pythonapi.pthread_exit(0)
"""
HALF_DEAD = [sys.executable, "-S", "-E", "-c", HALF_DEAD_PROGRAM]


@pytest.fixture
def daemon(tmp_path):
    """A daemon that is not running, ended at the end."""
    one = Daemon("sleeper", tmp_path, tmp_path / "sleeper.log")
    yield one
    one.stop(grace_s=0)


def until(condition):
    """Wait for a condition that a real process brings about."""
    for _ in range(1000):
        if condition():
            return
        psutil.wait_procs([], timeout=0)
        signal.sigtimedwait([], 0.01)
    raise AssertionError(condition)


def test_a_daemon_is_found_again_by_its_file(daemon, tmp_path):
    """Another object for the same files sees the same process, in a session of its own."""
    pid = daemon.start(SLEEP)

    again = Daemon("sleeper", tmp_path, tmp_path / "sleeper.log")

    assert (again.pid(), again.alive()) == (pid, True)
    assert os.getsid(pid) == pid


def test_a_daemon_that_runs_is_not_started_twice(daemon):
    """The second start gives the first one's pid."""
    assert daemon.start(SLEEP) == daemon.start(SLEEP)


def test_a_daemon_lives_until_its_last_thread_has_ended(daemon):
    """A zombie whose threads still hold its sockets is not gone: another could not take its place yet."""
    pid = daemon.start(HALF_DEAD)
    until(lambda: "(zombie)" in Path(f"/proc/{pid}/status").read_text())

    assert daemon.alive()

    daemon.stop(grace_s=0)
    assert (daemon.alive(), start_time(pid)) == (False, None)


def test_a_reused_pid_is_not_taken_for_the_daemon(daemon):
    """The same pid with another start time is somebody else, and is not signalled."""
    other = subprocess.Popen(SLEEP)
    daemon.pid_file.write_text(f"{other.pid} 1")

    daemon.stop(grace_s=0)

    assert daemon.pid() is None
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("text", ["", "12", "twelve 12", "12 13 14", "\0 \0", "999999999 1"])
def test_a_pid_file_that_names_nobody_is_no_daemon(daemon, text):
    """A torn or foreign file is not an error, and the next start replaces it."""
    daemon.pid_file.write_text(text)

    assert not daemon.alive()
    assert daemon.start(SLEEP) == daemon.pid()


@pytest.mark.parametrize("pid", ["0", "-1", "1"])
def test_a_number_that_kill_takes_for_many_names_nobody(tmp_path, pid):
    """Nothing is ever sent to a process group, to all processes or to init."""
    one = Daemon("sleeper", tmp_path, tmp_path / "sleeper.log")
    one.pid_file.write_text(f"{pid} {start_time(1)}")

    assert one.pid() is None


def test_a_zombie_is_not_alive(daemon):
    """A child that ended and was not waited for does not count."""
    pid = daemon.start(SLEEP)
    os.kill(pid, signal.SIGKILL)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)

    assert not daemon.alive()
    assert start_time(pid) is None
    reap(pid)
    assert not psutil.pid_exists(pid)


def test_collecting_leaves_no_zombie(daemon):
    """What somebody else killed is waited for."""
    pid = daemon.start(SLEEP)
    os.kill(pid, signal.SIGKILL)

    daemon.collect(within_s=20)

    assert not psutil.pid_exists(pid)


def test_a_polite_end_leaves_neither_process_nor_file(daemon):
    """SIGTERM is enough for most."""
    pid = daemon.start(SLEEP)

    daemon.stop()

    assert not psutil.pid_exists(pid)
    assert not daemon.pid_file.exists()


def test_a_daemon_that_will_not_end_is_ended_by_force(daemon):
    """After the grace comes SIGKILL, and only then is the file removed."""
    pid = daemon.start(DEAF)
    until(lambda: "deaf" in daemon.last_words())

    daemon.stop(grace_s=0.2)

    assert not psutil.pid_exists(pid)


def test_stopping_what_does_not_run_is_no_error(daemon):
    """A second stop finds nothing to do."""
    daemon.start(SLEEP)
    daemon.stop()
    daemon.stop()

    assert not daemon.alive()


def test_what_ends_at_once_is_an_error_that_names_the_log(daemon):
    """Recording a process that is gone says where to read why."""
    gone = subprocess.Popen([sys.executable, "-S", "-E", "-c", ""])
    gone.wait()

    with pytest.raises(SetupError) as failed:
        daemon.adopt(gone.pid)

    assert str(daemon.log) in failed.value.hint


def test_last_words_are_the_end_of_the_log(daemon):
    """For an error's sentence; a log that is not there has none."""
    assert daemon.last_words() == ""
    daemon.log.write_bytes(b"one\n two\nthree\xff\nfour\n")
    assert daemon.last_words(2) == "three\ufffd | four"


def test_a_name_with_parentheses_does_not_confuse_the_start_time(tmp_path):
    """The command name in /proc/PID/stat may itself hold blanks and parentheses."""
    link = tmp_path / "a) S 1 (b"
    link.symlink_to("/bin/sleep")
    process = subprocess.Popen([link, "600"])

    found = start_time(process.pid)
    ticks = (psutil.Process(process.pid).create_time() - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")
    process.kill()
    process.wait()

    assert found is not None
    assert abs(int(found) - ticks) < 300
