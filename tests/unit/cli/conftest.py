"""The stub gateway of the client's tests, a kept login at it, and ``burst`` run in this process."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from stub_gateway import PASSWORD, serve

from gateway.cli.burst import run
from gateway.client.session import Session


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory, without the environment's own logins and SBATCH_* variables."""
    for name in ("BURST_URL", "BURST_PROFILE", "SBATCH_EXPORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def stub(here):
    """A gateway that ``burst`` is logged in at."""
    with serve() as running:
        with Session.login(running.url, "demo", PASSWORD) as session:
            session.save()
        yield running


@pytest.fixture
def burst(here, capfd):
    """Run ``burst WORDS`` and say how it ended."""

    def call(*words: str) -> Ran:
        capfd.readouterr()
        code = run(list(words))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


HEAD = "import json, sys, time\ntell = lambda **said: print(json.dumps(said), file=sys.stderr, flush=True)\n"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a program of ours where ``python -m gateway.bootstrap`` is looked for."""

    def write(code: str) -> None:
        program = tmp_path / "bootstrap.py"
        program.write_text(HEAD + textwrap.dedent(code))
        monkeypatch.setattr(
            "gateway.cli.bootstrapping.arguments",
            lambda verb, directory, more=(): [sys.executable, str(program), verb, str(directory), *more],
        )

    return write
