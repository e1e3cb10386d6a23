"""Debian packages of any suite, unpacked into a folder by an ordinary user.

Invariant: the machine's own apt state is only read; the archive is the one that the machine itself uses, and apt
verifies its signatures against the machine's own keyrings.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import SetupError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LEFT_OUT = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*")
_INSTALL_HINT = "install Slurm 24.11 or newer on this machine, or use a Debian machine with network access"


def unpack(packages: Sequence[str], suite: str, scratch: Path, root: Path) -> None:
    """Download ``packages`` of ``suite`` with all they depend on and unpack them into ``root``.

    ``scratch`` holds apt's private state meanwhile and is left without it. Raises SetupError without apt, a Debian
    archive or the network.
    """
    _need("apt-get", "dpkg-deb", "tar")
    state = scratch / "apt"
    for folder in (state / "lists/partial", state / "cache/archives/partial", root):
        folder.mkdir(parents=True)
    (state / "status").touch()  # an empty one: nothing counts as installed, so every dependency is downloaded
    source = f"deb [signed-by={_KEYRING}] {_archive()} {suite} main\n"
    (state / "sources.list").write_text(source)
    options = _options(state, suite)
    _run("apt-get", *options, "update", "-qq")
    _run("apt-get", *options, "install", "-y", "-qq", "--download-only", *packages)
    for package in sorted((state / "cache/archives").glob("*.deb")):
        _extract(package, root)
    shutil.rmtree(state)


def _archive() -> str:
    """The Debian archive that this machine's apt is set to, as a URI."""
    _need("apt-get")
    form = "$(LABEL)|$(REPO_URI)"
    lines = _run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    uris = [uri for label, _, uri in (line.partition("|") for line in lines) if label == "Debian"]
    # Lists that were never downloaded have no label; then the usual name of the archive's folder decides.
    uris += [line.partition("|")[2] for line in lines if line.rstrip("/").endswith("/debian")]
    if not uris:
        raise SetupError("this machine's apt knows no Debian archive", hint=_INSTALL_HINT)
    return uris[0]


def _options(state: Path, suite: str) -> list[str]:
    given = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
    }
    if suite not in {"bookworm", "trixie"}:
        # Only indexes of testing and unstable expire; a mirror may lag behind them. Signatures are still verified.
        given["Acquire::Check-Valid-Until"] = "false"
    return [word for key, value in given.items() for word in ("-o", f"{key}={value}")]


def _extract(package: Path, root: Path) -> None:
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reader:
        arguments = ["tar", "x", "-C", str(root), "--no-same-owner", "--no-same-permissions", *left_out]
        written = subprocess.run(arguments, stdin=reader.stdout, capture_output=True, text=True, check=False)
    if reader.returncode or written.returncode:
        raise SetupError(f"{package.name} cannot be unpacked: {written.stderr.strip()}", hint="is the disk full?")


def _need(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise SetupError(
            f"this machine has no {', '.join(missing)} to unpack Debian's packages with", hint=_INSTALL_HINT
        )


def _run(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SetupError(f"{arguments[0]} failed: {words[-1] if words else done.returncode}", hint=_INSTALL_HINT)
    return done.stdout
