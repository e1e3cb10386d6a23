"""Wheelhouse: one archive with this project's wheel and every wheel of its lock file, for a host that has no index.

    wheelhouse.py --project DIR --python 3.13 --machine x86_64 BUILD_DIR

Prints {"name": release, "archive": path, "wheel": file name}. Needs pip, packaging and hatchling.
Invariant: the release's name is the digest of what is in it, so the same sources give the same name; an archive under
its final name is whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from packaging.requirements import Requirement

# Oldest first: the C libraries of the supported Debian releases run wheels for all of these (PEP 600).
MANYLINUX = ("1", "2010", "2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_34", "_2_36")

KEPT_S = 86400


def main() -> int:
    """Build what is not there yet."""
    options = _options()
    options.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.build, prefix=".new.") as work:
        wheel = _wheel(options.project, Path(work))
        wheels = _locked(options, Path(work))
        name = _digest(wheel.read_bytes(), wheels.name.encode())
        archive = options.build / f"{name}.tar"
        if not archive.exists():
            draft = Path(work) / "archive"
            with tarfile.open(draft, "w") as tar:
                tar.add(wheels, arcname="wheels")
                tar.add(wheel, arcname=f"wheels/{wheel.name}")
            draft.replace(archive)
    archive.touch()
    _forget(options.build)
    print(json.dumps({"name": name, "archive": str(archive), "wheel": wheel.name}))  # noqa: T201 - the answer
    return 0


def _forget(build: Path) -> None:
    """Remove archives that nobody asked for in a day; a release that is installed needs none."""
    for archive in build.glob("*.tar"):
        if archive.stat().st_mtime < time.time() - KEPT_S:
            archive.unlink(missing_ok=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--lock", default="requirements.lock", help="below the project")
    parser.add_argument("--python", required=True, help="the host's Python, major and minor")
    parser.add_argument("--machine", required=True, help="the host's architecture, as uname -m has it")
    parser.add_argument("build", type=Path)
    return parser.parse_args()


def _wheel(project: Path, work: Path) -> Path:
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", work, project)
    (wheel,) = work.glob("burst_gateway-*.whl")
    return wheel


def _locked(options: argparse.Namespace, work: Path) -> Path:
    """A folder with the lock file and the wheels that it names for the host's Python; fetched once."""
    lock = (options.project / options.lock).read_text()
    folder: Path = options.build / f"wheels-{_digest(lock.encode(), options.python.encode(), options.machine.encode())}"
    if not folder.exists():
        draft = work / "wheels"
        draft.mkdir()
        (draft / "requirements.lock").write_text(lock)
        (work / "plain.lock").write_text(_for_python(lock, options.python))
        tags = [f"manylinux{tag}_{options.machine}" for tag in MANYLINUX]
        platforms = [word for tag in (f"linux_{options.machine}", *tags) for word in ("--platform", tag)]
        target = ("--only-binary=:all:", "--no-deps", "--python-version", options.python, *platforms)
        where = ("-r", work / "plain.lock", "-d", draft)
        _run(sys.executable, "-m", "pip", "download", "-q", "--require-hashes", *target, *where)
        draft.replace(folder)
    return folder


def _for_python(lock: str, version: str) -> str:
    """The lock's requirements that count on that Python, without markers: pip would read those for its own Python."""
    host = {"python_version": version, "python_full_version": f"{version}.0"}
    kept = []
    for entry in lock.replace("\\\n", " ").splitlines():
        text, *hashes = entry.partition("#")[0].split("--hash=")
        if not text.strip():
            continue
        wanted = Requirement(text.strip())
        if wanted.marker is None or wanted.marker.evaluate(host):
            kept.append(" ".join([f"{wanted.name}{wanted.specifier}", *(f"--hash={each.strip()}" for each in hashes)]))
    return "\n".join(kept) + "\n"


def _run(*words: object) -> None:
    # Wheels of the same sources are the same to the byte.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words[:4]))} failed: {done.stderr.strip() or done.stdout.strip()}")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
