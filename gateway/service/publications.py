"""PublicationService: outputs get a DOI, a public page, and readers.

Invariant: metadata is public once its DOI is findable; bytes are the owner's, an administrator's and the readers'
unless the publication is open; a publication that is not findable is nobody's but its owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from gateway import wire
from gateway.errors import DoiRefused, InvalidRequest, NotFound, Refused
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Allowed, authorise, demand, whose, within
from gateway.jobs.job import Attempt, Job
from gateway.jobs.stages import Stage
from gateway.publishing import datacite, landing, publish, record
from gateway.publishing.datacite import DataCite
from gateway.publishing.record import Access, Publication, PublicationState, PublishedFile, Record
from gateway.route import Ports
from gateway.service.acts import act_of, job_act
from gateway.service.jobs import JobService
from gateway.service.sight import path_of
from gateway.slurm.hostlists import fold
from gateway.staging import stage_out, verified
from gateway.staging.manifest import Entry

URL_S = 3600
"""How long somebody may begin a download."""

_MISSING = "an administrator sets datacite_url, datacite_prefix, datacite_repository and datacite_password_file"


@dataclass(frozen=True)
class Publisher:
    """In whose name it is published: ``registry`` None when no DOI can be had; ``base`` of the pages' URLs."""

    name: str
    base: str
    registry: Callable[[], DataCite] | None

    def page(self, publication: Publication) -> str:
        """The URL of its landing page."""
        return f"{self.base}/doi/{publication.doi}"


