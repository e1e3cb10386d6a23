"""SlurmService: Slurm's own REST answers, about the caller's jobs only, and what a user may change through them.

Invariant: an answer is slurmrestd's, but for why a job waits whose nodes no offer has room for, which Slurm does not
know; jobs of others are left out of it. A job of somebody else is answered as one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from gateway.engines.relay import Relay, Relayed
from gateway.errors import InvalidRequest, NotFound, SchedulerRefused
from gateway.identity.audit import Outcome
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, Refused, authorise, demand, whose, within
from gateway.identity.users import User
from gateway.jobs.job import Job
from gateway.jobs.stages import Stage
from gateway.provisioning.lifecycle import NodeState
from gateway.route import Ports
from gateway.service.acts import job_act
from gateway.service.jobs import JobService

_TARGET = re.compile(r"(?P<id>[0-9]{1,10})(?:_(?P<task>[0-9]{1,9}))?")
_NO_SUCH_JOB = {
    "description": "Unable to query JobId={}",
    "error_number": 2017,
    "error": "Invalid job id specified",
    "source": "_handle_job_get",
}
_WITH_SLURM = frozenset({Stage.FUNDED, Stage.STAGED_IN, Stage.QUEUED})
_NOBODY = {"set": False, "infinite": False, "number": 0}


@dataclass(frozen=True)
class SlurmService:
    """``default_partition`` is what slurmrestd v0.0.42 does not tell of its partitions."""

    ports: Ports
    jobs_of_users: JobService
    relay: Relay
    default_partition: str

    def jobs(self, reader: Reader, query: str) -> Relayed:
        """``/jobs``: what slurmrestd says, of the user's jobs; an admin's are all. ``owner=NAME`` is ours: of those."""
        demand(authorise(reader, Action.LIST_JOBS))
        user = reader.user
        asked = parse_qsl(query)
        owners = {name for key, names in asked if key == "owner" for name in names.split(",")}
        answer = self.relay.relay("GET", "/jobs", urlencode([one for one in asked if one[0] != "owner"]))
        if not owners:
            return self._explained(self._only(user, answer, _token))
        if (only := whose(user)) is not None:
            owners &= {only}
        return self._explained(self._of(owners, answer, _token))

    def job(self, reader: Reader, name: str) -> Relayed:
        """``/job/{id}``: a job, or an array with all its tasks."""
        demand(within(reader, Action.SEE_JOB))
        answer = self.relay.relay("GET", f"/job/{quote(name, safe='')}")
        mine = self._explained(self._only(reader.user, answer, _token))
        document = mine.document()
        if document is None or document.get("jobs") or not (answer.document() or {}).get("jobs"):
            return mine
        error = {**_NO_SUCH_JOB, "description": str(_NO_SUCH_JOB["description"]).format(name)}
        return answer.with_document({**document, "errors": [error]}, status=404)

    def states(self, reader: Reader, query: str) -> Relayed:
        """``/jobs/state``: the cheap one."""
        demand(authorise(reader, Action.LIST_JOBS))
        return self._only(reader.user, self.relay.relay("GET", "/jobs/state/", query), _number)

    def look(self, reader: Reader, path: str, query: str) -> Relayed:
        """Nodes, partitions and ping: nobody's in particular."""
        demand(authorise(reader, Action.SEE_NODES))
        return self.relay.relay("GET", path, query)

    def end(self, caller: Caller, name: str, query: str) -> Relayed:
        """``DELETE /job/{id}``: end a job or task of the caller's, or send it the signal of ``query``."""
        demand(within(caller, Action.CANCEL_JOB))
        target = self._target(name)
        job = self._mine(caller, target["id"])
        if job is None:
            return self._unknown(name)
        if "signal=" in query:
            self._keep(caller, job, "signal", f"{caller.user.name} sent a signal ({query})")
        else:
            self.jobs_of_users.note_cancel(caller, job, None if target["task"] is None else int(target["task"]))
        return self.relay.relay("DELETE", f"/job/{name}", query)

    def hold(self, caller: Caller, name: str, change: Mapping[str, Any]) -> Relayed:
        """``POST /job/{id}`` with ``{"hold": true}`` or false; nothing else of a priced job may be changed."""
        demand(within(caller, Action.CANCEL_JOB))
        if set(change) != {"hold"} or not isinstance(change["hold"], bool):
            raise InvalidRequest("Only hold can be changed: the rest of a job was priced and paid as it is.")
        job = self._mine(caller, self._target(name)["id"])
        if job is None:
            raise SchedulerRefused("Invalid job id specified", errno=2017)
        _demand_unfinished(job)
        self._keep(caller, job, "hold", f"{caller.user.name} {'held' if change['hold'] else 'released'} it")
        return self.relay.relay("POST", f"/job/{name}", body=dict(change))

    def requeue(self, caller: Caller, name: str) -> None:
        """Put a running job back into the queue; slurmrestd has no call for it. Raises SchedulerRefused."""
        demand(within(caller, Action.CANCEL_JOB))
        target = self._target(name)
        job = self._mine(caller, target["id"])
        if job is None or job.scheduler_id is None:
            raise SchedulerRefused("Invalid job id specified", errno=2017)
        _demand_unfinished(job)
        self._keep(caller, job, "requeue", f"{caller.user.name} requeued it")
        self.ports.engine.requeue(int(target["id"]))

    def _only(self, user: User, answer: Relayed, key: Callable[[Mapping[str, Any]], object]) -> Relayed:
        only = whose(user)
        return answer if only is None else self._of({only}, answer, key)

    def _of(self, owners: set[str], answer: Relayed, key: Callable[[Mapping[str, Any]], object]) -> Relayed:
        document = answer.document()
        if document is None or not document.get("jobs"):
            return answer
        wanted = {key(job) for job in document["jobs"]}
        with self.ports.reads() as work:
            mine = {one for owner in owners for one in work.jobs.owned(owner, wanted)}
        return answer.with_document({**document, "jobs": [job for job in document["jobs"] if key(job) in mine]})

    def _explained(self, answer: Relayed) -> Relayed:
        """With the reason, where squeue shows reasons, of the jobs that wait for room (squeue(1), %r)."""
        with self.ports.reads() as work:
            blocked = {node.job: node.reason for node in work.fleet.all([NodeState.CAPACITY_BLOCKED])}
        if not blocked or (document := answer.document()) is None:
            return answer
        why = {job: f"no capacity: {reason}" for job, reason in blocked.items()}
        jobs = [
            {**job, "state_description": why[job["job_id"]]} if job.get("job_id") in why else job
            for job in document.get("jobs") or []
        ]
        return answer.with_document({**document, "jobs": jobs})

    def _target(self, name: str) -> Mapping[str, Any]:
        match = _TARGET.fullmatch(name)
        if match is None:
            raise InvalidRequest("Rejecting request. Failure parsing parameters")
        return match.groupdict()

    def _mine(self, caller: Caller, number: str) -> Job | None:
        """The gateway's job of this id, or the one that has a task of this id; None where it is not the caller's."""
        job = self._of_number(number) or self._of_task(number)
        if job is None:
            return None
        verdict = authorise(caller, Action.CANCEL_JOB, owner=job.user)
        if isinstance(verdict, Refused) and not verdict.told:
            with self.ports.works() as work:
                act = job_act(caller, job, "request", verdict.reason, outcome=Outcome.REFUSED)
                work.evidence.keep(caller.evidence)
                work.audit.tell(act, self.ports.now())
            return None
        demand(verdict)
        return job

    def _of_number(self, number: str) -> Job | None:
        try:
            with self.ports.reads() as work:
                return work.jobs.by_scheduler_id(int(number))
        except NotFound:
            return None

    def _of_task(self, number: str) -> Job | None:
        known = (self.relay.relay("GET", f"/job/{number}").document() or {}).get("jobs") or [{}]
        try:
            with self.ports.reads() as work:
                return work.jobs.get(str(_token(known[0])))
        except NotFound:
            return None

    def _keep(self, caller: Caller, job: Job, kind: str, text: str) -> None:
        with self.ports.works() as work:
            work.evidence.keep(caller.evidence)
            work.jobs.tell(job.id, self.ports.now(), kind, text)
            work.audit.tell(job_act(caller, job, kind, text), self.ports.now())

    def _unknown(self, name: str) -> Relayed:
        """As slurmrestd answers for a job that it does not know."""
        words = "Invalid job id specified"
        error = {"string": words, "code": 2017, "message": words}
        status = {"error": error, "step_id": name, "job_id": _NOBODY, "federation": {"sibling": ""}}
        ping = self.relay.relay("GET", "/ping")
        meta = (ping.document() or {}).get("meta", {})
        return ping.with_document({"status": [status], "meta": meta, "errors": [], "warnings": []})


def _demand_unfinished(job: Job) -> None:
    """Slurm itself would run an ended job again; here it is paid and its outputs are sealed."""
    if job.stage not in _WITH_SLURM:
        raise SchedulerRefused("Job/step already completing or completed", errno=2021)


def _token(job: Mapping[str, Any]) -> object:
    return job.get("admin_comment") or ""


def _number(job: Mapping[str, Any]) -> object:
    return int(re.split(r"[_+]", str(job["job_id"]))[0])
