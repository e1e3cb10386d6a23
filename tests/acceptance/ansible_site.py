"""The project's playbooks, run by the real ansible-playbook over SSH against system containers.

Invariant: what a run changed is what Ansible itself counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway_site import shared_cache

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOKS = CHECKOUT / "ansible"


@dataclass(frozen=True)
class Recap:
    """What one run did on one host."""

    ok: int
    changed: int
    failures: int
    unreachable: int


def play(playbook: str, inventory: Mapping[str, object], work: Path, within_s: float = 1500) -> dict[str, Recap]:
    """Run a playbook with an inventory; its recap by host. Fails with Ansible's own words."""
    place = work / "inventory.json"
    place.write_text(json.dumps(inventory))
    done = subprocess.run(
        [
            program("ansible-playbook"),
            "-i",
            place,
            playbook,
            "-e",
            f"gateway_build_directory={shared_cache() / 'ansible'}",
        ],
        cwd=PLAYBOOKS,
        env={**environment(work), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (work / "play.log").write_text(done.stdout)
    return _recap(done.stdout)


def environment(work: Path) -> dict[str, str]:
    """For Ansible's programs: this Python's own come first, and what they keep is in the test's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "ANSIBLE_HOME": str(work / "ansible")}


def program(name: str) -> str:
    """One of Ansible's programs beside this Python."""
    return str(Path(sys.executable).with_name(name))


def _recap(text: str) -> dict[str, Recap]:
    lines = text.partition("PLAY RECAP")[2].splitlines()[1:]
    hosts = {}
    for line in lines:
        name, _, counts = line.partition(":")
        if counts:
            known = dict(pair.split("=") for pair in counts.split())
            hosts[name.strip()] = Recap(*(int(known[key]) for key in ("ok", "changed", "failed", "unreachable")))
    return hosts
