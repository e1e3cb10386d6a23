"""HostLease: all that a gateway does on a host that is lent to it, as few shell scripts, and the lease it leaves there.

Invariant: the lease is the first thing on the host and the last that goes, and a host has one at most, whoever asks;
what is secret comes through stdin. Every script may be cut off at any line and run again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway.errors import CloudError, HostSilent, SshError
from gateway.provisioning.node import Size
from gateway.provisioning.user_data import JOIN_FILE, file_in
from gateway.ssh.session import Session

START_FILE = "/usr/local/lib/burst/start.py"
LOOK_S = 10.0
RELEASE_S = 90.0

_LACKS, _LESS = 4, 5

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; export PATH LC_ALL\n"
_UNIT_FILE = "/run/systemd/system/burst-node.service"
"""Below /run: a host that reboots is not a node any more."""

_UNIT = f"""\
[Unit]
Description=Burst node agent, for as long as this host is lent
StartLimitIntervalSec=120
StartLimitBurst=10
[Service]
Type=exec
ExecStart=/usr/bin/python3 {START_FILE} --guest
Restart=on-failure
RestartSec=2
TimeoutStopSec=15
Delegate=yes
LimitNOFILE=131072
LimitMEMLOCK=infinity
LimitSTACK=infinity
TasksMax=infinity
# A job may write in its own directory and in what is private to this unit; all of it goes when the host is released.
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
ReadWritePaths=/var/lib/burst /etc/burst /usr/local/lib/burst
BindPaths=/var/lib/burst/spool:/var/spool
TemporaryFileSystem=/run:mode=755 /etc/munge:mode=755 /dev/shm:mode=1777
BindReadOnlyPaths=-/run/systemd/resolve
"""

_FIT = """\
set -eu
for program in systemctl python3 openssl munged slurmd; do
  command -v $program > /dev/null || { echo "$program is not installed"; exit 4; }
