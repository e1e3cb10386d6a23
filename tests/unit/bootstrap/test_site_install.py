"""burst site install and remove on the files; slurmctld is a script here, a real one is in tests/acceptance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.bootstrap import site, site_look
from gateway.engines import site_controller
from gateway.engines.distribution import Distribution
from gateway.engines.site_rehearsal import Rehearsed
from gateway.errors import InvalidRequest, SetupError

CONF = b"# kept by hand\r\nClusterName=physics\nSlurmctldHost=head\nPartitionName=main Nodes=n1"
OWN_LUA = b"-- ours since 2019\nfunction slurm_job_submit() return 0 end\n"

SCONTROL = """#!/bin/sh
cd {folder}
echo "$@" >> asked
[ -e dead ] && exit 1
case "$1 $2" in
"show config") printf 'SLURM_VERSION           = 24.11.5\\nJobSubmitPlugins        = lua\\n' ;;
"show partition") [ -e known ] && grep -q 'Include burst.conf' etc/slurm.conf ;;
"reconfigure "*) [ ! -e refuses ] || {{ echo 'error: Unable to process configuration file' >&2; exit 1; }}
    [ ! -e forgets ] || rm -f known ;;
*) echo 'Slurmctld(primary) at head is UP' ;;
esac
"""


class Place:
    """A site's folder, a gateway's, and a slurmctld that takes what it is given unless ``does`` says else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc, self.gateway = folder / "etc", folder / "d"
        self.etc.mkdir()
        self.conf = self.etc / "slurm.conf"
        self.conf.write_bytes(CONF)
        self.conf.chmod(0o640)
        (folder / "scontrol").write_text(SCONTROL.format(folder=folder))
        (folder / "scontrol").chmod(0o755)
        self.does("known")

    def does(self, what: str) -> None:
        """``dead``: does not answer; ``refuses``: says no; ``forgets``: says yes and has no partition then."""
        (self.folder / what).touch()

    def install(self, *, apply: bool = True, more: str = "") -> dict:
        """As the command does."""
        said = {"site": f'{{slurm_conf = "{self.conf}"{more}}}'}
        return site.install(self.gateway, said, lambda _: None, apply=apply)

    def remove(self, *, apply: bool = True) -> dict:
        """As the command does."""
        return site.remove(self.gateway, lambda _: None, apply=apply)

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Name → bytes, mode and time of change."""
        found = [(path, path.stat()) for path in sorted(self.etc.iterdir())]
        return {path.name: (path.read_bytes(), status.st_mode, status.st_mtime_ns) for path, status in found}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    found = Distribution("24.11.5", (tmp_path,), Path("/usr/lib"), "machine")
    monkeypatch.setattr(site.distribution, "find", lambda *_: found)
    monkeypatch.setattr(site_look, "rehearse", lambda *_: Rehearsed(accepted=True))
    monkeypatch.setattr(site_look.os, "getuid", lambda: 0)
    monkeypatch.setattr(site_controller.SiteController, "becomes", lambda self, wanted: self.up() and wanted())
    return Place(tmp_path)


def test_it_comes_and_goes_without_a_trace(place):
    """Bytes, modes and times are as before, and no file is more or less."""
    before = place.files()

    done = place.install()
    assert done["done"], done
    assert set(place.files()) == {"slurm.conf", "burst.conf", "job_submit.lua"}
    assert place.files()["slurm.conf"][1] == before["slurm.conf"][1]
    place.remove()

    assert place.files() == before


def test_without_apply_nothing_is_touched(place):
    """Neither the site's files nor the gateway's settings, by install or by remove."""
    before = place.files()

    said = place.install(apply=False)

    assert "+Include burst.conf" in said["diff"]
    assert any(line["line"].startswith("ok    slurmctld: release 24.11.5") for line in said["findings"])
    assert place.files() == before
    assert not (place.gateway / "burst.toml").exists()
    place.install()
    extended = place.files()
    assert "-Include burst.conf" in place.remove(apply=False)["diff"]
    assert place.files() == extended


def test_twice_is_once(place):
    """The second time there is nothing to change, in either direction; what burst.toml says else stays."""
    place.install(more=', users = {asmith = "alice"}')
    assert place.install()["files"] == []
    assert 'users = {asmith = "alice"}' in (place.gateway / "burst.toml").read_text()
    place.remove()
    assert place.remove()["files"] == []


def test_what_stands_in_the_way_leaves_the_site_as_it_is(place):
    """It is told, with its line; nothing is written."""
    with place.conf.open("ab") as file:
        file.write(b"\nPartitionName=cloud Nodes=n1\n")
    before = place.files()

    said = place.install()

    assert said["stops"] == 1
    assert not said["done"]
    assert any("slurm.conf:5: it has a partition cloud" in one["line"] for one in said["findings"])
    assert place.files() == before


def test_a_missing_include_is_told_with_its_line(place):
    """slurmctld would wait a minute for it and then not start."""
    with place.conf.open("ab") as file:
        file.write(b"\nInclude gone.conf\n")

    with pytest.raises(SetupError, match=r"slurm\.conf:5 includes .*gone\.conf: No such file"):
        place.install()


def test_the_site_s_own_lua_is_called_and_comes_back(place):
    """It lies beside ours while we are there, with its mode, and is what it was afterwards."""
    own = place.etc / "job_submit.lua"
    own.write_bytes(OWN_LUA)
    own.chmod(0o600)
    before = place.files()

    place.install()
    assert place.files()["job_submit.site.lua"][:2] == before["job_submit.lua"][:2]
    assert f'local SITES_OWN = "{place.etc}/job_submit.site.lua"' in own.read_text()
    assert place.install()["files"] == []
    place.remove()

    assert place.files() == before


def test_what_was_edited_meanwhile_is_kept_and_told(place):
    """Other lines of slurm.conf, the site's own Lua where it lies now, and ours, which is set aside."""
    (place.etc / "job_submit.lua").write_bytes(OWN_LUA)
    place.install()
    with place.conf.open("ab") as file:
        file.write(b"MaxJobCount=7\n")
    (place.etc / "job_submit.site.lua").write_bytes(OWN_LUA + b"-- new\n")
    with (place.etc / "job_submit.lua").open("ab") as file:
        file.write(b"-- somebody was here\n")

    notes = place.remove()["notes"]

    assert {name: found[0] for name, found in place.files().items()} == {
        "slurm.conf": CONF + b"\nMaxJobCount=7\n",
        "job_submit.lua": OWN_LUA + b"-- new\n",
    }
    assert [note.partition(": ")[2] for note in notes] == [
        "only our lines are taken out",
        "job_submit.lua gets what it says now",
        f"what it was is kept in {place.gateway}/site/edited-job_submit.lua",
    ]
    assert (place.gateway / "site/edited-job_submit.lua").read_bytes().endswith(b"-- somebody was here\n")


