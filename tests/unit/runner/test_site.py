"""Where slurmctld's programs reach the gateway: the real programs, a real spool and a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import slurm_plugins
from gateway.runner.site import NodesReady, SiteServer, spooled
from slurm_plugins import spool

PROLOG = Path(slurm_plugins.__file__).with_name("prolog_slurmctld.py")
PATIENCE_S = 30.0


class Served:
    """A running server, how often it was woken, and the real PrologSlurmctld as its client."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ready = NodesReady()
        self.woken = threading.Semaphore(0)
        self.server = SiteServer(path, self.ready, self.woken.release)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def prolog(self, nodes: str, timeout_s: float = PATIENCE_S) -> subprocess.Popen:
        """Start PrologSlurmctld for a job on ``nodes``."""
        environment = {"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": nodes}
        return subprocess.Popen(
            [sys.executable, "-S", "-E", PROLOG, self.path, str(timeout_s)], env=environment, stderr=subprocess.PIPE
        )

    def say(self, line: bytes) -> bytes:
        """One line, and what comes back until the server hangs up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(self.path))
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):  # it did not read to the end
                return client.makefile("rb").read()
            return b""

    def stop(self) -> None:
        """Go away."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path):
    """A server on a socket of its own."""
    served = Served(tmp_path / "site.sock")
    yield served
    served.stop()


def test_a_prolog_returns_when_a_node_of_its_is_given_up(site):
    """Slurm requeued the job, and would not start it again before; of what was given up before it knows nothing."""
    site.ready.publish(frozenset(), given_up=frozenset({"small-1"}))
    prolog = site.prolog("small-[1-2]")
    assert site.woken.acquire(timeout=PATIENCE_S)
    with pytest.raises(subprocess.TimeoutExpired):
        prolog.wait(0.5)
    site.ready.publish(frozenset({"small-1"}), given_up=frozenset({"small-2"}))

    assert prolog.wait(PATIENCE_S) == 0


def test_a_prolog_returns_when_all_its_nodes_are_usable(site):
    """One of two is not enough; other nodes do not matter."""
    prolog = site.prolog("small-[1-2]")
    assert site.woken.acquire(timeout=PATIENCE_S)

    site.ready.publish(frozenset({"small-1", "small-3"}))
    with pytest.raises(subprocess.TimeoutExpired):
        prolog.wait(0.5)
    site.ready.publish(frozenset({"small-1", "small-2"}))

    assert prolog.wait(PATIENCE_S) == 0


def test_a_prolog_whose_nodes_are_usable_already_returns_at_once(site):
    """Nothing has to change for it."""
    site.ready.publish(frozenset({"small-1"}))

    assert site.prolog("small-1").wait(PATIENCE_S) == 0


FIRST_GATEWAY = """
import sys
from pathlib import Path
from gateway.runner.site import NodesReady, SiteServer
SiteServer(Path(sys.argv[1]), NodesReady(), lambda: print("woken", flush=True)).serve_forever()
"""


def test_a_prolog_outlives_a_killed_gateway(tmp_path):
    """The gateway is killed while it waits; the next one answers it."""
    path = tmp_path / "site.sock"
    with subprocess.Popen([sys.executable, "-c", FIRST_GATEWAY, path], stdout=subprocess.PIPE) as first:
        while not path.exists():
            assert first.poll() is None
        prolog = Served.prolog(SimpleNamespace(path=path), "small-1", 2 * PATIENCE_S)
        assert first.stdout.readline() == b"woken\n"
        first.kill()

    second = Served(path)
    second.ready.publish(frozenset({"small-1"}))

    assert prolog.wait(PATIENCE_S) == 0
    second.stop()


def test_a_prolog_gives_up_in_the_end_and_never_fails_its_job(site):
    """After its time it ends with 0: then Slurm's own sweep launches the job."""
    assert site.prolog("small-1", timeout_s=0.5).wait(PATIENCE_S) == 0


def test_a_prolog_that_went_away_is_forgotten(site):
    """Its thread ends, though the nodes never come."""
    others = set(threading.enumerate())
    prolog = site.prolog("small-1")
    assert site.woken.acquire(timeout=PATIENCE_S)
    waiting = set(threading.enumerate()) - others

    prolog.kill()
    prolog.wait()

    deadline = time.monotonic() + PATIENCE_S
    mine = [one for one in waiting if "process_request_thread" in one.name]
    for thread in mine:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert mine
    assert not [thread for thread in mine if thread.is_alive()]


NONSENSE = [b"", b"\n", b"{\n", b"[]\n", b"7\n", b'{"program": "wait", "nodes": "n[1-"}\n', b'{"nodes": []}\n']


@pytest.mark.parametrize("line", [*NONSENSE, b"x" * 70000])
def test_nonsense_is_answered_with_silence(site, line, capfd):
    """The server hangs up, prints nothing and serves the next."""
    assert site.say(line) == b""

    assert site.say(b'{"program": "wait", "nodes": ""}\n') == b'{"ready": true}\n'
    assert capfd.readouterr().err == ""


def test_a_poke_wakes_and_does_not_wait(site):
    """The programs that only spool a request are gone at once."""
    spool.poke(str(site.path))

    assert site.woken.acquire(timeout=PATIENCE_S)


def test_only_the_owner_may_connect(site):
    """The socket is closed to others from the moment that it exists."""
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o600


def test_a_socket_that_was_left_behind_is_replaced(tmp_path):
    """A gateway that was killed leaves its socket; the next one takes its place."""
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / "site.sock"))
    left.close()

    served = Served(tmp_path / "site.sock")

    assert served.say(b'{"program": "wait", "nodes": ""}\n') == b'{"ready": true}\n'
    served.stop()


def test_requests_come_in_the_order_of_their_writing(tmp_path):
    """What the real programs spool is taken oldest first, and is gone once done."""
    for number in range(12):
        spool.write(tmp_path, ("resume", "suspend")[number % 2], f"small-[1-{number + 1}]", None)

    taken = list(spooled(tmp_path))
    for request in taken:
        request.done()

    assert [len(request.nodes) for request in taken] == list(range(1, 13))
    assert {request.program for request in taken} == {"resume", "suspend"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "{}", '{"program": "a"}', '{"program": "a", "nodes": 7}', '{"program": "a", "nodes": "n["}'],
)
def test_an_unreadable_request_is_set_aside_and_holds_nobody_up(tmp_path, text):
    """It is kept for people to look at; those after it are taken."""
    (tmp_path / "0-bad.json").write_text(text)
    spool.write(tmp_path, "resume", "small-1", None)

    assert [request.nodes for request in spooled(tmp_path)] == [("small-1",)]
    assert (tmp_path / "0-bad.unreadable").read_text() == text


def test_a_half_written_request_is_not_seen(tmp_path):
    """A request appears whole or not at all."""
    (tmp_path / ".0-1-resume.json.new").write_text(json.dumps({"program": "resume", "nodes": "small-1"}))

    assert not list(spooled(tmp_path))


def test_an_error_of_the_taker_is_its_own(tmp_path):
    """Only an unreadable file is set aside, never one whose handling failed."""
    spool.write(tmp_path, "resume", "small-1", None)

    requests = spooled(tmp_path)
    next(requests)
    with pytest.raises(ValueError, match="busy"):
        requests.throw(ValueError("busy"))

    assert [request.nodes for request in spooled(tmp_path)] == [("small-1",)]
