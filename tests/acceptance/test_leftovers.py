"""Nothing is left: the demo, from an empty directory to its end, on this machine's own processes, mounts, network and files.

The demo runs with a copy-on-write view of the machine's folders, so that what it writes there is known to be its own,
whatever else writes there meanwhile.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateway_site import Answer, Site, eventually, shared_cache

from gateway.provisioning.cgroups import CGROUP_ROOT

pytestmark = pytest.mark.root

CHECKOUT = Path(__file__).resolve().parents[2]
WATCHED = ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var")  # noqa: S108 - where nothing may be left
MARK = "BURST_TEST_MARK"
WITHIN_S = 250

VIEW = """\
set -eu
mount -t tmpfs none "$1"
for folder in {folders}; do
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    mkdir -p "$1/upper$folder" "$1/work$folder"
    for kept in {kept}; do
        case "$kept" in "$folder"/*) exec {descriptor}<"$kept"; break;; esac
    done
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$1/upper$folder,workdir=$1/work$folder" "$folder"
done
"""


@dataclass
class Seen:
    """What the demo showed while it ran, and what the machine had of it afterwards."""

    directory: Path
    answer: Answer
    machines: set[str] = field(default_factory=set)
    up: set[str] = field(default_factory=set)
    processes: int = 0
    written: list[str] = field(default_factory=list)
    mark: str = ""
    bridge: str = ""
