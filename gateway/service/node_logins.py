"""NodeLoginService: short certificates, by which a person may log in to one machine over SSH.

Invariant: a certificate is for one key, one generation of one node and one account there, and ends within minutes;
whoever is neither an administrator nor the owner of a job that runs there now gets none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway import wire
from gateway.engines.engine import Engine
from gateway.errors import NotFound
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Refused, authorise, demand, within
from gateway.identity.users import Role
from gateway.jobs.job import Attempt
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.ssh.authority import Authority
from gateway.ssh.principals import OWNER, ROOT, principal
from gateway.work import Works

LIFE = timedelta(minutes=10)
"""How long a certificate opens sessions; one that is open goes on."""

SSH_PORT = 22

_THERE = frozenset({NodeState.BOOTSTRAPPED, NodeState.IDLE, NodeState.BUSY, NodeState.DRAINING, NodeState.STAGING_OUT})


@dataclass(frozen=True)
class NodeLoginService:
    """Certifies keys of people for nodes."""

    works: Works
    engine: Engine
    authority: Authority
    now: Callable[[], datetime]

    def certify(self, caller: Caller, name: str, request: wire.NodeLoginRequest, address: str) -> wire.NodeLogin:
        """A certificate for a key that the caller made. Raises Refused, NotFound, InvalidRequest."""
        demand(within(caller, Action.LOG_IN_TO_NODE))
        with self.works() as work:
            node = work.fleet.get(name)
            begun = work.jobs.begun_on(caller.user.name, node.name)
        mine = self._running(node, begun)
        verdict = authorise(caller, Action.LOG_IN_TO_NODE, owner=caller.user.name if mine else None)
        if isinstance(verdict, Refused):
            self._tell(caller, name, verdict.reason, address, None, Outcome.REFUSED)
            demand(verdict)
        _require_door(node)
        login = self._login(caller, node, request.public_key)
        text = f"certificate for {login.user}@{name}, until {login.expires_at:%H:%M:%S}"
        self._tell(caller, name, text, address, mine.job if mine else None, Outcome.DONE)
        return login

    def _running(self, node: ElasticNode, begun: tuple[Attempt, ...]) -> Attempt | None:
        """The run that is on this machine now, as Slurm says; our records may be some seconds old."""
        return next((attempt for attempt in begun if node.state in _THERE and self._is_on(node, attempt)), None)

    def _is_on(self, node: ElasticNode, attempt: Attempt) -> bool:
        try:
            tasks = self.engine.job(attempt.scheduler_id)
        except NotFound:
            return False
        found = (task for task in tasks if task.id == attempt.scheduler_id and task.token == attempt.job)
        return any(task.state == "RUNNING" and node.name in task.nodes for task in found)

    def _login(self, caller: Caller, node: ElasticNode, public_key: str) -> wire.NodeLogin:
        now = self.now()
        account = ROOT if caller.user.role is Role.ADMIN else OWNER
        certificate = self.authority.certify(
            public_key,
            principal(node.name, node.generation, account),
            name=f"burst/{caller.user.name}/{node.name}",
            now=now,
            life=LIFE,
        )
        return wire.NodeLogin(
            node=node.name,
            user=account,
            address=node.address or "",
            port=SSH_PORT,
            host_keys=node.ssh_host_keys,
            certificate=certificate,
            expires_at=now + LIFE,
        )

    def _tell(  # noqa: PLR0917 - the fields of one record
        self, caller: Caller, name: str, text: str, address: str, job: str | None, outcome: Outcome
    ) -> None:
        digest = caller.evidence.digest if outcome is Outcome.DONE else None
        act = Act(caller.user.name, "ssh", f"node:{name}", text, outcome, digest, job, address=address)
        with self.works() as work:
            if outcome is Outcome.DONE:
                work.evidence.keep(caller.evidence)
            work.audit.tell(act, self.now())


def _require_door(node: ElasticNode) -> None:
    if node.state not in _THERE or not node.address:
        raise NotFound(f"Node {node.name} is {node.state}: nobody can log in.", hint="`burst nodes` shows which are up")
    if not node.ssh_host_keys:
        why = "a process of the gateway's own computer or a host that is only lent has no door of the gateway's"
        raise NotFound(f"Node {node.name} told of no SSH host key when it joined.", hint=why)
