"""ObjectService: presigned requests for a job's objects, where the store gives no keys or the job wants none.

Invariant: a URL is for one object that the credential's scopes name, and lives minutes, never longer than the
credential.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.errors import Refused
from gateway.identity.credentials import CREATE, READ, JobGrant
from gateway.provisioning.fleet import ElasticNode
from gateway.service.job_life import alive
from gateway.staging import stage_out
from gateway.staging.job_keys import OBJECTS
from gateway.staging.manifest import check_path
from gateway.staging.object_store import ObjectStore
from gateway.work import Works

URL_S = 300
"""How long a request may be begun: so much longer than its credential can a URL live."""


@dataclass(frozen=True)
class ObjectService:
    """Objects of jobs, for jobs and nodes."""

    works: Works
    store: ObjectStore
    now: Callable[[], datetime]

    def presign(self, grant: JobGrant, request: wire.ObjectsRequest) -> wire.ObjectsReply:
        """URLs for a job. Raises Refused for a path that its scopes do not name, InvalidRequest for one that is none.

        What it PUTs is below its own objects/ and is among its outputs, as with keys of its own.
        """
        for path in request.get:
            grant.demand(READ, path)
        own = f"/jobs/{grant.job}/{grant.attempt}/{OBJECTS}"
        for path in request.put:
            grant.demand(CREATE, path)
            if not path.startswith(own):
                raise Refused(f"This job may not write {path!r}.", hint=f"its objects are below {own}")
        keys = {path: check_path(path[1:]) for path in (*request.get, *request.put)}
        if request.put:
            self._note(grant)
        seconds = max(1, min(URL_S, int((grant.expires_at - self.now()).total_seconds())))
        return wire.ObjectsReply(
            get=tuple(self.store.presign_get(keys[path], seconds, "node") for path in request.get),
            put=tuple(self.store.presign_put(keys[path], seconds, "node") for path in request.put),
            expires_in=seconds,
        )

    def _note(self, grant: JobGrant) -> None:
        """The attempt's objects/ is to be looked at when it has ended."""
        with self.works() as work:
            if not alive(work, grant) or not work.key_records.open(grant.job, grant.attempt, self.now()):
                raise Refused("This job is over.", hint="a job's credential is good while the job runs")

    def stage_out(self, node: ElasticNode, request: wire.StageOutRequest) -> wire.PresignReply:
        """Where a node puts outputs of an attempt that it has not reported yet. Raises Refused."""
        with self.works() as work:
            attempt = work.jobs.attempt_on(request.scheduler_id)
            reported = work.jobs.reported(attempt.job, attempt.label, node.name)
        if node.name not in attempt.nodes or request.attempt != attempt.label or reported:
            raise Refused(f"{node.name} has nothing to stage out of job {request.scheduler_id}.")
        outputs = _Outputs(attempt.job, attempt.label, node.name)
        return wire.PresignReply(urls=stage_out.presign(self.store, outputs, request.paths))


@dataclass(frozen=True)
class _Outputs:
    """What a node may write by its own signature: its part of one attempt. Implements ``stage_out.Grant``."""

    job: str
    attempt: str
    node: str

    def permits(self, capability: str, path: str | None = None) -> bool:
        """See ``stage_out.Grant.permits``; the path was put together from what is above."""
        return capability == CREATE and path is not None
