"""Check: what this machine has and lacks for a gateway, each with what to do about it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.bootstrap.presence import READY_FILE, gateway_daemon
from gateway.engines import distribution
from gateway.errors import SetupError
from gateway.provisioning.container_host import ContainerHost
from gateway.provisioning.node_image import NodeImage
from gateway.settings import Settings

FREE_BYTES = 3 * 1024**3
"""Slurm's packages and a node image take about 2 GB, for a moment more."""


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None


def check(directory: Path) -> dict[str, Any]:
    """Look at everything; nothing is changed, fetched or started."""
    settings = Settings.load(directory)
    looks: tuple[Callable[[Settings], Check], ...] = (_python, _space, _slurm, _nodes, _gateway)
    return {"checks": [asdict(look(settings)) for look in looks], "directory": str(directory)}


def _python(_settings: Settings) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer")


def _space(settings: Settings) -> Check:
    place = settings.cache_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Check("disk", free > FREE_BYTES, f"{free / 1024**3:.1f} GiB free for {settings.cache_dir}", "free 3 GiB")


def _slurm(_settings: Settings) -> Check:
    lacking = distribution.lacking()
    if lacking:
        return Check(
            "slurm", ok=True, detail=f"Debian's will be fetched privately: this machine's cannot serve, {lacking}"
        )
    return Check("slurm", ok=True, detail="this machine's own")


def _nodes(settings: Settings) -> Check:
    image = NodeImage(settings.cache_dir, settings.image_suite, settings.image_packages)
    try:
        ContainerHost(settings.cloud_dir, image).require()
    except SetupError as error:
        ok = settings.nodes != "container"
        return Check("nodes", ok=ok, detail=f"processes, not containers: {error.detail}", hint=error.hint)
    return Check("nodes", ok=True, detail="containers")


def _gateway(settings: Settings) -> Check:
    if not settings.run_dir.exists():
        return Check("gateway", ok=True, detail="not set up in this directory yet")
    runs = gateway_daemon(settings).alive() and (settings.run_dir / READY_FILE).exists()
    return Check("gateway", ok=runs, detail="runs" if runs else "does not run", hint="burst up")
