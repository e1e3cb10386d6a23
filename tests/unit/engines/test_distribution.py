"""Which Slurm is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engines import distribution
from gateway.engines.distribution import Distribution, find, release_of
from gateway.errors import SetupError


@pytest.mark.parametrize(
    ("version", "release"), [("24.11.5", (24, 11)), ("26.05.5", (26, 5)), ("25.05.0-1", (25, 5)), ("unknown", (0, 0))]
)
def test_release(version, release):
    """Slurm's month has two digits in text and is a number here."""
    assert release_of(version) == release


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose whole PATH is one folder, with a slurmctld of the release that a test asks for."""
    programs = tmp_path / "sbin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(distribution, "_SYSTEM_PATH", ())

    def have(release: str) -> Path:
        for name in (*distribution.DAEMONS, *distribution.COMMANDS):
            (programs / name).write_text(f"#!/bin/sh\necho slurm-wlm {release}\n")
            (programs / name).chmod(0o755)
        plugins = tmp_path / "lib" / "slurm"
        plugins.mkdir(parents=True)
        (plugins / "auth_jwt.so").touch()
        return plugins

    return have


def test_a_complete_machine_is_taken_as_it_is(machine, tmp_path):
    """Programs on PATH, a supported release and the JWT plugin: nothing is fetched."""
    plugins = machine("24.11.5")
    found = find("auto", tmp_path / "cache", "trixie", print)
    assert (found.version, found.origin, found.plugin_dir) == ("24.11.5", "machine", plugins)
    assert found.program("slurmctld") == tmp_path / "sbin" / "slurmctld"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("release", ["22.05.8", "27.11.0"])
def test_a_release_out_of_range_cannot_be_asked_for(machine, tmp_path, release):
    """The reason names the release, the hint what to install."""
    machine(release)
    with pytest.raises(SetupError, match=release) as refusal:
        find("machine", tmp_path, "trixie", print)
    assert "apt-get install" in refusal.value.hint


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    """An empty machine lacks every program, and each is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(distribution, "_SYSTEM_PATH", ())
    assert set(distribution.lacking().removeprefix("it has no ").split(", ")) >= {"slurmctld", "slurmd", "munged"}


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    """Nothing to unpack with: one sentence and what to do, and no half copy in the cache."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(distribution, "_SYSTEM_PATH", ())
    with pytest.raises(SetupError, match="apt-get"):
        find("private", tmp_path / "cache", "trixie", print)
    assert not (tmp_path / "cache" / "slurm-trixie").exists()


def test_a_program_that_is_not_there(tmp_path):
    """Asking for it says which."""
    with pytest.raises(SetupError, match="slurmdbd"):
        Distribution("24.11.5", (tmp_path,), tmp_path, "private").program("slurmdbd")
