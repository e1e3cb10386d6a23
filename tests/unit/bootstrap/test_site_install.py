"""burst site install and uninstall on the files alone; no daemon is needed to change a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.bootstrap import site
from gateway.engines.distribution import Distribution
from gateway.errors import InvalidRequest, SetupError

CONF = b"# kept by hand\r\nClusterName=physics\nSlurmctldHost=head\nPartitionName=main Nodes=n1"


class Place:
    """A site's folder and a gateway's."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.gateway = folder / "etc", folder / "d"
        self.etc.mkdir()
        self.conf = self.etc / "slurm.conf"
        self.conf.write_bytes(CONF)
        self.conf.chmod(0o640)

    def install(self, *, dry_run: bool = False) -> dict:
        """As the command does."""
        said = {"site": f'{{slurm_conf = "{self.conf}"}}'}
        return site.install(self.gateway, said, lambda _: None, dry_run=dry_run)

    def uninstall(self) -> dict:
        """As the command does."""
        return site.uninstall(self.gateway, lambda _: None, dry_run=False)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Name → bytes and mode."""
        return {path.name: (path.read_bytes(), path.stat().st_mode) for path in sorted(self.etc.iterdir())}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    found = Distribution("24.11.5", (Path("/usr/bin"),), Path("/usr/lib"), "machine")
    monkeypatch.setattr(site.distribution, "find", lambda *_: found)
    return Place(tmp_path)


def test_it_comes_and_goes_without_a_trace(place):
    """Bytes and modes are as before, and no file is more or less."""
    before = place.files()

    place.install()
    assert set(place.files()) == {"slurm.conf", "burst.conf", "job_submit.lua"}
    assert place.files()["slurm.conf"][1] == before["slurm.conf"][1]
    place.uninstall()

    assert place.files() == before


def test_a_dry_run_touches_nothing(place):
    """Neither the site's files nor the gateway's settings."""
    before = place.files()

    said = place.install(dry_run=True)

    assert "+Include burst.conf" in said["diff"]
    assert place.files() == before
    assert not (place.gateway / "burst.toml").exists()


def test_twice_is_once(place):
    """The second time there is nothing to change, in either direction."""
    place.install()
    assert place.install()["files"] == []
    place.uninstall()
    assert place.uninstall()["files"] == []


def test_a_conflict_leaves_the_site_as_it_is(place):
    """Every line that stands in the way is named; nothing is written."""
    with place.conf.open("ab") as file:
        file.write(b"\nResumeProgram=/a\nSuspendProgram=/b\n")
    before = place.files()

    with pytest.raises(
        SetupError, match=r"slurm\.conf:5 sets ResumeProgram=/a; .*slurm\.conf:6 sets SuspendProgram=/b"
    ):
        place.install()

    assert place.files() == before


def test_a_job_submit_lua_of_the_site_s_own_is_not_replaced(place):
    """It is named as what stands in the way; uninstall does not remove it either."""
    own = place.etc / "job_submit.lua"
    own.write_text("-- ours since 2019\n")

    with pytest.raises(SetupError, match=r"job_submit\.lua is there and not ours"):
        place.install()
    assert own.read_text() == "-- ours since 2019\n"


def test_a_link_stays_a_link(place, tmp_path):
    """A slurm.conf that is a link into a repository of the site's is changed there."""
    real = tmp_path / "repository"
    real.mkdir()
    place.conf.rename(real / "slurm.conf")
    place.conf.symlink_to(real / "slurm.conf")

    place.install()
    assert place.conf.is_symlink()
    assert (real / "burst.conf").exists()
    place.uninstall()

    assert place.conf.is_symlink()
    assert (real / "slurm.conf").read_bytes() == CONF
    assert [path.name for path in real.iterdir()] == ["slurm.conf"]


def test_a_directory_that_serves_no_site_is_told_how(place):
    """One line that says what to do."""
    with pytest.raises(InvalidRequest, match="serves no site") as refused:
        site.uninstall(place.gateway, lambda _: None, dry_run=False)
    assert "--slurm-conf" in (refused.value.hint or "")