@dataclass(frozen=True)
class PublicationService:
    """Everything about publications."""

    ports: Ports
    jobs: JobService
    publisher: Publisher
    gateway: str
    """What tells this gateway's DOIs from another's of the same prefix."""

    def publish(self, caller: Caller, name: str, request: wire.PublishRequest) -> wire.PublicationView:
        """A findable DOI for a job's outputs; asked again, the same. Raises Conflict for other words about them.

        Raises DoiUnavailable when the registry did not answer: asking again goes on where it ended.
        """
        demand(within(caller, Action.PUBLISH))
        if self.publisher.registry is None:
            raise DoiRefused("This gateway registers no DOIs", hint=_MISSING)
        job = self.jobs.find(caller, name, Action.PUBLISH)
        registry = self.publisher.registry()
        made = self._intent(caller, job, request, registry.prefix)
        if made.state is PublicationState.FINDABLE:
            return self._view(made)
        page = self.publisher.page(made)
        datacite.attributes(made, page)
        with self.ports.works() as work:
            work.evidence.keep(caller.evidence)
            work.publications.keep(made)
            work.audit.tell(job_act(caller, job, "publish", f"published it as {made.doi}"), self.ports.now())
        self._freeze(job, made)
        made = replace(made, state=publish.draft(registry, made, page))
        if made.state is PublicationState.DRAFT:
            self._keep(made)
            publish.make_findable(registry, made, page)
            made = replace(made, state=PublicationState.FINDABLE)
        self._keep(made)
        return self._view(made)

    def mine(self, caller: Caller) -> list[wire.PublicationView]:
        """The caller's publications, newest first; an admin sees everybody's."""
        demand(authorise(caller, Action.LIST_PUBLICATIONS))
        with self.ports.reads() as work:
            mine = work.publications.of_user(whose(caller.user))
            found = [(one, work.publications.readers(one.id)) for one in mine]
        return [self._view(one, readers) for one, readers in found]

    def grant(self, caller: Caller, publication_id: str, request: wire.GrantRequest) -> wire.PublicationView:
        """Let a user read the files. Raises NotFound for an unknown user."""
        demand(within(caller, Action.SHARE))
        with self.ports.works() as work:
            made = self._own(caller, work.publications.get(publication_id))
            work.users.get(request.user)
            work.evidence.keep(caller.evidence)
            work.publications.grant(made.id, request.user, caller.user.name, caller.evidence.digest, self.ports.now())
            text = f"let {request.user} read {made.doi}"
            about = f"publication:{made.id}"
            work.audit.tell(act_of(caller, "share", about, text, job=made.job), self.ports.now())
            return self._view(made, work.publications.readers(made.id))

    def revoke(self, caller: Caller, publication_id: str, user: str) -> None:
        """Take a grant back: the next download is refused. Raises NotFound."""
        demand(within(caller, Action.SHARE))
        with self.ports.works() as work:
            made = self._own(caller, work.publications.get(publication_id))
            work.evidence.keep(caller.evidence)
            work.publications.revoke(made.id, user)
            text = f"{user} may not read {made.doi} any more"
            about = f"publication:{made.id}"
            work.audit.tell(act_of(caller, "unshare", about, text, job=made.job), self.ports.now())

    def public(self, doi: str) -> tuple[Publication, str]:
        """A findable publication and its page's URL. Raises NotFound for anything else."""
        with self.ports.reads() as work:
            made = work.publications.get(doi.rpartition("/")[2])
        if made.doi != doi or made.state is not PublicationState.FINDABLE:
            raise NotFound(f"There is no publication {doi[:64]}.", hint="check the DOI")
        return made, self.publisher.page(made)

    def files(self, caller: Caller | None, publication_id: str) -> wire.PublishedFiles:
        """Every file with a URL to GET it from. Raises Refused, which says how to ask."""
        if caller is not None:
            demand(within(caller, Action.READ_PUBLICATION))
        with self.ports.reads() as work:
            made = work.publications.get(publication_id)
            readers = work.publications.readers(made.id)
        self._demand_bytes(caller, made, readers)
        return wire.PublishedFiles(publication=made.doi, files=tuple(map(self._file, made.record.files)))

    def file(self, caller: Caller | None, doi: str, path: str) -> str:
        """A URL to GET one file from. Raises Refused, NotFound."""
        made, _ = self.public(doi)
        found = {file.path: file for file in self.files(caller, made.id).files}
        if path not in found:
            raise NotFound(f"{doi} has no file {path[:200]!r}.", hint=f"{self.publisher.page(made)} lists them")
        return found[path].url

    def _intent(self, caller: Caller, job: Job, request: wire.PublishRequest, prefix: str) -> Publication:
        """The publication as it will be; the one that there is already, when it says the same."""
        if job.stage is not Stage.SETTLED:
            raise InvalidRequest(
                f"Job {job.scheduler_id} is not finished: it is {job.stage}.", hint="burst job --watch"
            )
        with self.ports.reads() as work:
            known = work.publications.of_job(job.id)
        said = self._record(job, request)
        name = record.suffix(self.gateway, job.id, said.manifest_sha256)
        files = tuple(replace(file, key=publish.key_of(name, file.sha256)) for file in said.files)
        made = Publication(
            id=name,
            doi=f"{prefix}/{name}",
            job=job.id,
            user=job.user,
            state=PublicationState.INTENT,
            record=replace(said, files=files, year=known.record.year if known else said.year),
            authorisation=caller.evidence.digest,
            at=known.at if known else self.ports.now(),
        )
        # Other words about a findable one are refused when it is kept.
        return known if known is not None and (known.record, known.doi) == (made.record, made.doi) else made

    def _record(self, job: Job, request: wire.PublishRequest) -> Record:
        attempts = self._attempts(job)
        files = tuple(
            PublishedFile(path_of(attempt, entry), entry.size, entry.sha256, "")
            for attempt, entry in self._entries(job)
        )
        if not files:
            raise InvalidRequest(f"Job {job.scheduler_id} left no files.", hint="burst fetch shows what a job left")
        return Record(
            title=request.title,
            creators=tuple(map(record.creator, request.creators)),
            description=request.description,
            publisher=self.publisher.name,
            year=self.ports.now().year,
            access=Access(request.access),
            licence=request.licence,
            related=tuple(map(record.related, request.related)),
            files=files,
            manifest_sha256=_digest(attempts),
            job=job.id,
            computed_at=job.ended_at or job.submitted_at,
            software=_software(job, attempts),
        )

    def _freeze(self, job: Job, made: Publication) -> None:
        """A copy of each file that nobody can write to. Raises ChecksumMismatch when the original was changed."""
        for attempt, entry in self._entries(job):
            key = publish.key_of(made.id, entry.sha256)
            self.ports.store.copy(attempt.prefix + entry.key, key)
            for _ in verified.pieces(self.ports.store, "", replace(entry, key=key)):
                pass

    def _entries(self, job: Job) -> Iterator[tuple[Attempt, Entry]]:
        for attempt in self._attempts(job):
            with self.ports.reads() as work:
                manifest = stage_out.merged(attempt, work.jobs.parts(attempt))
            yield from ((attempt, entry) for entry in manifest.entries)

    def _attempts(self, job: Job) -> tuple[Attempt, ...]:
        with self.ports.reads() as work:
            return work.jobs.latest_attempts(job.id)

    def _keep(self, made: Publication) -> None:
        with self.ports.works() as work:
            work.publications.keep(made)

    def _own(self, caller: Caller, made: Publication) -> Publication:
        """One that the caller may share; another is not found unless it is public anyway."""
        verdict = authorise(caller, Action.SHARE, owner=made.user)
        if isinstance(verdict, Allowed):
            return made
        if made.state is PublicationState.FINDABLE:
            raise Refused(verdict.reason, hint=verdict.hint)
        raise NotFound(f"There is no publication {made.id}.", hint="burst share shows yours")

    def _demand_bytes(self, caller: Caller | None, made: Publication, readers: tuple[str, ...]) -> None:
        owner = caller is not None and authorise(caller, Action.READ_PUBLICATION, owner=made.user) == Allowed()
        if owner:
            return
        if made.state is not PublicationState.FINDABLE:
            raise NotFound(f"There is no publication {made.id}.", hint="check the DOI")
        reader = caller is not None and caller.user.name in readers
        if made.record.access is not Access.OPEN and not reader:
            raise Refused(f"The files of {made.doi} are restricted.", hint=landing.how_to_ask(made))

    def _file(self, file: PublishedFile) -> wire.OutputFile:
        url = self.ports.store.presign_get(file.key, URL_S, "user")
        return wire.OutputFile(path=file.path, size=file.size, sha256=file.sha256, task=None, url=url)

    def _view(self, made: Publication, readers: tuple[str, ...] = ()) -> wire.PublicationView:
        said = made.record
        return wire.PublicationView(
            id=made.id,
            doi=made.doi,
            state=made.state,
            access=said.access,
            url=quote(self.publisher.page(made), safe=":/"),
            job=made.job,
            title=said.title,
            user=made.user,
            files=len(said.files),
            bytes=said.bytes,
            manifest_sha256=said.manifest_sha256,
            readers=readers,
        )


def _digest(attempts: tuple[Attempt, ...]) -> str:
    """Of the manifest; of an array, of its tasks' digests in their order."""
    digests = [attempt.manifest_sha256 or "" for attempt in attempts]
    return digests[0] if len(digests) == 1 else record.digest_of(digests)


def _software(job: Job, attempts: tuple[Attempt, ...]) -> str:
    nodes = fold(sorted({node for attempt in attempts for node in attempt.nodes}))
    script = record.digest_of([job.request.script])
    return (
        f"Job {job.scheduler_id} ({job.request.name}) of the Burst Gateway, run by Slurm on {nodes} ({job.offer}), "
        f"ended as {job.state}; SHA-256 of its script: {script}."
    )
