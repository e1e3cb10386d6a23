"""The hosts of a gateway's directory, as ``burst hosts`` shows and checks them; the gateway may run or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.bootstrap.sealing_key import keeper, sealer_of
from gateway.errors import InvalidRequest, SetupError
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.host_checks import Finding, findings, standings
from gateway.provisioning.hosts import HostProvider
from gateway.settings import Settings

_SWITCH_S = 180
"""Seconds beside a host's own boot that pass until slurmd registers."""


def listed(directory: Path) -> dict[str, Any]:
    """``{"hosts": [...]}``, each as ``HostStanding``. Raises SetupError."""
    settings = Settings.load(directory)
    return {"hosts": [asdict(each) for provider in _racks(settings) for each in standings(provider)]}


def checked(directory: Path, names: Sequence[str]) -> dict[str, Any]:
    """``{"checks": [...]}``, each as ``Finding``. Raises SetupError, InvalidRequest for a name that is no host's."""
    settings = Settings.load(directory)
    racks = list(_racks(settings))
    known = [host.name for provider in racks for host in provider.errands.sessions.hosts]
    if strange := sorted(set(names) - set(known)):
        raise InvalidRequest(f"there is no host {strange[0]}", hint=f"hosts: {', '.join(known)}")
    found = [each for provider in racks for each in (*_of_settings(settings, provider), *findings(provider, names))]
    return {"checks": [asdict(each) for each in found]}


def _racks(settings: Settings) -> Iterator[HostProvider]:
    clouds = [cloud for cloud in settings.clouds if cloud.kind == "hosts"]
    if not clouds:
        raise SetupError(
            "no cloud of kind hosts is in the settings", hint="docs/bare-metal.md shows how one is written"
        )
    if not (settings.directory / "ssh-ca.pub").exists():
        raise SetupError(
            "this gateway has no SSH authority yet", hint="run: burst up, and install D/ssh-ca.pub on hosts"
        )
    keep = keeper(sealer_of(settings))
    for cloud in clouds:
        provider = open_cloud(cloud, settings, keep)
        assert isinstance(provider, HostProvider)  # noqa: S101 - its kind says so
        yield provider


def _of_settings(settings: Settings, provider: HostProvider) -> Iterator[Finding]:
    """Slurm must wait for a node as long as the slowest host takes to boot."""
    slowest = max((host.boot_s for host in provider.errands.sessions.hosts if host.switched), default=0.0)
    if not slowest:
        return
    needed = int(slowest) + _SWITCH_S
    enough = settings.resume_timeout_s >= needed
    text = f"resume_timeout_s = {settings.resume_timeout_s}"
    if not enough:
        text += f": Slurm gives up before a host has booted; set it to {needed}, or boot_s lower"
    yield Finding(provider.name, "", "settings", enough, text)
