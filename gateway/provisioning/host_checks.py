"""HostChecks: what an administrator asks of hosts: how each stands, and whether the settings are true of it.

Invariant: nothing is switched and no lease is put or ended; a host that was set aside and is now as promised is put
back into use, which is the one thing that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from gateway.errors import BurstError, HostUnreachable, SshError
from gateway.provisioning import host_lease
from gateway.provisioning.host_errands import HostErrands, promise_of
from gateway.provisioning.host_lease import HostLease
from gateway.provisioning.host_notes import Stage
from gateway.provisioning.host_power import PowerError, PowerState
from gateway.provisioning.host_sessions import Host
from gateway.provisioning.hosts import HostProvider

_WORKERS = 16


@dataclass(frozen=True)
class HostStanding:
    """A host as a gateway knows it. ``lease``: which node it is, "" for none; ``health``: "ok", or what is wrong."""

    cloud: str
    host: str
    size: str
    address: str
    power: str
    lease: str
    health: str


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``ok``: None if it could not be looked at now."""

    cloud: str
    host: str
    check: str
    ok: bool | None
    text: str


def standings(provider: HostProvider) -> list[HostStanding]:
    """Every host of a cloud, asked at the same time."""
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="host") as pool:
        return list(pool.map(partial(_standing, provider), provider.errands.sessions.hosts))


def findings(provider: HostProvider, names: Sequence[str] = ()) -> list[Finding]:
    """What the settings say of each host beside what is found there; ``names``: of these alone."""
    chosen = [host for host in provider.errands.sessions.hosts if not names or host.name in names]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="host") as pool:
        return [each for found in pool.map(partial(_findings, provider), chosen) for each in found]


def _standing(provider: HostProvider, host: Host) -> HostStanding:
    errands, lease, health = provider.errands, "", "ok"
    try:
        power = str(errands.power(host)) if host.switched else "not switched"
    except PowerError as error:
        power, health = "unknown", error.detail
    note = errands.notes.read(host.name)
    if note is not None and note.holds:
        lease = _lease(provider, note.lease)
        told = f"{note.stage} since {note.since:%Y-%m-%d %H:%M:%S}"
        health = ": ".join(filter(None, (told, note.unfit or note.why)))
    elif power != PowerState.OFF:
        try:
            found = errands.sessions.ask(host, host_lease.look)
            lease = _lease(provider, found[0]) if found else ""
        except SshError as error:
            lease = _lease(provider, note.lease) if note else ""
            health = error.detail if health == "ok" else f"{health}; {error.detail}"
    if unfit := errands.notes.unfit(host.name, promise_of(errands.sizes[host.size])):
        health = f"set aside: {unfit}"
    return HostStanding(provider.name, host.name, host.size, str(host.door), power, lease, health)


def _lease(provider: HostProvider, lease: HostLease | None) -> str:
    if lease is None:
        return ""
    return lease.node if lease.owner == provider.owner else "another gateway's"


def _findings(provider: HostProvider, host: Host) -> Iterable[Finding]:
    finding = partial(Finding, provider.name, host.name)
    power: PowerState | None = None
    if host.switched:
        try:
            power = host.power.state()
            known = power is not PowerState.UNKNOWN or not host.power.tells
            yield finding("power", known, f"{host.power.name}: {power if host.power.tells else 'nothing tells'}")
        except BurstError as error:
            yield finding("power", False, error.detail)
    if power is PowerState.OFF:
        for check in ("ssh", "sudo", "inventory"):
            yield finding(check, None, "not looked at: it is off")
        return
    yield from _inside(provider.errands, host, finding)


def _inside(errands: HostErrands, host: Host, finding: Callable[[str, bool | None, str], Finding]) -> Iterable[Finding]:
    try:
        errands.sessions.forget(host)
        session = errands.sessions.session(host)
    except BurstError as error:
        # Nothing tells whether one that only hears magic packets is off.
        off = host.switched and not host.power.tells and isinstance(error, HostUnreachable)
        yield finding("ssh", None if off else False, f"it may be off: {error.detail}" if off else error.detail)
        for check in ("sudo", "inventory"):
            yield finding(check, None, "not looked at: nobody can log in")
        return
    yield finding("ssh", True, f"{host.door}, with the pinned host key")
    try:
        done = session.run(("id", "-u"), timeout_s=host_lease.LOOK_S)
        root = done.text.strip() == "0"
        yield finding("sudo", root, "root" if root else f"{host.door.user} is not root: {done.complaint}")
        if not root:
            return
        host_lease.require(session, errands.sizes[host.size])
    except BurstError as error:
        yield finding("inventory", False, error.detail)
        return
    yield finding("inventory", True, f"{promise_of(errands.sizes[host.size])}, and what a node needs")
    note = errands.notes.read(host.name)
    if note is not None and note.stage is Stage.UNFIT:
        errands.notes.drop(host.name)
        yield finding("use", True, f"it was set aside ({note.unfit}), and is used again")
