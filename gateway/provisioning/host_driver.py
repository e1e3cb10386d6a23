"""HostDriver: hosts that are already there, as an Apache Libcloud compute driver; a node is a host with our lease.

Invariant: what a host says of itself wins; of a host that does not answer, the lease that was last put on it is
remembered, so that a silent host is never taken for a free or a vanished one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
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
from gateway.provisioning.host_lease import HostLease, NotToBeHad, Phase
from gateway.provisioning.host_sessions import Host, HostSessions
from gateway.provisioning.node import Size
from gateway.settings import CREDIT

_UNBORN_S = 60
"""Seconds that a lease may be on a host before its agent is started; after that, who wanted to start it has died."""
_WORKERS = 16


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


class HostDriver(NodeDriver):
    """Hosts of an inventory. ``key``: a folder for notes; ``sessions`` may be shared by drivers of several threads.

    A call that is refused raises ``BaseHTTPError`` with a status and "Code: text", as clouds do: no free host is
    InsufficientInstanceCapacity, a login that is refused or a changed host key AuthFailure.
    """

    connectionCls = _NoConnection  # noqa: N815 - the name is libcloud's
    name = "Burst hosts"
    website = "https://libcloud.apache.org"
    type = "burst_hosts"

    def __init__(
        self, key: str | Path, *, sessions: HostSessions, sizes: Sequence[Size], owner: str, **kwargs: Any
    ) -> None:
        super().__init__(str(key), **kwargs)  # type: ignore[no-untyped-call]
        self._sessions = sessions
        self._offered = {size.name: size for size in sizes}
        self._owner = owner
        self._notes = Path(key)
        self._notes.mkdir(parents=True, exist_ok=True)

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
        """The hosts that have a lease of this gateway; of one that does not answer, what was last known."""
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
                found = self._taken(known, size, lease)
        return self._node(self._begun(found, files))

    def destroy_node(self, node: Node) -> bool:
        """End the node and remove every file of ours from its host; returns when that is done."""
        standing = self._known(node)
        with self._sessions.held(standing.host), _as_cloud():
            host_lease.release(self._sessions.session(standing.host), str(node.id))
            self._note(standing.host).unlink(missing_ok=True)
        return True

    def ex_get_console_output(self, node: Node) -> dict[str, Any]:
        """``{"instance_id", "timestamp", "output"}``: what the agent's unit wrote to the host's journal."""
        standing = self._known(node)
        assert standing.lease is not None  # noqa: S101 - it was found by it
        with _as_cloud():
            output = host_lease.console(self._sessions.session(standing.host), standing.lease)
        return {"instance_id": node.id, "timestamp": datetime.now(UTC), "output": output}

    def _look(self, hosts: Iterable[Host]) -> list[Standing]:
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="host") as pool:
            return list(pool.map(self._standing, hosts))

    def _standing(self, host: Host) -> Standing:
        try:
            found = self._sessions.ask(host, host_lease.look)
        except SshError as error:
            return Standing(host, self._noted(host), trouble=error)
        return Standing(host, *found) if found else Standing(host, None)

    def _ours(self, standing: Standing) -> bool:
        return standing.lease is not None and standing.lease.owner == self._owner

    def _by_token(self, known: Iterable[Standing], token: str | None) -> Standing | None:
        ours = (each for each in known if self._ours(each) and each.lease and token and each.lease.token == token)
        return next(ours, None)

    def _taken(self, known: Sequence[Standing], size: NodeSize, wanted: HostLease) -> Standing:
        """The first free host of a size, with the lease on it."""
        if any(self._ours(each) and each.lease and each.lease.node == wanted.node for each in known):
            raise _refusal(409, f"InstanceNameInUse: there is a node called {wanted.node} already")
        mine = [each for each in known if each.host.size == size.id]
        if not mine:
            raise _refusal(400, f"InvalidParameterValue: there is no host of size {size.id!r}")
        reasons: list[Exception] = []
        for each in (each for each in mine if each.lease is None):
            lease = HostLease.make(each.host.name, wanted.owner, wanted.node, wanted.token, wanted.tags)
            try:
                self._take(each, lease)
            except HostSilent as error:
                # The lease may be on it: nothing is tried elsewhere before that is known.
                raise _refusal(504, f"GatewayTimeout: {error.detail}") from error
            except (SshError, NotToBeHad) as error:
                reasons.append(error)
                continue
            return Standing(each.host, lease, Phase.NEW)
        raise _no_room(size.id, len(mine), reasons)

    def _take(self, free: Standing, lease: HostLease) -> None:
        if free.trouble:
            raise free.trouble
        note = self._note(free.host)
        note.write_text(lease.text)
        try:
            host_lease.take(self._sessions.session(free.host), lease)
        except (NotToBeHad, HostUnreachable) as error:
            note.unlink()
            raise NotToBeHad(f"{free.host.name}: {error.detail}") from error

    def _begun(self, standing: Standing, files: Mapping[str, str]) -> Standing:
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

    def _note(self, host: Host) -> Path:
        return self._notes / f"{host.name}.json"

    def _noted(self, host: Host) -> HostLease | None:
        try:
            return HostLease.parse(self._note(host).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _node(self, standing: Standing) -> Node:
        lease, size = standing.lease, self._offered[standing.host.size]
        assert lease is not None  # noqa: S101 - callers have seen it
        extra = {
            "tags": dict(lease.tags),
            "client_token": lease.token,
            "host": standing.host.name,
            "trouble": standing.trouble.detail if standing.trouble else "",
        }
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
        case Phase.FAILED:
            return NodeState.ERROR
        case Phase.NEW if standing.lease and _age_s(standing.lease) > _UNBORN_S:
            return NodeState.ERROR
        case Phase.NEW | Phase.STARTING:
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
