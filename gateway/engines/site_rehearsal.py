"""Rehearsal: a second slurmctld reads a changed configuration, cut off from the network, before the real one does.

Invariant: nothing of the site is touched or spoken to: it runs on copies in a folder of its own, in a network namespace
without a way out, with no accounting and a state of its own, and is ended as soon as it is up or has given up.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.distribution import Distribution
from gateway.engines.site_conf import SiteConf
from gateway.errors import SetupError

_UP = "Running as primary controller"
_NOT_IN_FORCE = "job_submit.lua is not in force"
"""In what job_submit.lua of ours logs when it cannot load the site's own."""
_PATIENCE_S = 60.0
_TICK_S = 0.05
_LARGEST = 4 << 20
_FAULT = re.compile(r"(error|fatal): (?!.*specified more than once)")
_ADDRESS = "10.255.255.254"
_OWN = frozenset(
    {
        "slurmctldhost", "slurmctldport", "slurmctldaddr", "slurmctldlogfile", "slurmctldpidfile",
        "slurmctldsyslogdebug", "slurmctldprimaryonprog", "slurmctldprimaryoffprog", "statesavelocation",
        "accountingstoragetype", "accountingstorageenforce", "accountingstoragetres", "jobcomptype", "prioritytype",
        "communicationparameters", "slurmctldparameters", "burstbuffertype", "healthcheckprogram",
        "prologslurmctld", "epilogslurmctld",
    }
)  # fmt: skip
"""What a rehearsal has for itself, or does without: our programs are written after it. All else is the site's."""


@dataclass(frozen=True)
class Rehearsed:
    """How it went. ``accepted`` is None where there was no way to try; ``said`` is slurmctld's own reason, or ours."""

    accepted: bool | None
    said: str = ""


def rehearse(programs: Distribution, conf: Path, changed: Mapping[Path, bytes | None], slurm_user: int) -> Rehearsed:
    """Whether slurmctld starts with these files changed; ``changed``: file → what it will hold, None where it goes.

    Where it does not, the configuration as it is now is tried too: what was wrong before is not our doing, and said so.
    """
    if (lack := _lacking()) is not None:
        return Rehearsed(None, lack)
    said = _try(programs, conf, changed, slurm_user)
    if not said:
        return Rehearsed(accepted=True)
    before = _try(programs, conf, {}, slurm_user)
    if before:
        return Rehearsed(accepted=False, said=f"slurmctld refuses the site's configuration as it is: {before}")
    return Rehearsed(accepted=False, said=said)


def _lacking() -> str | None:
    if os.getuid():
        return "only root can make a network that leads nowhere"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "it needs the programs ip (iproute2) and unshare (util-linux)"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "this machine lets nobody make a network namespace" if done.returncode else None


def _try(programs: Distribution, conf: Path, changed: Mapping[Path, bytes | None], slurm_user: int) -> str:
    """What slurmctld has against it; "" when it came up."""
    with tempfile.TemporaryDirectory(prefix="burst-rehearsal-") as folder:
        top = Path(folder)
        _copy(conf.parent, top / "etc", {path.name: text for path, text in changed.items()})
        try:
            candidate = SiteConf.read(top / "etc" / conf.name)
        except SetupError as error:
            return error.detail
        (top / "state").mkdir()
        candidate.path.write_bytes(_text(candidate, top).encode(errors="surrogateescape"))
        for path in (top, *top.rglob("*")):
            os.chown(path, slurm_user, -1)
        return _run(programs, candidate.path, top / "log", slurm_user)


def _copy(source: Path, target: Path, changed: Mapping[str, bytes | None]) -> None:
    """The site's folder as it will be, without what is too large to be a configuration."""

    def no_configuration(folder: str, names: list[str]) -> list[str]:
        paths = (Path(folder, name) for name in names)
        return [path.name for path in paths if not path.is_dir() and not _is_small_file(path)]

    shutil.copytree(source, target, ignore=no_configuration)
    for name, text in changed.items():
        if text is None:
            (target / name).unlink(missing_ok=True)
        else:
            # Our Lua names the site's own by its whole path; here that is the copy.
            (target / name).write_bytes(text.replace(f'"{source}/'.encode(), f'"{target}/'.encode()))


def _is_small_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST


def _text(candidate: SiteConf, top: Path) -> str:
    own = {
        "SlurmctldHost": f"{socket.gethostname().split('.')[0]}({_ADDRESS})",
        "StateSaveLocation": top / "state",
        "SlurmctldPidFile": top / "state/slurmctld.pid",
        "SlurmctldSyslogDebug": "quiet",
    }
    return candidate.flat(without=_OWN) + "".join(f"{key}={value}\n" for key, value in own.items())


def _run(programs: Distribution, conf: Path, log: Path, slurm_user: int) -> str:
    network = f"ip link set lo up && ip address add {_ADDRESS}/32 dev lo && exec "
    group = pwd.getpwuid(slurm_user).pw_gid
    drop = f"setpriv --reuid={slurm_user} --regid={group} --init-groups " if slurm_user else ""
    command = f"{network}{drop}{programs.program('slurmctld')} -D -i -v"
    environment = {
        "SLURM_CONF": str(conf),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "RES_OPTIONS": "attempts:1 timeout:1",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", command], env=environment, cwd="/", stdout=file, stderr=file
        )
        try:
            return _watch(process, log)
        finally:
            process.kill()
            process.wait()


def _watch(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        if _UP in text:
            return _reason(text) if _NOT_IN_FORCE in text else ""
        if ended:
            return _reason(text)
        time.sleep(_TICK_S)
    return f"it was not up within {_PATIENCE_S:.0f} s: {_reason(log.read_text(errors='replace'))}"


def _reason(text: str) -> str:
    """What it gave up for: its last errors, without its name and the clock."""
    lines = [line for line in text.splitlines() if _FAULT.search(line)]
    said = [line.split("fatal: ", 1)[-1].split("error: ", 1)[-1].strip() for line in lines[-4:]]
    return "; ".join(said) or "it ended and said nothing"
