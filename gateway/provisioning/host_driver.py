"""HostDriver: hosts that are already there, as an Apache Libcloud compute driver; a node is a host with our lease.

Invariant: what a host says of itself wins; of a host that does not answer, the lease that was last put on it is
remembered, so that a silent host is never taken for a free or a vanished one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from libcloud.common.base import ConnectionKey
from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import (
    Node,
    NodeAuthPassword,
    NodeAuthSSHKey,
    NodeDriver,
    NodeImage,
    NodeLocation,
    NodeSize,
)
from libcloud.compute.types import NodeState

from gateway.errors import HostKeyChanged, HostSilent, HostUnreachable, LoginRefused, SshError
from gateway.provisioning import host_lease
from gateway.provisioning.host_errands import HostErrands, promise_of
from gateway.provisioning.host_lease import HostLease, NotToBeHad, Phase, TooLittle
from gateway.provisioning.host_notes import Note, Stage
from gateway.provisioning.host_power import PowerError, PowerState
from gateway.provisioning.host_sessions import Host
from gateway.provisioning.node import Size
from gateway.settings import CREDIT

_UNBORN_S = 60
"""Seconds that a lease may be on a host before its agent is started; after that, who wanted to start it has died."""
_LATE_S = 60
"""Whoever waits for a host that boots waits longer than its own limit, and hears the reason."""
_WORKERS = 16


_UNANSWERED = frozenset({Phase.WAKING, Phase.FAILED_TO_WAKE, Phase.GOING})
"""Phases in which a host may be off."""

Files = Mapping[str, str]


class _NoConnection(ConnectionKey):
    """Each host has a connection of its own."""

    def connect(self, host: Any = None, port: Any = None, base_url: Any = None, **kwargs: Any) -> None:
        """There is nothing to connect to."""


@dataclass(frozen=True)
class Standing:
    """What is known of a host now. ``trouble``: why it could not be asked."""

    host: Host
    lease: HostLease | None
    phase: Phase | None = None
    trouble: SshError | None = None
    why: str = ""
    """What went wrong while it was switched on, or put back."""


class HostDriver(NodeDriver):
    """Hosts of an inventory. ``key``: what libcloud calls it; ``errands`` may be shared by drivers of several threads.

    A call that is refused raises ``BaseHTTPError`` with a status and "Code: text", as clouds do: no free host is
    InsufficientInstanceCapacity, a login that is refused or a changed host key AuthFailure.
    """

    connectionCls = _NoConnection  # noqa: N815 - the name is libcloud's
    name = "Burst hosts"
    website = "https://libcloud.apache.org"
    type = "burst_hosts"

    def __init__(
        self, key: str | Path, *, errands: HostErrands, sizes: Sequence[Size], owner: str, **kwargs: Any
    ) -> None:
        super().__init__(str(key), **kwargs)  # type: ignore[no-untyped-call]
        self._errands = errands
        self._sessions = errands.sessions
        self._notes = errands.notes
        self._offered = {size.name: size for size in sizes}
        self._owner = owner

    def list_sizes(self, location: NodeLocation | None = None) -> list[NodeSize]:  # noqa: ARG002 - there is one
        """The sizes that hosts were given; ``extra`` has cores, gpus and max_nodes, the number of such hosts."""
        return [self._size(size) for size in self._offered.values()]

    def list_images(self, location: NodeLocation | None = None) -> list[NodeImage]:  # noqa: ARG002
        """Hosts keep what is installed on them."""
        return [NodeImage(id="as-it-is", name="what is installed on the host", driver=self)]

    def list_locations(self) -> list[NodeLocation]:
        """One."""
        return [NodeLocation(id="site", name="this site", country="", driver=self)]

    def list_nodes(self) -> list[Node]:
        """The hosts that have a lease of this gateway; of one that does not answer, what was last known.

        A lease whose host is being switched on, or put back, is there too; those errands go on by this call, too.
        """
        self._errands.tend()
        return [self._node(each) for each in self._look(self._sessions.hosts) if self._ours(each)]

    def create_node(
        self,
        name: str,
        size: NodeSize,
        image: NodeImage | None = None,  # noqa: ARG002 - a host keeps what is installed on it
        location: NodeLocation | None = None,  # noqa: ARG002
        auth: NodeAuthSSHKey | NodeAuthPassword | None = None,  # noqa: ARG002
        *,
        ex_userdata: str = "",
        ex_metadata: Mapping[str, str] | None = None,
        ex_client_token: str | None = None,
    ) -> Node:
        """Take a free host of ``size``, start the node agent on it, and return without waiting for it to join.

        One that is on is preferred; else one that is off is switched on, and the rest is done when it answers.

        ``ex_userdata``: a #cloud-config of this gateway's; only its two files for the agent are used. ``ex_metadata``:
        tags. ``ex_client_token``: the same again returns the host of the first call, completed if that was cut off.
        """
        try:
            files = host_lease.files_in(ex_userdata)
        except ValueError as error:
            raise _refusal(400, f"InvalidUserData: {error}") from None
        with self._sessions.choosing:
            known = self._look(self._sessions.hosts)
            found = self._by_token(known, ex_client_token)
            if found is None:
                lease = HostLease.make("", self._owner, name, ex_client_token, ex_metadata or {})
                found = self._taken(known, size, lease, files)
        return self._node(self._begun(found, files))

    def destroy_node(self, node: Node) -> bool:
        """End the node and remove every file of ours from its host; returns when that is done.

        A host that was switched on for it is listed until it is off again, and one that is off until it was put back.
        """
        standing = self._known(node)
        assert standing.lease is not None  # noqa: S101 - it was found by it
        host = standing.host
        with self._sessions.held(host), _as_cloud():
            note = self._notes.read(host.name)
            if note is not None and note.holds:
                if note.stage is not Stage.GOING:
                    self._notes.write(host.name, note.to(Stage.GOING, note.why, files={}))
            elif standing.lease.woken:
                going = Note(Stage.GOING, datetime.now(UTC), standing.lease, reached=True)
                self._notes.write(host.name, going)
            else:
                host_lease.release(self._sessions.session(host), str(node.id))
                self._notes.drop(host.name)
                return True
        self._errands.begin(host)
        return True

    def ex_get_console_output(self, node: Node) -> dict[str, Any]:
        """``{"instance_id", "timestamp", "output"}``: what the agent's unit wrote to the host's journal."""
        standing = self._known(node)
        assert standing.lease is not None  # noqa: S101 - it was found by it
        if standing.phase in _UNANSWERED:
            raise _refusal(404, f"InvalidInstanceID.NotFound: {standing.host.name} is {standing.phase}")
        with _as_cloud():
            output = host_lease.console(self._sessions.session(standing.host), standing.lease)
        return {"instance_id": node.id, "timestamp": datetime.now(UTC), "output": output}

    def _look(self, hosts: Iterable[Host]) -> list[Standing]:
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="host") as pool:
            return list(pool.map(self._standing, hosts))

    def _standing(self, host: Host) -> Standing:
        note = self._notes.read(host.name)
        if note is not None and note.holds:
            return Standing(host, note.lease, Phase(note.stage), why=note.unfit or note.why)
        try:
            found = self._sessions.ask(host, host_lease.look)
        except SshError as error:
            return Standing(host, note.lease if note else None, trouble=error)
        return Standing(host, *found) if found else Standing(host, None)

    def _ours(self, standing: Standing) -> bool:
        return standing.lease is not None and standing.lease.owner == self._owner

    def _by_token(self, known: Iterable[Standing], token: str | None) -> Standing | None:
        ours = (each for each in known if self._ours(each) and each.lease and token and each.lease.token == token)
        return next(ours, None)

    def _taken(self, known: Sequence[Standing], size: NodeSize, wanted: HostLease, files: Files) -> Standing:
        """The first free host of a size that is on, with the lease on it, or the first that is being switched on."""
        if any(self._ours(each) and each.lease and each.lease.node == wanted.node for each in known):
            raise _refusal(409, f"InstanceNameInUse: there is a node called {wanted.node} already")
        mine = [each for each in known if each.host.size == size.id]
        if not mine:
            raise _refusal(400, f"InvalidParameterValue: there is no host of size {size.id!r}")
        reasons: list[Exception] = []
        for each in sorted((each for each in mine if each.lease is None), key=lambda each: each.trouble is not None):
            lease = replace(wanted, id=HostLease.make(each.host.name, "", "", None, {}).id)
            try:
                return self._take(each, lease, files)
            except HostSilent as error:
                # The lease may be on it: nothing is tried elsewhere before that is known.
                raise _refusal(504, f"GatewayTimeout: {error.detail}") from error
            except (SshError, PowerError, NotToBeHad) as error:
                reasons.append(error)
        raise _no_room(size.id, len(mine), reasons)

    def _take(self, free: Standing, lease: HostLease, files: Files) -> Standing:
        host, size = free.host, self._offered[free.host.size]
        if unfit := self._notes.unfit(host.name, promise_of(size)):
            raise NotToBeHad(f"{host.name}: {unfit}")
        if free.trouble:
            return self._woken(free, lease, files)
        self._notes.write(host.name, Note(Stage.LEASED, datetime.now(UTC), lease, reached=True))
        try:
            session = self._sessions.session(host)
            host_lease.require(session, size)
            host_lease.take(session, lease)
        except TooLittle as error:
            # Its owner is to look at it; until then it is not asked for every order again.
            note = Note(Stage.UNFIT, datetime.now(UTC), unfit=error.detail, promise=promise_of(size))
            self._notes.write(host.name, note)
            raise NotToBeHad(f"{host.name}: {error.detail}") from error
        except (NotToBeHad, HostUnreachable) as error:
            self._notes.drop(host.name)
            raise NotToBeHad(f"{host.name}: {error.detail}") from error
        return Standing(host, lease, Phase.NEW)

    def _woken(self, silent: Standing, lease: HostLease, files: Files) -> Standing:
        """A host that does not answer because it is off, being switched on for the lease."""
        assert silent.trouble is not None  # noqa: S101 - it is why this is called
        host = silent.host
        if not host.switched or not isinstance(silent.trouble, HostUnreachable):
            raise silent.trouble
        try:
            state = self._errands.power(host)
        except PowerError as error:
            raise NotToBeHad(f"{host.name}: {error.detail}") from error
        if host.power.tells and state is not PowerState.OFF:
            raise NotToBeHad(f"{host.name}: its power is {state}, and {silent.trouble.detail}")
        note = Note(Stage.WAKING, datetime.now(UTC), replace(lease, woken=True), files)
        self._notes.write(host.name, note)
        self._sessions.forget(host)
        self._errands.begin(host)
        return Standing(host, note.lease, Phase.WAKING)

    def _begun(self, standing: Standing, files: Mapping[str, str]) -> Standing:
        if standing.phase in _UNANSWERED:
            return standing
        with self._sessions.held(standing.host), _as_cloud():
            session = self._sessions.session(standing.host)
            found = host_lease.look(session)
            if found is None or standing.lease is None or found[0].id != standing.lease.id:
                raise _refusal(409, f"IncorrectState: the lease on {standing.host.name} was ended meanwhile")
            if found[1] is not Phase.NEW:
                return Standing(standing.host, *found)
            host_lease.begin(session, files)
            return Standing(standing.host, found[0], Phase.STARTING)

    def _known(self, node: Node) -> Standing:
        name = str(node.id).rpartition(".")[0]
        for host in self._sessions.hosts:
            if host.name == name:
                standing = self._standing(host)
                if standing.lease is not None and standing.lease.id == node.id:
                    return standing
        raise _refusal(404, f"InvalidInstanceID.NotFound: no host has the lease {node.id}")

    def _node(self, standing: Standing) -> Node:
        lease, size = standing.lease, self._offered[standing.host.size]
        assert lease is not None  # noqa: S101 - callers have seen it
        extra = {
            "tags": dict(lease.tags),
            "client_token": lease.token,
            "host": standing.host.name,
            "trouble": standing.trouble.detail if standing.trouble else standing.why,
            "boot_s": standing.host.boot_s + _LATE_S if lease.woken else 0,
            "task_state": "deleting" if standing.phase is Phase.GOING else "",
        }
        if standing.phase is Phase.FAILED_TO_WAKE:
            # As a cloud says it that took an order and then had no room: another supply is asked.
            extra["fault"] = {"message": f"InsufficientHostCapacity: {standing.host.name}: {standing.why}"}
        return Node(
            id=lease.id,
            name=lease.node,
            state=_state(standing),
            public_ips=[],
            private_ips=[standing.host.door.address],
            driver=self,
            size=self._size(size),
            extra=extra,
            created_at=lease.created_at,
        )

    def _size(self, size: Size) -> NodeSize:
        count = sum(host.size == size.name for host in self._sessions.hosts)
        return NodeSize(
            id=size.name,
            name=size.name,
            ram=size.memory_mb,
            disk=0,
            bandwidth=0,
            price=(size.price_ucr_per_hour or 0) / CREDIT,
            driver=self,
            extra={"cores": size.cores, "gpus": size.gpus, "max_nodes": count},
        )


def _state(standing: Standing) -> NodeState:
    match standing.phase:
        case Phase.RUNNING:
            return NodeState.RUNNING
        case Phase.OVER:
            return NodeState.STOPPED
        case Phase.FAILED | Phase.FAILED_TO_WAKE:
            return NodeState.ERROR
        case Phase.NEW if standing.lease and _age_s(standing.lease) > _UNBORN_S:
            return NodeState.ERROR
        case Phase.NEW | Phase.STARTING | Phase.WAKING:
            return NodeState.PENDING
        case _:
            return NodeState.UNKNOWN


def _age_s(lease: HostLease) -> float:
    return (datetime.now(UTC) - lease.created_at).total_seconds()


def _no_room(size: str, count: int, reasons: Sequence[Exception]) -> BaseHTTPError:
    told = "; ".join(str(reason) for reason in reasons)
    if reasons and all(isinstance(reason, LoginRefused | HostKeyChanged) for reason in reasons):
        return _refusal(401, f"AuthFailure: {told}")
    why = f": {told}" if told else ""
    return _refusal(500, f"InsufficientInstanceCapacity: of {count} hosts of size {size} none is free{why}")


@contextmanager
def _as_cloud() -> Iterator[None]:
    """What goes wrong with SSH, as a cloud would say it."""
    try:
        yield
    except (HostKeyChanged, LoginRefused) as error:
        raise _refusal(401, f"AuthFailure: {error.detail}") from error
    except HostSilent as error:
        raise _refusal(504, f"GatewayTimeout: {error.detail}") from error
    except HostUnreachable as error:
        raise _refusal(503, f"Unavailable: {error.detail}") from error
    except SshError as error:
        raise _refusal(503, f"Unavailable: {error.detail}") from error


def _refusal(status: int, text: str) -> BaseHTTPError:
    return BaseHTTPError(status, text)  # type: ignore[no-untyped-call]
