"""Site: extend the configuration of a Slurm cluster that is there already, show beforehand what changes, take it back.

Invariant: a site in whose way something stands is not touched; a change that slurmctld does not take is taken back;
after ``remove`` the configuration has the bytes, modes and owners of before, and no file more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.bootstrap.lifecycle import configure, configured, toml_text
from gateway.bootstrap.machine import Progress
from gateway.bootstrap.site_files import Change, Manifest, Was
from gateway.bootstrap.site_look import Look, is_ours, look, own_files
from gateway.engines import distribution
from gateway.engines.site_block import JOB_SUBMIT, SITE_JOB_SUBMIT, restored
from gateway.engines.site_checks import stops
from gateway.engines.site_conf import SiteConf
from gateway.engines.site_controller import SiteController
from gateway.engines.site_partition import LUA
from gateway.engines.site_slurm import SiteSlurm
from gateway.errors import InvalidRequest
from gateway.settings import Settings


def install(directory: Path, assignments: Mapping[str, str], progress: Progress, *, apply: bool) -> dict[str, Any]:
    """What was found and what changes; with ``apply`` changing it, unless something stands in the way.

    Raises SetupError for a slurm.conf that cannot be read.
    """
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    assignments = _with_site(directory, assignments)
    slurm = _slurm(configured(directory, assignments), progress)
    controller = SiteController(slurm.distribution, slurm.conf().path)
    manifest = Manifest(directory / "site")
    found = look(slurm, controller, manifest)
    answer = _found(found)
    if not apply or found.stopped:
        return answer
    configure(directory, assignments)
    slurm.install_programs()
    said = _apply(slurm, controller, manifest, found, progress)
    return answer | {"done": not said, "rolled_back": said}


def remove(directory: Path, progress: Progress, *, apply: bool) -> dict[str, Any]:
    """Take back what ``install`` did; done again it changes nothing. Raises SetupError."""
    slurm = _slurm(Settings.load(directory), progress)
    conf = slurm.conf()
    manifest = Manifest(directory / "site")
    notes: list[str] = []
    changes = list(_backwards(conf, manifest, notes.append, apply=apply))
    if apply:
        for change in changes:  # slurm.conf is the first: nothing that it includes is ever missing
            change.make()
        for path, was in manifest.entries.items():
            if path.exists() and manifest.is_as_before(was, path.read_bytes()):
                manifest.dress(was)
        manifest.forget()
        notes += _reread(SiteController(slurm.distribution, conf.path)) if changes else []
    return {
        "diff": "".join(line for change in changes for line in change.diff()),
        "files": [str(change.path) for change in changes],
        "notes": notes,
        "done": apply,
    }


def _with_site(directory: Path, assignments: Mapping[str, str]) -> dict[str, str]:
    """The table ``site`` is added to: what else burst.toml says of the site stays."""
    if "site" not in assignments:
        return dict(assignments)
    file = directory / "burst.toml"
    known = tomllib.loads(file.read_text()).get("site", {}) if file.exists() else {}
    said = tomllib.loads(f"site = {assignments['site']}")["site"]
    return {**assignments, "site": toml_text({**known, **said})}


def _slurm(settings: Settings, progress: Progress) -> SiteSlurm:
    if settings.site is None:
        raise InvalidRequest(
            f"{settings.directory} serves no site", hint="burst site install --slurm-conf FILE names its slurm.conf"
        )
    found = distribution.find(settings.slurm, settings.cache_dir, settings.image_suite, progress)
    return SiteSlurm(settings, found)


def _found(found: Look) -> dict[str, Any]:
    return {
        "findings": [vars(finding) | {"line": finding.line()} for finding in found.findings],
        "stops": len(stops(found.findings)),
        "diff": "".join(line for change in found.changes for line in change.diff()),
        "files": [str(change.path) for change in found.changes],
        "done": False,
        "rolled_back": "",
    }


def _apply(slurm: SiteSlurm, controller: SiteController, manifest: Manifest, found: Look, progress: Progress) -> str:
    """Change the files and have them read; why that was taken back, "" when slurmctld has it all."""
    partition = slurm.partition()

    def accepted() -> bool:
        return controller.has_partition(partition.name) and LUA in controller.config().get("JobSubmitPlugins", "")

    if not found.changes and accepted():
        return ""
    entries = manifest.entries
    manifest.keep(found.changes)
    for change in found.changes:
        change.make()
    progress("slurmctld reads its configuration again")
    said = controller.reconfigure()
    if not said and controller.becomes(accepted):
        return ""
    why = said or ("it does not know the partition" if controller.up() else "it ended")
    progress(f"slurmctld did not take it ({why}): taking the change back")
    _roll_back(found, manifest, entries)
    return "; ".join([f"slurmctld did not take it: {why}", *_reread(controller)])


def _roll_back(found: Look, manifest: Manifest, entries: Mapping[Path, Was]) -> None:
    was = manifest.entries
    for change in reversed(found.changes):
        change.undo()
        if change.before is not None and manifest.is_as_before(was[change.path], change.before):
            manifest.dress(was[change.path])
    manifest.back_to(entries)


def _reread(controller: SiteController) -> list[str]:
    """Have slurmctld read the files of before; what an administrator must then know."""
    if not controller.up():
        return ["slurmctld does not answer; its files are as before: start it as you always do"]
    said = controller.reconfigure()
    return [f"scontrol reconfigure said: {said}"] if said else []


def _backwards(conf: SiteConf, manifest: Manifest, note: Callable[[str], None], *, apply: bool) -> Iterator[Change]:
    """What gives the site its files back; edits that somebody made meanwhile are kept, and told of."""
    real, was = conf.path.resolve(), manifest.entries
    text = real.read_bytes()
    back = restored(text)
    if back != text:
        yield Change(real, text, back)
        if real in was and not manifest.is_as_before(was[real], back):
            note(f"{real} was edited since it was extended: only our lines are taken out")
    folder = conf.path.parent
    kept = folder / SITE_JOB_SUBMIT
    for name, path in own_files(conf).items():
        if not is_ours(path) and path not in was:
            continue
        now = path.read_bytes() if path.exists() else None
        after = _site_lua(kept, was, manifest, note) if name == JOB_SUBMIT else None
        if path in was and now is not None and now != after and not manifest.is_as_left(was[path]):
            where = manifest.set_aside(path) if apply else "the gateway's directory"
            note(f"{path} was edited since we wrote it: what it was is kept in {where}")
        if now != after:
            yield Change(path, now, after, like=kept)
    if kept in was and kept.exists():
        yield Change(kept, kept.read_bytes(), None)


def _site_lua(kept: Path, was: Mapping[Path, Was], manifest: Manifest, note: Callable[[str], None]) -> bytes | None:
    """The site's own job_submit.lua, as it is by now; None where it had none."""
    own = was.get(kept.with_name(JOB_SUBMIT))
    if kept.exists() and (kept in was or own is None):
        text = kept.read_bytes()
        if own is not None and not manifest.is_as_before(own, text):
            note(f"{kept} was edited since: job_submit.lua gets what it says now")
        return text
    return manifest.before(own) if own is not None else None
