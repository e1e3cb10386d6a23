"""docs/quickstart.md, run as it stands: each of the three users comes to a first success."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from foreign_cluster import USER, foreign_cluster
from gateway_site import shared_cache

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docs/quickstart.md").read_text()
DIRECTORIES = (".burst/gateway", ".burst/site", ".burst/lab")


def script(heading: str) -> str:
    """The shell blocks of one section, as one script."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert section, heading
    return "set -eu\n" + "".join(re.findall(r"^```sh\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE))


@pytest.fixture
def desk() -> Iterator[Path]:
    """An empty folder of a short name; every gateway that a section started in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="burst-acc-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        for name in DIRECTORIES:
            if (folder / name).exists():
                run(f"burst down --dir {name}", folder)
        shutil.rmtree(folder)


def run(text: str, folder: Path, more: Mapping[str, str] | None = None, path: str = "") -> str:
    """Run it as a person's shell would; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BURST_", "SLURM_", "SBATCH_"))}
    environment = {
        **kept,
        "PATH": ":".join(filter(None, (str(Path(sys.executable).parent), path, os.environ["PATH"]))),
        "BURST_CACHE": str(shared_cache()),
        "BURST_CONFIG": str(folder / "login"),
        **(more or {}),
    }
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_researcher(desk):
    """A first job: its file comes back right, it has a receipt, and Slurm's own commands know it."""
    said = run(script("A researcher"), desk)

    assert "counted on small-" in said
    assert (desk / "results/count.txt").read_text() == "6\n"
    assert re.search(r"^\d+\s+COMPLETED\s+0:0", said, re.MULTILINE)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="a site's slurmd, and so its gateway, runs as root")
def test_a_site(desk):
    """An unchanged sbatch of a site's own user runs on a node that did not exist, and the site gets its files back."""
    with foreign_cluster() as cluster:
        before = cluster.conf.read_bytes()
        given = {"SLURM_CONF": str(cluster.conf), "MUNGE_KEY": str(cluster.munge_key), "RESEARCHER": USER}
        home = f'getent() {{ echo "x:x:x:x:x:{cluster.home}:"; }}\n'
        said = run(home + script("A site"), desk, given, str(cluster.programs.path[0]))

        assert "Submitted batch job" in said
        assert pwd.getpwuid((cluster.home / "burst.txt").stat().st_uid).pw_name == USER
        assert cluster.conf.read_bytes() == before
        assert not (cluster.etc / "burst.conf").exists()


def test_a_sysadmin(desk):
    """A gateway with a size of one's own: a job on a node of it, the fleet, the money, and nothing left."""
    said = run(script("A sysadmin"), desk)

    assert "thin-1" in said
    assert "demo" in said
