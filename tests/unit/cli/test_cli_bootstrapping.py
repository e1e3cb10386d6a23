"""How the commands run gateway.bootstrap, shown with a stand-in program of the same manners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.cli.bootstrapping import bootstrap
from gateway.errors import SetupError


def test_progress_is_told_and_the_answer_returned(stand_in, tmp_path):
    """Progress lines come as they are said; the JSON of stdout is the answer."""
    stand_in('tell(progress="one")\ntell(progress="two")\nprint(json.dumps({"argv": sys.argv[1:]}))')
    told = []
    answer = bootstrap("up", tmp_path, ["--set", "a=1"], progress=told.append)
    assert told == ["one", "two"]
    assert answer == {"argv": ["up", str(tmp_path), "--set", "a=1"]}


def test_an_error_keeps_its_hint(stand_in, tmp_path):
    """The last line's error and hint are raised."""
    stand_in('tell(progress="one")\ntell(error="no Slurm", hint="install it")\nsys.exit(1)')
    with pytest.raises(SetupError) as caught:
        bootstrap("up", tmp_path, progress=print)
    assert (caught.value.detail, caught.value.hint) == ("no Slurm", "install it")


def test_a_crash_is_told_by_its_last_line(stand_in, tmp_path):
    """A traceback ends in one line, not in forty."""
    stand_in('raise RuntimeError("boom")')
    with pytest.raises(SetupError, match="RuntimeError: boom"):
        bootstrap("up", tmp_path, progress=print)


def test_check_answers_even_when_something_lacks(stand_in, tmp_path):
    """check may end with 1 and still say everything."""
    stand_in('print(json.dumps({"checks": []}))\nsys.exit(1)')
    assert bootstrap("check", tmp_path, progress=print) == {"checks": []}


@pytest.mark.parametrize(("verb", "code"), [("up", "interrupted"), ("down", "finished")])
def test_ctrl_c_ends_up_and_lets_down_finish(stand_in, tmp_path, verb, code):
    """Interrupted while it waits, a command leaves only after the program has left; "down" is never cut off."""
    stand_in(f"""
        from pathlib import Path
        result = Path({str(tmp_path / "result")!r})
        try:
            tell(progress="ready")
            time.sleep(1.0)
            result.write_text("finished")
        except KeyboardInterrupt:
            result.write_text("interrupted")
        """)
    caller = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from gateway.cli import bootstrapping
        bootstrapping.arguments = lambda *_: [sys.executable, {str(tmp_path / "bootstrap.py")!r}]
        bootstrapping.bootstrap({verb!r}, Path("x"), progress=lambda text: print(text, flush=True))
        """)
    process = subprocess.Popen(
        [sys.executable, "-c", caller], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert Path(tmp_path / "result").read_text() == code


def test_check_shows_what_lacks_and_ends_with_1(stand_in, burst):
    """Each check is a line; what lacks has its hint, and the exit code says so."""
    stand_in("""
        print(json.dumps({"checks": [{"name": "slurm", "ok": True, "detail": "24.11.5", "hint": ""},
                                     {"name": "root", "ok": False, "detail": "not root", "hint": "use sudo"}]}))
        """)
    ran = burst("check")
    assert ran.code == 1
    assert ran.out.splitlines() == ["ok    slurm: 24.11.5", "LACK  root: not root; use sudo"]
    assert "root" in ran.err


def test_up_says_how_to_go_on(stand_in, burst):
    """The URL, the form of the nodes with its reason, and the login line of each user."""
    stand_in("""
        print(json.dumps({"url": "http://127.0.0.1:1", "directory": "/d", "store_kind": "rclone", "started_s": 1.9,
            "slurm": {"version": "24.11.5", "origin": "private", "conf": "/d/slurm.conf", "environment": {}},
            "nodes": {"form": "process", "reason": "not root"}, "store": {"url": "http://127.0.0.1:2"},
            "users": {"demo": "/d/secrets/demo"}}))
        """)
    out = burst("up").out
    assert "process: not root" in out
    assert "burst login http://127.0.0.1:1 --user demo --password-file /d/secrets/demo" in out


def test_down_says_what_it_stopped(stand_in, burst):
    """The names of what was running."""
    stand_in('print(json.dumps({"stopped": ["slurmctld", "gateway"]}))')
    assert burst("down").out == "Stopped: slurmctld, gateway.\n"


def test_without_the_server_side_the_extra_is_named(stand_in, burst):
    """A client-only installation says how to get the rest."""
    stand_in('sys.exit("No module named gateway.bootstrap")')
    ran = burst("up")
    assert ran.code == 1
    assert "burst-gateway[server]" in ran.err