@pytest.mark.parametrize(
    ("does", "why"),
    [("refuses", "Unable to process configuration file"), ("forgets", "it does not know the partition")],
)
def test_what_slurmctld_does_not_take_is_taken_back(place, does, why):
    """Byte, mode and time; the next installation begins anew."""
    (place.etc / "job_submit.lua").write_bytes(OWN_LUA)
    before = place.files()
    place.does(does)

    said = place.install()

    assert not said["done"]
    assert why in said["rolled_back"]
    assert place.files() == before
    assert not (place.gateway / "site/manifest.json").exists()


def test_a_slurmctld_that_is_away_stops_it(place):
    """Nobody could tell whether it takes the change."""
    place.does("dead")

    said = place.install()

    assert [one["line"] for one in said["findings"] if one["level"] == "stop"] == [
        "stop  slurmctld: it does not answer: it said nothing; see that `scontrol ping` says UP, then try again"
    ]


def test_a_half_made_installation_can_be_taken_back(place):
    """Killed after the first file: the manifest was written before it."""
    before = place.files()
    place.install()
    manifest = json.loads((place.gateway / "site/manifest.json").read_text())
    place.conf.write_bytes(CONF)

    assert {Path(entry["path"]).name for entry in manifest["files"]} == {"slurm.conf", "burst.conf", "job_submit.lua"}
    place.remove()

    assert place.files() == before


def test_a_link_stays_a_link(place, tmp_path):
    """A slurm.conf that is a link is changed where it lies; Slurm looks for what it includes where the link is."""
    real = tmp_path / "repository"
    real.mkdir()
    place.conf.rename(real / "slurm.conf")
    place.conf.symlink_to(real / "slurm.conf")

    place.install()
    assert place.conf.is_symlink()
    assert (place.etc / "burst.conf").exists()
    assert b"Include burst.conf" in (real / "slurm.conf").read_bytes()
    place.remove()

    assert place.conf.is_symlink()
    assert (real / "slurm.conf").read_bytes() == CONF
    assert [path.name for path in place.etc.iterdir()] == ["slurm.conf"]


def test_the_command_line_s_filter_comes_and_goes(place):
    """Only where it was asked for: a host of users without the file could submit nothing."""
    place.install(more=", cli_filter = true")
    assert "CliFilterPlugins=lua" in (place.etc / "burst.conf").read_text()
    assert (place.etc / "cli_filter.lua").exists()

    place.install(more=", cli_filter = false")

    assert "CliFilterPlugins" not in (place.etc / "burst.conf").read_text()
    assert not (place.etc / "cli_filter.lua").exists()


def test_a_directory_that_serves_no_site_is_told_how(place):
    """One line that says what to do."""
    with pytest.raises(InvalidRequest, match="serves no site") as refused:
        place.remove()
    assert "--slurm-conf" in (refused.value.hint or "")
