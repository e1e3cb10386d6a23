"""HostLease: all that a gateway does on a host that is lent to it, as few shell scripts, and the lease it leaves there.

Invariant: the lease is the first thing on the host and the last that goes, and a host has one at most, whoever asks;
what is secret comes through stdin. Every script may be cut off at any line and run again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from gateway.errors import CloudError, SshError
from gateway.provisioning.user_data import JOIN_FILE, file_in
from gateway.ssh.session import Session

START_FILE = "/usr/local/lib/burst/start.py"
LOOK_S = 10.0
RELEASE_S = 90.0

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

_TAKE = """\
set -eu; umask 077
for program in systemctl python3 openssl munged slurmd; do
  command -v $program > /dev/null || { echo "$program is not installed"; exit 4; }
done
if [ ! -d /etc/munge ]; then echo "munge is not installed"; exit 4; fi
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
    FAILED = "failed"


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

    @classmethod
    def make(cls, host: str, owner: str, node: str, token: str | None, tags: Mapping[str, str]) -> HostLease:
        """A new one."""
        return cls(f"{host}.{secrets.token_hex(6)}", owner, node, token, dict(tags), datetime.now(UTC))

    @classmethod
    def parse(cls, text: str) -> HostLease:
        """From its JSON. Raises ValueError."""
        try:
            kept = json.loads(text)
            return cls(**{**kept, "created_at": datetime.fromisoformat(kept["created_at"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no lease: {error}") from error

    @property
    def text(self) -> str:
        """Its JSON, on one line."""
        return json.dumps({**asdict(self), "created_at": self.created_at.isoformat()})


class NotToBeHad(CloudError):
    """This host cannot be taken: it has a lease, or lacks something."""


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


def console(session: Session, lease: HostLease) -> str:
    """What the node's unit wrote to the host's journal. Raises SshError."""
    since = f"--since=@{int(lease.created_at.timestamp())}"
    command = ("journalctl", "--no-pager", "--output=cat", "--lines=300", "--unit=burst-node.service", since)
    return session.run(command, timeout_s=LOOK_S).text


def _require(code: int, what: str, session: Session, complaint: str) -> None:
    if code != 0:
        raise SshError(f"{what} {session.door}: {complaint}")
