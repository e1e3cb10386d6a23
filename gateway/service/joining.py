"""JoinService: how a new machine becomes a node, and what is told of one that is refused.

Invariant: a token is good once, for one generation of one node, until its time is over, and for the one key that came
with it. Every refusal is an alarm: in the audit log, in the node's timeline, in the metrics and in the gateway's log;
the caller hears the same words whatever the reason was.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address

import structlog
from prometheus_client import Counter

from gateway import wire
from gateway.errors import BadSignature, Conflict, NotFound, SignatureExpired, SignatureReplayed
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Request, Verifier
from gateway.identity.join import gang_kid, node_kid, token_hash
from gateway.identity.keys import public_jwk
from gateway.identity.throttle import REFUSED_JOINS, Throttle
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import BEFORE_JOIN, NodeState
from gateway.service.leases import Inspection, inventory_of
from gateway.service.nodes import NodeFacts
from gateway.ssh.principals import ACCOUNTS, principal
from gateway.work import Work, Works

log = structlog.get_logger(__name__)

ALARMS = Counter(
    "burst_join_alarms", "Joins that were refused, or came from another address than the cloud's", ["kind"]
)

_TRIES = 3
"""A node may be moved along while its machine joins."""


class Alarm(StrEnum):
    """Why a join is an alarm."""

    FOREIGN = "foreign"
    """There is no such node, or it is not its present machine's token."""
    STOLEN = "stolen"
    """The token was used already, with another key."""
    REPLAYED = "replayed"
    """The very request was made before."""
    LATE = "late"
    """The token's time is over, or its machine is being ended."""
    UNPROVEN = "unproven"
    """Whoever sent the public key has not shown to have the private one."""
    ELSEWHERE = "elsewhere"
    """It joined, but not from the address that its cloud gave it."""


