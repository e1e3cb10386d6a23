"""Site: extend the configuration of a Slurm cluster that is there already, show beforehand what changes, take it back.

Invariant: a site in whose way something stands is not touched; after ``uninstall`` its configuration has the bytes,
modes and owners of before, and no file more.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.bootstrap.lifecycle import configure, configured
from gateway.bootstrap.machine import Progress
from gateway.bootstrap.presence import password_file
from gateway.bootstrap.secret_file import kept
from gateway.engines import distribution
from gateway.engines.site_conf import BURST_CONF, JOB_SUBMIT, OURS, SiteConf, extended, restored
from gateway.engines.site_slurm import SiteSlurm
from gateway.errors import InvalidRequest, SetupError
from gateway.identity.passwords import make_password
from gateway.identity.users import Role
from gateway.settings import CREDIT, Settings


@dataclass(frozen=True)
class Change:
    """One file of the site: its bytes now and then; None where there is none."""

    path: Path
    before: bytes | None
    after: bytes | None

    def diff(self) -> Iterator[str]:
        """As diff -u has it."""
        old, new = (_lines(text) for text in (self.before, self.after))
        gone, made = (str(self.path) if text is not None else "/dev/null" for text in (self.before, self.after))
        for line in difflib.unified_diff(old, new, gone, made):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"

    def make(self) -> None:
        """Write it whole, or remove it; a file that was there keeps its owner and mode."""
        if self.after is None:
            self.path.unlink(missing_ok=True)
            return
        temporary = self.path.with_name(f".{self.path.name}.burst")
        temporary.write_bytes(self.after)
        temporary.chmod(0o644)
        if self.before is not None:
            status = self.path.stat()
            os.chown(temporary, status.st_uid, status.st_gid)
            shutil.copymode(self.path, temporary)
        temporary.replace(self.path)


def install(directory: Path, assignments: Mapping[str, str], progress: Progress, *, dry_run: bool) -> dict[str, Any]:
    """What changes, and unless ``dry_run`` changing it. Raises SetupError with every line that stands in the way."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    slurm = _slurm(configured(directory, assignments), progress)
    conf = slurm.conf()
    changes = _installing(slurm, conf)
    if not dry_run:
        configure(directory, assignments)
        slurm.install_programs()
        for change in sorted(changes, key=lambda one: one.path == conf.path):  # what is included comes first
            change.make()
    return _answer(changes, conf.without_ours().wishes(), dry_run=dry_run)


def uninstall(directory: Path, progress: Progress, *, dry_run: bool) -> dict[str, Any]:
    """Take back what ``install`` did; done again it changes nothing. Raises SetupError."""
    slurm = _slurm(Settings.load(directory), progress)
    conf = slurm.conf()
    text = conf.path.read_bytes()
    changes = [Change(conf.path, text, restored(text))]
    changes += [Change(path, path.read_bytes(), None) for path in _own_files(conf) if _is_ours(path)]
    changes = [change for change in changes if change.before != change.after]
    if not dry_run:
        for change in changes:  # slurm.conf is the first: nothing that it includes is ever missing
            change.make()
    return _answer(changes, [], dry_run=dry_run)


def add_user(directory: Path, name: str, credits_given: float) -> dict[str, Any]:
    """An account for one of the site's users, by who may read the gateway's own directory."""
    from gateway.bootstrap.people import people_of  # noqa: PLC0415 - the database takes a while to import

    settings = Settings.load(directory)
    file = password_file(settings, name)
    if not settings.secrets_dir.exists():
        raise SetupError(f"{directory} holds no gateway yet", hint=f"burst up --dir {directory}")
    with people_of(settings) as people:
        password = kept(file, lambda: make_password().encode()).decode()
        made = people(name, Role.USER, password, int(credits_given * CREDIT))
    return {"user": name, "new": made, "password_file": str(file)}


def _installing(slurm: SiteSlurm, conf: SiteConf) -> list[Change]:
    partition = slurm.partition()
    site = conf.without_ours()
    nodes = [f"{group.name}-{number}" for group in partition.groups for number in range(1, group.count + 1)]
    found = site.conflicts(partition.name, nodes)
    found += [f"{path} is there and not ours" for path in _own_files(conf) if path.exists() and not _is_ours(path)]
    if found:
        raise SetupError("; ".join(found), hint="nothing was changed; docs/site.md says how both can live together")
    burst_conf, job_submit = _own_files(conf)
    now = conf.path.read_bytes()
    wanted = {
        conf.path: now if conf.extended else extended(now),
        burst_conf: partition.text(site).encode(),
        job_submit: _lua(partition.name, slurm.slurm_user).encode(),
    }
    changes = [Change(path, path.read_bytes() if path.exists() else None, text) for path, text in wanted.items()]
    return [change for change in changes if change.before != change.after]


def _slurm(settings: Settings, progress: Progress) -> SiteSlurm:
    if settings.site is None:
        raise InvalidRequest(
            f"{settings.directory} serves no site", hint="burst site install --slurm-conf FILE names its slurm.conf"
        )
    found = distribution.find(settings.slurm, settings.cache_dir, settings.image_suite, progress)
    return SiteSlurm(settings, found)


def _own_files(conf: SiteConf) -> tuple[Path, Path]:
    folder = conf.path.parent
    return folder / BURST_CONF, folder / JOB_SUBMIT


def _is_ours(path: Path) -> bool:
    return path.exists() and OURS in path.read_text(errors="replace").partition("\n")[0]


def _lua(partition: str, slurm_user: int) -> str:
    text = resources.files("slurm_plugins").joinpath(JOB_SUBMIT).read_text(encoding="utf-8")
    text = text.replace('local PARTITION = "cloud"', f'local PARTITION = "{partition}"')
    return text.replace("local SLURM_USER = 0", f"local SLURM_USER = {slurm_user}")


def _answer(changes: list[Change], notes: list[str], *, dry_run: bool) -> dict[str, Any]:
    return {
        "diff": "".join(line for change in changes for line in change.diff()),
        "files": [str(change.path) for change in changes],
        "notes": notes,
        "done": not dry_run,
    }


def _lines(text: bytes | None) -> list[str]:
    return (text or b"").decode(errors="replace").splitlines(keepends=True)