done
if [ ! -d /etc/munge ]; then echo "munge is not installed"; exit 4; fi
cores=$(getconf _NPROCESSORS_ONLN)
memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
gpus=0
for device in /dev/nvidia[0-9]*; do [ ! -e "$device" ] || gpus=$((gpus + 1)); done
for id in /sys/class/kfd/kfd/topology/nodes/*/gpu_id; do
  [ ! -e "$id" ] || [ "$(cat "$id")" = 0 ] || gpus=$((gpus + 1))
done
less() { echo "it has $1 $2 of the $3 that its size promises"; exit 5; }
[ "$cores" -ge "$1" ] || less "$cores" cores "$1"
[ "$memory" -ge "$2" ] || less "$memory" "MiB of memory" "$2"
[ "$gpus" -ge "$3" ] || less "$gpus" GPUs "$3"
"""
"""Words: the cores, MiB of memory and GPUs that are promised. GPUs are NVIDIA's device files and AMD's nodes of KFD."""

_TAKE = """\
set -eu; umask 077
mkdir -p /var/lib/burst
cat > /var/lib/burst/.lease.$$
if ! ln /var/lib/burst/.lease.$$ /var/lib/burst/lease.json 2> /dev/null; then
  rm -f /var/lib/burst/.lease.$$
  echo "it has a lease"; exit 3
fi
rm -f /var/lib/burst/.lease.$$
# Port 6818 in the listening state (proc_net_tcp(5)).
if cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | awk '$2 ~ /:1AA2$/ && $4 == "0A" {found=1} END {exit !found}'; then
  rm -f /var/lib/burst/lease.json; rmdir /var/lib/burst
  echo "a slurmd of another cluster listens on port 6818"; exit 4
fi
"""

_PREPARE = """\
set -eu; umask 077
mkdir -p /var/lib/burst/spool /etc/burst /run/systemd/system
mkdir -p -m 755 /usr/local/lib/burst
chmod 755 /var/lib/burst/spool
"""
_BEGIN = """\
set -eu
systemctl daemon-reload
touch /var/lib/burst/begun
systemctl start --no-block burst-node.service
"""

_LOOK = """\
cat /var/lib/burst/lease.json 2> /dev/null || exit 0
echo
if [ -e /var/lib/burst/begun ]; then echo begun; else echo new; fi
systemctl is-active burst-node.service || :
"""

_RELEASE = """\
set -u
[ $# = 0 ] || grep -qF "\\"id\\": \\"$1\\"" /var/lib/burst/lease.json 2> /dev/null || exit 0
systemctl stop burst-node.service 2> /dev/null
systemctl reset-failed burst-node.service 2> /dev/null
if systemctl is-active --quiet burst-node.service; then echo "the node does not end" >&2; exit 1; fi
set -e
rm -f /run/systemd/system/burst-node.service
systemctl daemon-reload
rm -rf /etc/burst/join.json /etc/burst/join.json.new
rm -rf /usr/local/lib/burst/start.py /usr/local/lib/burst/start.py.new /usr/local/lib/burst/__pycache__
rm -rf /usr/local/lib/burst/node_agent.py /usr/local/lib/burst/node_agent.new
for folder in /etc/burst /usr/local/lib/burst; do [ ! -d $folder ] || rmdir --ignore-fail-on-non-empty $folder; done
find /var/lib/burst -mindepth 1 -maxdepth 1 ! -name lease.json -exec rm -rf {} +
rm -f /var/lib/burst/lease.json
[ ! -d /var/lib/burst ] || rmdir --ignore-fail-on-non-empty /var/lib/burst
"""
"""Also for the host's owner, as /var/lib/burst/release."""


class Phase(StrEnum):
    """How far a leased host is."""

    NEW = "new"
    """Leased, nothing started yet."""
    STARTING = "starting"
    RUNNING = "running"
    OVER = "over"
    FAILED = "agent failed"
    WAKING = "waking"
    """It is being switched on; nothing is on it yet."""
    FAILED_TO_WAKE = "failed"
    GOING = "going"
    """It is put back, or switched off."""


_PHASES = {
    "active": Phase.RUNNING,
    "reloading": Phase.RUNNING,
    "activating": Phase.STARTING,
    "deactivating": Phase.RUNNING,
    "failed": Phase.FAILED,
}


@dataclass(frozen=True)
class HostLease:
    """Which node a host is. ``id``: never used twice. ``owner``: which gateway's it is."""

    id: str
    owner: str
    node: str
    token: str | None
    tags: Mapping[str, str]
    created_at: datetime
    woken: bool = False
    """The host was switched on for it, so it is switched off after it."""

    @classmethod
    def make(cls, host: str, owner: str, node: str, token: str | None, tags: Mapping[str, str]) -> HostLease:
        """A new one."""
        return cls(f"{host}.{secrets.token_hex(6)}", owner, node, token, dict(tags), datetime.now(UTC))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> HostLease:
        """From its facts. Raises ValueError."""
        try:
            return cls(**{**facts, "created_at": datetime.fromisoformat(facts["created_at"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no lease: {error}") from error

    @classmethod
    def parse(cls, text: str) -> HostLease:
        """From its JSON. Raises ValueError."""
        return cls.of(json.loads(text))

    @property
    def facts(self) -> Mapping[str, Any]:
        """For JSON."""
        return {**asdict(self), "created_at": self.created_at.isoformat()}

    @property
    def text(self) -> str:
        """Its JSON, on one line."""
        return json.dumps(self.facts)


class NotToBeHad(CloudError):
    """This host cannot be taken: it has a lease, or lacks something."""

    code = "host_not_to_be_had"


class TooLittle(NotToBeHad):
    """It has less than its size promises."""

    code = "host_too_little"


def require(session: Session, size: Size) -> None:
    """Look whether a host has what a node needs, and what its size promises. Raises NotToBeHad, TooLittle, SshError."""
    promised = (str(size.cores), str(size.memory_mb), str(size.gpus))
    done = session.run(("sh", "-c", _PATH + _FIT, "fit", *promised), timeout_s=LOOK_S)
    if done.code == _LESS:
        raise TooLittle(done.text.strip())
    if done.code == _LACKS:
        raise NotToBeHad(done.text.strip())
    _require(done.code, "it could not be looked at what there is on", session, done.complaint)


def take(session: Session, lease: HostLease) -> None:
    """Put the lease on the host. Raises NotToBeHad, SshError."""
    done = session.run(("sh", "-c", _PATH + _TAKE, "take"), lease.text.encode())
    if done.code in {3, 4}:
        raise NotToBeHad(done.text.strip())
    _require(done.code, "the lease could not be put on", session, done.complaint)


def files_in(user_data: str) -> Mapping[str, str]:
    """Path → content of what the agent is started from. Raises ValueError if ``user_data`` invites nobody."""
    return {path: file_in(user_data, path) for path in (JOIN_FILE, START_FILE)}


def begin(session: Session, files: Mapping[str, str]) -> None:
    """Start the agent from its files; safe to repeat. Raises SshError."""
    done = session.run(("sh", "-c", _PATH + _PREPARE))
    _require(done.code, "folders could not be made on", session, done.complaint)
    session.put_file(JOIN_FILE, files[JOIN_FILE].encode(), 0o600)
    session.put_file(START_FILE, files[START_FILE].encode(), 0o755)
    session.put_file("/var/lib/burst/release", f"{_PATH}{_RELEASE}".encode(), 0o755)
    session.put_file(_UNIT_FILE, _UNIT.encode(), 0o644)
    done = session.run(("sh", "-c", _PATH + _BEGIN))
    _require(done.code, "the agent could not be started on", session, done.complaint)


def look(session: Session) -> tuple[HostLease, Phase] | None:
    """The lease that is on the host, if any, and how it stands. Raises SshError."""
    done = session.run(("sh", "-c", _PATH + _LOOK), timeout_s=LOOK_S)
    _require(done.code, "the lease could not be read on", session, done.complaint)
    lines = done.text.splitlines()
    if not lines:
        return None
    try:
        lease = HostLease.parse(lines[0])
        begun, state = lines[-2:]
    except ValueError as error:
        raise SshError(f"the lease on {session.door} cannot be read: {error}") from error
    if begun == "new":
        return lease, Phase.NEW
    return lease, _PHASES.get(state, Phase.OVER)


def release(session: Session, lease_id: str) -> None:
    """End the node, and remove all that was put on the host, unless that lease is gone already. Raises SshError."""
    done = session.run(("sh", "-c", _PATH + _RELEASE, "release", lease_id), timeout_s=RELEASE_S)
    _require(done.code, "the node could not be removed from", session, done.complaint)


def shut_down(session: Session) -> None:
    """Ask the host to switch itself off; it goes while it answers. Raises HostUnreachable if it surely did not hear."""
    with suppress(HostSilent):
        done = session.run(("systemctl", "poweroff", "--no-block"), timeout_s=LOOK_S)
        _require(done.code, "systemd does not switch off", session, done.complaint)


def console(session: Session, lease: HostLease) -> str:
    """What the node's unit wrote to the host's journal. Raises SshError."""
    since = f"--since=@{int(lease.created_at.timestamp())}"
    command = ("journalctl", "--no-pager", "--output=cat", "--lines=300", "--unit=burst-node.service", since)
    return session.run(command, timeout_s=LOOK_S).text


def _require(code: int, what: str, session: Session, complaint: str) -> None:
    if code != 0:
        raise SshError(f"{what} {session.door}: {complaint}")
