"""The Slurm-named commands print, byte for byte, what Slurm 24.11.5's own printed about the same cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.slurm_commands import door, program
from gateway.cli.slurm_commands.door import Answer

RECORDED = json.loads((Path(__file__).parents[2] / "recorded/commands-24.11.5/outputs.json").read_text())

Run = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the recorded answers of slurmrestd."""

    def get(path: str, **query: str) -> Answer:
        kind = path.removeprefix(door.SLURM).strip("/")
        return Answer(200, {"x-burst-default-partition": "burst"}, RECORDED["documents"][kind])

    for name in ("SLURM_TIME_FORMAT", "SLURM_NODELIST", "SQUEUE_FORMAT", "SINFO_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(door, "get", get)

    def run_one(argv: list[str]) -> tuple[int, str, str]:
        code = program.run(argv[0], argv[1:])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_one


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: " ".join(case["argv"]))
def test_prints_what_slurm_printed(case: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given what slurmrestd told, when a command is run, then stdout, stderr and exit code are those of Slurm's own."""
    monkeypatch.setattr(time, "time", lambda: float(case["at"]))

    code, out, err = run(case["argv"])

    assert _without_the_untold(out, case["argv"]) == _without_the_untold(case["out"], case["argv"])
    assert err == case["err"]
    assert code == case["code"]


def _without_the_untold(text: str, argv: list[str]) -> str:
    """Without what slurmrestd v0.0.42 does not tell: the session id and OOMKillStep of a job; and the clock of -l."""
    lines = text.split("\n")
    if "-l" in argv and "-h" not in argv:
        lines = lines[1:]
    kept = [_untold(line) for line in lines if not line.startswith("   OOMKillStep=")]
    return "\n".join(kept)


def _untold(line: str) -> str:
    words = line.split(" ")
    known = [word for word in words if not word.startswith("OOMKillStep=")]
    return " ".join(word.partition(":Sid=")[0] if word.startswith("AllocNode:Sid=") else word for word in known)
