"""What a gateway's directory keeps: one process at a time, and secrets that are whole and closed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from gateway.bootstrap.presence import only_one
from gateway.bootstrap.secret_file import kept
from gateway.errors import SetupError

HOLDER = """
import sys
from pathlib import Path
from gateway.bootstrap.presence import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_gateway_in_a_directory_is_refused(holder, tmp_path):
    """It says what to do."""
    with pytest.raises(SetupError) as refused, only_one(tmp_path):
        pass

    assert "burst down" in refused.value.hint


def test_a_killed_gateway_holds_nothing(holder, tmp_path):
    """The kernel lets go of its lock, so the next one need only wait for its end."""
    holder.kill()

    with only_one(tmp_path, within_s=20):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path):
    """Whatever ended it."""
    with pytest.raises(ValueError, match="x"), only_one(tmp_path):
        raise ValueError("x")

    with only_one(tmp_path):
        pass


def test_a_secret_is_made_once_and_closed_to_others(tmp_path):
    """The first one stays, whatever would be made later and whatever the umask is."""
    before = os.umask(0)
    try:
        first = kept(tmp_path / "key", lambda: b"first")
    finally:
        os.umask(before)

    assert (first, kept(tmp_path / "key", lambda: b"second")) == (b"first", b"first")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_secret_that_could_not_be_made_is_not_there(tmp_path):
    """An interrupted first start leaves no empty key behind that a later one would use."""

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "key", interrupted)

    assert not (tmp_path / "key").exists()
    assert kept(tmp_path / "key", lambda: b"made") == b"made"
