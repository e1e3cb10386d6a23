"""SlurmDaemons: munged, slurmctld and slurmrestd of one embedded cluster, as processes.

Invariant: each is started only when it does not run, after the one that it needs answers, and is not called started
before it answers itself.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.daemons import Daemon
from gateway.engines.distribution import NO_LONGER_AS_SLURM_USER, Distribution
from gateway.engines.slurm_conf import HEAD_CONF, ClusterPlan
from gateway.errors import SetupError

_TICK_S = 0.03
_PATIENCE_S = 60.0
_NOBODY = 65534
_NO_DNS = {"RES_OPTIONS": "attempts:0"}
"""For resolv.conf(5)'s resolver: answer from /etc/hosts or not at all.

slurmctld looks up the name of each caller's address before it accepts the next caller, so a name server that is slow
or not there would hold up all of Slurm for seconds. Every address in our configuration is a number.
"""


@dataclass(frozen=True)
class SlurmDaemons:
    """The daemons of ``plan``, whose configuration is in place; ``environment`` has SLURM_CONF and PATH."""

    plan: ClusterPlan
    distribution: Distribution
    run_dir: Path
    munge_key: Path
    rest_address: tuple[str, int]
    environment: Mapping[str, str]

    def revive(self, answers: Callable[[], bool]) -> tuple[str, ...]:
        """Start what does not run and return its names; ``answers()`` says whether the whole works.

        Raises SetupError, with the end of its log, if one ends or does not answer within a minute.
        """
        steps = (
            (self._daemon("munged"), self._begin_munged, self._munged_ready),
            (self._daemon("slurmctld"), self._begin_slurmctld, self._slurmctld_ready),
            (self._daemon("slurmrestd"), self._begin_slurmrestd, self._slurmrestd_ready),
        )
        started = tuple(daemon.name for daemon, begin, ready in steps if _revived(daemon, begin, ready))
        if started:
            _wait(self._daemon("slurmctld"), answers)
        return started

    def stop(self, names: Iterable[str] = ("slurmrestd", "slurmctld", "munged")) -> None:
        """End them and wait until they are gone."""
        for name in names:
            self._daemon(name).stop()

    def _daemon(self, name: str) -> Daemon:
        return Daemon(name, self.run_dir, self.plan.log_dir / f"{name}.log")

    def _begin_munged(self) -> None:
        options = {
            "key-file": self.munge_key,
            "socket": self.plan.munge_socket,
            "pid-file": self.plan.directory / "munged.pid",
            "seed-file": self.plan.directory / "munge.seed",
            "num-threads": 8,
        }
        # --force: a folder above may be writable for a group, and a killed munged leaves its socket.
        self._run("munged", ["--foreground", "--force", *(f"--{name}={value}" for name, value in options.items())])

    def _munged_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.plan.munge_socket)) == 0

    def _begin_slurmctld(self) -> None:
        self._run("slurmctld", ["-D"])

    def _slurmctld_ready(self) -> bool:
        return _listens((self.plan.head_address, self.plan.slurmctld_port))

    def _begin_slurmrestd(self) -> None:
        """Without slurmdbd the default plugins are fatal; SLURM_JWT=daemon: it has no right but its callers' tokens."""
        address = ":".join(map(str, self.rest_address))
        arguments = ["-s", "openapi/slurmctld", "-a", "rest_auth/jwt", "-t", "8", address]
        if self.distribution.release >= NO_LONGER_AS_SLURM_USER:
            self._run_as_nobody("slurmrestd", arguments, {"SLURM_JWT": "daemon"})
        else:
            # It runs as SlurmUser, the only user there is; this is what the release calls that.
            self._run("slurmrestd", arguments, {"SLURM_JWT": "daemon", "SLURMRESTD_SECURITY": "disable_user_check"})

    def _slurmrestd_ready(self) -> bool:
        return _listens(self.rest_address)

    def _run(self, name: str, arguments: Iterable[str], extra: Mapping[str, str] | None = None) -> None:
        command = [str(self.distribution.program(name)), *arguments]
        self._daemon(name).start(command, env=self._environment() | dict(extra or {}), cwd=Path("/"))

    def _run_as_nobody(self, name: str, arguments: Iterable[str], extra: Mapping[str, str]) -> None:
        """Run ``name`` as nobody, its configuration an open file: nobody may not enter the gateway's folder."""
        parts = [(self.plan.directory / part).read_text() for part in ("slurm.conf", HEAD_CONF)]
        conf = self.plan.directory / "rest.conf"
        conf.write_text("".join(parts).replace("Include slurm.conf\n", ""))
        script = 'exec 3<"$1"; shift; SLURM_CONF=/proc/self/fd/3; export SLURM_CONF; exec "$@"'
        drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        command = ["/bin/sh", "-c", script, "sh", str(conf), *drop, str(self.distribution.program(name)), *arguments]
        self._daemon(name).start(command, env=self._environment() | dict(extra), cwd=Path("/"))

    def _environment(self) -> dict[str, str]:
        """Only what Slurm needs: the gateway's own may hold secrets, and slurmctld's programs inherit it."""
        kept = {name: os.environ[name] for name in ("TZ", "LANG") if name in os.environ}
        return kept | _NO_DNS | dict(self.environment)


def _revived(daemon: Daemon, begin: Callable[[], None], ready: Callable[[], bool]) -> bool:
    if daemon.alive():
        return False
    begin()
    _wait(daemon, ready)
    return True


def _wait(daemon: Daemon, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if not daemon.alive():
            raise SetupError(f"{daemon.name} ended: {daemon.last_words()}", hint=f"read {daemon.log}")
        if time.monotonic() > deadline:
            raise SetupError(f"{daemon.name} does not answer after {_PATIENCE_S:.0f} s", hint=f"read {daemon.log}")
        time.sleep(_TICK_S)


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0
