"""The Vagrantfile: what Vagrant itself thinks of it, and of one with a mistake in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_site import CHECKOUT, PLAYBOOKS


@pytest.fixture(scope="module")
def _vagrant() -> None:
    if not shutil.which("vagrant"):
        pytest.skip("vagrant is not installed; Debian's packages are vagrant and vagrant-libvirt")


@pytest.mark.usefixtures("_vagrant")
def test_vagrant_takes_the_vagrantfile(tmp_path: Path) -> None:
    """It is valid, and its playbook is there; one that misspells a setting of libvirt's is not."""
    text = (CHECKOUT / "Vagrantfile").read_text()
    misspelt = tmp_path / "misspelt"
    misspelt.mkdir()
    (misspelt / "Vagrantfile").write_text(text.replace("libvirt.memory", "libvirt.memroy"))

    good = validate(CHECKOUT, tmp_path)
    bad = validate(misspelt, tmp_path)

    assert (good.returncode, good.stdout) == (0, "Vagrantfile validated successfully.\n"), good.stderr
    assert bad.returncode != 0
    assert "memroy" in bad.stdout + bad.stderr
    assert 'ansible.playbook = "ansible/gateway.yml"' in text
    assert (PLAYBOOKS / "gateway.yml").exists()


def validate(folder: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """``vagrant validate``, which asks nobody on the network and keeps its files in ``work``."""
    kept = {"VAGRANT_HOME": str(work / "home"), "VAGRANT_DOTFILE_PATH": str(work / folder.name / "dot")}
    return subprocess.run(
        ["vagrant", "validate"],
        cwd=folder,
        env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1", **kept},
        capture_output=True,
        text=True,
        check=False,
    )