class _Refusal(Exception):
    def __init__(self, kind: Alarm, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


@dataclass(frozen=True)
class JoinService:
    """Trades one-time tokens."""

    works: Works
    verifier: Verifier
    facts: NodeFacts
    wake_nodes: Callable[[], None]
    now: Callable[[], datetime]
    inspection: Inspection | None = None
    """None: nothing was promised."""
    throttle: Throttle = field(default_factory=Throttle)

    def join(self, request: wire.JoinRequest, signed: Request, address: str) -> wire.JoinReply:
        """Trade a one-time token for what a node needs. Raises BadSignature, TooManyTries.

        A machine that never got the reply asks again with the same key, which nobody else has, and gets the same.
        """
        self.throttle.check(REFUSED_JOINS, address)
        try:
            node = self._joined(request, signed, address)
        except _Refusal as refusal:
            self._refused(request, refusal, address)
            self.throttle.count(REFUSED_JOINS, address)
            hint = "a machine that was replaced is to be ended; the gateway's log and audit log say why"
            raise BadSignature("This invitation is not valid.", hint=hint) from None
        if node.state is NodeState.QUARANTINED and self.inspection is not None:
            self.inspection.keep_out(node)
        self.wake_nodes()
        return self._reply(node)

    def _joined(self, request: wire.JoinRequest, signed: Request, address: str) -> ElasticNode:
        for _ in range(_TRIES - 1):
            try:
                with self.works() as work:
                    return self._judged(work, request, signed, address)
            except Conflict:
                continue
        with self.works() as work:
            return self._judged(work, request, signed, address)

    def _judged(self, work: Work, request: wire.JoinRequest, signed: Request, address: str) -> ElasticNode:
        node = _invited(work, request)
        jwk = self._proven(work, node, request, signed)
        if node.state in {NodeState.BOOTSTRAPPED, NodeState.QUARANTINED} and node.public_key == jwk:
            return node
        if node.public_key is not None:
            raise _Refusal(Alarm.STOLEN, "its token was used already, with another key")
        now = self.now()
        if node.state not in BEFORE_JOIN:
            raise _Refusal(Alarm.LATE, f"it is {node.state}")
        if node.join_until is None or now > node.join_until:
            raise _Refusal(Alarm.LATE, f"its token was good until {node.join_until}")
        return self._admitted(work, node, request, jwk, address)

    def _proven(self, work: Work, node: ElasticNode, request: wire.JoinRequest, signed: Request) -> dict[str, str]:
        """The public key, once the request is signed with its private half and is no replay."""
        kid = gang_kid(request.gang, request.number) if request.gang else node_kid(node.name, node.generation)
        try:
            return public_jwk(self.verifier.newcomer(signed, request.public_key, kid, work.nonces, self.now()))
        except SignatureReplayed as error:
            raise _Refusal(Alarm.REPLAYED, "the very request was made before") from error
        except (BadSignature, SignatureExpired) as error:
            raise _Refusal(Alarm.UNPROVEN, f"its key is not proven: {error.detail}") from error

    def _admitted(
        self, work: Work, node: ElasticNode, request: wire.JoinRequest, jwk: dict[str, str], address: str
    ) -> ElasticNode:
        now = self.now()
        joined = work.fleet.move(
            node,
            NodeState.BOOTSTRAPPED,
            now,
            "traded its one-time token for Slurm's key",
            public_key=jwk,
            ssh_host_keys=request.ssh_host_keys,
            lease_until=now + timedelta(seconds=self.facts.lease_s),
            address=node.address or address,
        )
        text = f"joined as generation {node.generation} with the key {jwk['x']}"
        work.audit.tell(_act(node.name, text, address, Outcome.DONE), now)
        if _elsewhere(node, address):
            # No refusal: the cloud may show it an address that is translated on the way here.
            text = f"joined from {address}; its cloud gave it {node.address or node.public_addresses[0]}"
            self._alarm(work, joined, _Refusal(Alarm.ELSEWHERE, text), address)
        return self._inspected(work, joined, request.inventory)

    def _inspected(self, work: Work, node: ElasticNode, report: wire.InventoryReport | None) -> ElasticNode:
        """The node, quarantined if it has less than its size promised; before it can be Slurm's."""
        if report is None:
            return node
        work.fleet.tell(node, self.now(), "inventory", str(inventory_of(report)))
        lack = self.inspection.lacks(node, report) if self.inspection else ""
        return self.inspection.quarantine(work, node, lack, self.now()) if self.inspection and lack else node

    def _refused(self, request: wire.JoinRequest, refusal: _Refusal, address: str) -> None:
        with self.works() as work:
            try:
                node = _named(work, request)
            except NotFound:
                node = None
            self._alarm(work, node or request.node or f"gang {request.gang}", refusal, address)

    def _alarm(self, work: Work, node: ElasticNode | str, alarm: _Refusal, address: str) -> None:
        name = node if isinstance(node, str) else node.name
        what = "a join was not as it should be" if alarm.kind is Alarm.ELSEWHERE else "a join was refused"
        text = f"{what} ({alarm.kind}): {alarm.text}"
        work.audit.tell(_act(name, text, address, Outcome.ALARM), self.now())
        if isinstance(node, ElasticNode):
            work.fleet.tell(node, self.now(), "alarm", f"{text}; from {address}")
        ALARMS.labels(alarm.kind).inc()
        log.warning("alarm", what=what, kind=alarm.kind, node=name, reason=alarm.text, address=address)

    def _reply(self, node: ElasticNode) -> wire.JoinReply:
        return wire.JoinReply(
            node=node.name,
            generation=node.generation,
            voucher_key=self.facts.voucher.key(node_kid(node.name, node.generation)),
            audience=self.facts.audience,
            slurm_conf_server=self.facts.slurm_conf_server,
            munge_key=b64encode(self.facts.munge_key).decode(),
            lease_seconds=self.facts.lease_s,
            grace_seconds=self.facts.grace_s,
            shared_filesystem=self.facts.shared_filesystem,
            job_directory=self.facts.job_directory,
            job_user=self.facts.job_user,
            quarantined=node.reason if node.state is NodeState.QUARANTINED else "",
            principals={} if node.gang is None else _principals(node),
        )


def _invited(work: Work, request: wire.JoinRequest) -> ElasticNode:
    """The node whose present token it is; the token of an earlier machine of its is as foreign as any other."""
    try:
        node = _named(work, request)
    except NotFound:
        raise _Refusal(Alarm.FOREIGN, "there is no such node") from None
    if node.join_token_hash is None:
        raise _Refusal(Alarm.LATE, f"no machine of its is expected: it is {node.state}")
    if not hmac.compare_digest(token_hash(request.token), node.join_token_hash):
        raise _Refusal(Alarm.FOREIGN, "that is not the token of its present machine")
    return node


def _named(work: Work, request: wire.JoinRequest) -> ElasticNode:
    return work.fleet.of_gang(request.gang, request.number) if request.gang else work.fleet.get(request.node)


def _principals(node: ElasticNode) -> dict[str, str]:
    return {account: principal(node.name, node.generation, account) for account in ACCOUNTS}


def _elsewhere(node: ElasticNode, address: str) -> bool:
    """Whether its cloud gave the machine addresses, and this is none of them; a host may be listed by its name."""
    listed = (*((node.address,) if node.address else ()), *node.public_addresses)
    try:
        return bool(listed) and ip_address(address) not in map(ip_address, listed)
    except ValueError:
        return False


def _act(name: str, text: str, address: str, outcome: Outcome) -> Act:
    return Act(f"node:{name}", "join", f"node:{name}", text, outcome, address=address)
