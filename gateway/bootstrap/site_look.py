"""Look: everything that an installation must know of a site before it touches it, and the exact change that it makes.

Invariant: looking writes nothing at the site.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gateway.bootstrap.site_files import Change, Manifest
from gateway.engines.site_block import BURST_CONF, CLI_FILTER, JOB_SUBMIT, OURS, SITE_JOB_SUBMIT, extended
from gateway.engines.site_checks import Finding, Surroundings, findings, stops
from gateway.engines.site_conf import SiteConf
from gateway.engines.site_controller import SiteController
from gateway.engines.site_rehearsal import rehearse
from gateway.engines.site_slurm import SiteSlurm
from gateway.engines.slurm_programs import python_of
from gateway.errors import SetupError


@dataclass(frozen=True)
class Look:
    """What was found at one site, and what would be changed there."""

    conf: SiteConf
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]

    @property
    def stopped(self) -> bool:
        """Whether something stands in the way."""
        return bool(stops(self.findings))


def look(slurm: SiteSlurm, controller: SiteController, manifest: Manifest) -> Look:
    """Read, ask, compare, and rehearse where nothing stands in the way. Raises SetupError for an unreadable file."""
    conf = slurm.conf()
    partition = slurm.partition()
    found = findings(conf.without_ours(), partition, _surroundings(slurm, conf, controller))
    if stops(found):
        return Look(conf, tuple(found), ())
    changes = _changes(slurm, conf, manifest)
    found.append(_rehearsed(slurm, conf, changes))
    return Look(conf, tuple(found), changes)


def own_files(conf: SiteConf) -> dict[str, Path]:
    """Name → path of each file that is ours while we are installed."""
    return {name: conf.path.parent / name for name in (BURST_CONF, JOB_SUBMIT, CLI_FILTER)}


def is_ours(path: Path) -> bool:
    """Whether an installation wrote it."""
    return path.exists() and OURS in path.read_text(errors="replace").partition("\n")[0]


def _surroundings(slurm: SiteSlurm, conf: SiteConf, controller: SiteController) -> Surroundings:
    running = controller.config()
    files, folder = own_files(conf), conf.path.parent
    foreign = [files[name] for name in (BURST_CONF,) if files[name].exists() and not is_ours(files[name])]
    if slurm.partition().cli_filter and files[CLI_FILTER].exists() and not is_ours(files[CLI_FILTER]):
        foreign.append(files[CLI_FILTER])
    lua, kept = files[JOB_SUBMIT], folder / SITE_JOB_SUBMIT
    if lua.exists() and not is_ours(lua) and (kept.exists() or lua.is_symlink()):
        foreign.append(kept if kept.exists() else lua)
    return Surroundings(
        running=running,
        trouble="" if running else controller.trouble(),
        plugins=_plugins(running.get("PluginDir", "")),
        site_lua=kept.exists() or (lua.exists() and not is_ours(lua)),
        taken=tuple(foreign),
        closed=tuple(_closed(slurm, conf)),
    )


def _plugins(folders: str) -> frozenset[str]:
    return frozenset(path.stem for folder in folders.split(":") if folder for path in Path(folder).glob("*.so"))


def _closed(slurm: SiteSlurm, conf: SiteConf) -> list[str]:
    """What may not be written or run."""
    said = []
    if os.getuid():
        said.append("only root may change it and run the gateway of a site: sudo burst site install ...")
    said += [f"{path} cannot be written" for path in (conf.path, conf.path.parent) if not os.access(path, os.W_OK)]
    try:
        python_of(slurm.slurm_user)
    except SetupError as error:
        said.append(f"{error.detail}; {error.hint}")
    return said


def _changes(slurm: SiteSlurm, conf: SiteConf, manifest: Manifest) -> tuple[Change, ...]:
    """What is included comes first, slurm.conf last: nothing that it names is ever missing."""
    files, folder = own_files(conf), conf.path.parent
    lua, kept = files[JOB_SUBMIT], folder / SITE_JOB_SUBMIT
    partition = slurm.partition()
    changes = []
    if lua.exists() and not is_ours(lua):
        changes.append(Change(kept, None, lua.read_bytes(), like=lua))
    chained = bool(changes) or kept in manifest.entries
    wanted = {
        lua: rendered(JOB_SUBMIT, slurm, SITE_JOB_SUBMIT if chained else ""),
        files[BURST_CONF]: partition.text(conf.without_ours()).encode(errors="surrogateescape"),
    }
    if partition.cli_filter:
        wanted[files[CLI_FILTER]] = rendered(CLI_FILTER, slurm, "")
    elif is_ours(files[CLI_FILTER]):
        changes.append(Change(files[CLI_FILTER], files[CLI_FILTER].read_bytes(), None))
    # A slurm.conf that is a link is changed where it lies; what it includes is looked for where the link is.
    real = conf.path.resolve()
    wanted[real] = extended(real.read_bytes())
    changes += [Change(path, path.read_bytes() if path.exists() else None, text) for path, text in wanted.items()]
    return tuple(change for change in changes if change.before != change.after)


def rendered(name: str, slurm: SiteSlurm, chained: str) -> bytes:
    """One of our Lua scripts for this site. ``chained``: the file of the site's own that it calls, "" for none."""
    text = resources.files("slurm_plugins").joinpath(name).read_text(encoding="utf-8")
    partition = slurm.partition().name
    text = text.replace('local PARTITION = "cloud"', f'local PARTITION = "{partition}"')
    text = text.replace("local SLURM_USER = 0", f"local SLURM_USER = {slurm.slurm_user}")
    path = slurm.conf().path.parent / chained if chained else ""
    return text.replace('local SITES_OWN = ""', f'local SITES_OWN = "{path}"').encode()


def _rehearsed(slurm: SiteSlurm, conf: SiteConf, changes: tuple[Change, ...]) -> Finding:
    if not changes:
        return Finding("ok", "rehearsal", "nothing changes")
    tried = rehearse(slurm.distribution, conf.path, {change.path: change.after for change in changes}, slurm.slurm_user)
    if tried.accepted:
        return Finding("ok", "rehearsal", "a slurmctld that was started with the change, apart from the site, took it")
    if tried.accepted is None:
        return Finding("note", "rehearsal", f"not done, {tried.said}")
    return Finding("stop", "rehearsal", f"a slurmctld that was started with the change, apart, refused: {tried.said}")
