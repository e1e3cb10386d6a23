"""LinkService: links to a file or folder of a job's outputs, for whoever has the link.

Invariant: whoever makes a link owns its path at that moment; it gives what its maker may read at the moment that it is
opened, and only below its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway import wire
from gateway.errors import NotFound, Refused
from gateway.identity.access import Rights, clean_path, cut, is_below
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Caller, Reader, Vouched
from gateway.identity.authorise import Action, Allowed, authorise, demand, whose, within
from gateway.identity.authorise import Refused as Verdict
from gateway.identity.shares import Link, new_link_id, new_secret, opened, secret_hash
from gateway.identity.throttle import LINKS, LINKS_OF_ADDRESS, Throttle
from gateway.jobs.job import Job
from gateway.route import Ports
from gateway.service.acts import act_of, job_act
from gateway.service.sharing import SharingService, place_of
from gateway.service.sight import Sight, sight_of

LINK_URL_S = 300
"""How long a download that a link led to may begin; so long at most it outlives the link."""

READS = Rights(owner=False, readable=True, writeable=False, executable=False)
"""What a link gives: what is in the store is sealed, so there is nothing to write."""

PAGE_PATH = "/shared"


@dataclass(frozen=True)
class LinkService:
    """Links; ``issuer`` is the gateway's URL."""

    ports: Ports
    sharing: SharingService
    throttle: Throttle
    issuer: str

    def add(self, caller: Caller, name: str, request: wire.LinkRequest) -> wire.NewLink:
        """A link to a file or folder; its secret is told this once. Raises NotFound, Refused."""
        seen = self.sharing.owned(caller, name, clean_path(request.path))
        secret, now = new_secret(), self.ports.now()
        link = Link(
            id=new_link_id(),
            job=seen.job.id,
            path=clean_path(request.path),
            rights=READS,
            made_by=caller.user.name,
            secret_hash=secret_hash(secret),
            authorisation=caller.evidence.digest,
            made_at=now,
            expires_at=now + timedelta(seconds=request.expires_s),
        )
        with self.ports.works() as work:
            work.shares.add_link(link)
            work.evidence.keep(caller.evidence)
            text = f"link {link.id} until {link.expires_at:%Y-%m-%d %H:%M} UTC: {place_of(link.path)}"
            work.audit.tell(job_act(caller, seen.job, "link", text), now)
        # What follows the # stays in the browser.
        url = f"{self.issuer}{PAGE_PATH}/{link.id}#{secret}"
        return wire.NewLink(link=_link_view(seen.job, link), secret=secret, url=url)

    def mine(self, caller: Reader) -> list[wire.LinkView]:
        """The links that the caller made, newest first; an admin sees everybody's."""
        demand(authorise(caller, Action.LIST_SHARES))
        with self.ports.reads() as work:
            found = work.shares.links(whose(caller.user))
            return [_link_view(work.jobs.get(link.job), link) for link in found]

    def revoke(self, caller: Caller, link_id: str) -> None:
        """End a link of the caller's. Raises NotFound."""
        demand(within(caller, Action.REVOKE_LINK))
        with self.ports.works() as work:
            link = work.shares.link(link_id)
            verdict = authorise(caller, Action.REVOKE_LINK, owner=link.made_by if link else None)
            if link is None:
                raise NotFound(f"There is no link {link_id}.", hint="burst share lists yours")
            if isinstance(verdict, Verdict) and not verdict.told:
                raise NotFound(f"There is no link {link_id}.", reason=verdict.reason, hint="burst share lists yours")
            demand(verdict)
            work.shares.revoke_link(link.id, self.ports.now())
            work.evidence.keep(caller.evidence)
            act = act_of(caller, "unlink", f"job:{link.job}", f"took back link {link.id}", job=link.job)
            work.audit.tell(act, self.ports.now())

    def open(self, link_id: str, request: wire.OpenRequest, address: str) -> wire.LinkedFiles:
        """What a link opens. Raises Refused, TooManyTries, NotFound while there are no outputs yet."""
        self.throttle.check(LINKS_OF_ADDRESS, address)
        self.throttle.count(LINKS, link_id, address)
        link = self._opened(link_id, request.secret, address)
        self.throttle.forgive(LINKS, link_id, address)
        path = link.path if request.path is None else clean_path(request.path)
        if not is_below(path, link.path):
            self._tell_refused(link_id, address, link, f"asked for {path!r}, which it is not for")
            raise Refused("This link is not for that path.", hint=f"it opens {link.path or 'all outputs'}")
        return self._files(link, path, address)

    def _opened(self, link_id: str, secret: str, address: str) -> Link:
        with self.ports.reads() as work:
            link = work.shares.link(link_id)
        try:
            return opened(link, secret, self.ports.now())
        except Refused as refusal:
            self.throttle.count(LINKS_OF_ADDRESS, address)
            self._tell_refused(link_id, address, link, refusal.detail)
            raise

    def _files(self, link: Link, path: str, address: str) -> wire.LinkedFiles:
        with self.ports.reads() as work:
            job = work.jobs.get(link.job)
            reads = _Reach(link, sight_of(work, Vouched(work.users.get(link.made_by)), job)).reads
        if not reads(path):
            self._tell_refused(link.id, address, link, f"{link.made_by}, who made it, may not read it any more")
            raise Refused("Who made this link may not read it any more.", hint="ask an owner for another")
        left = int((link.expires_at - self.ports.now()).total_seconds())
        files = self.sharing.jobs.files(job, reads, path, max(1, min(LINK_URL_S, left)))
        if not files:
            raise NotFound("There are no such files, or not yet.", hint="the job may not have ended; try later")
        with self.ports.works() as work:
            act = Act(f"link:{link.id}", "open-link", f"job:{job.id}", f"opened {place_of(path)}")
            work.audit.tell(_seen_from(act, link, address), self.ports.now())
        return wire.LinkedFiles(
            name=job.request.name, path=path, by=link.made_by, expires_at=link.expires_at, files=files
        )

    def _tell_refused(self, link_id: str, address: str, link: Link | None, why: str) -> None:
        with self.ports.works() as work:
            act = Act(f"link:{link_id}", "open-link", f"link:{link_id}", why, Outcome.REFUSED)
            work.audit.tell(_seen_from(act, link, address), self.ports.now())


@dataclass(frozen=True)
class _Reach:
    """How far a link reaches: below its path, and there no further than its maker."""

    link: Link
    maker: Sight

    def reads(self, path: str) -> bool:
        """Whether it opens this file or folder."""
        rights = cut(self.maker.rights(path), self.link.rights)
        may = authorise(self.maker.reader, Action.FETCH_OUTPUTS, rights=rights) == Allowed()
        return may and self.link.rights.readable is True and is_below(path, self.link.path)


def _seen_from(act: Act, link: Link | None, address: str) -> Act:
    known = {"authorisation": link.authorisation, "job": link.job} if link else {}
    return Act(**{**vars(act), **known, "address": address})


def _link_view(job: Job, link: Link) -> wire.LinkView:
    return wire.LinkView(
        id=link.id,
        job=job.scheduler_id,
        burst_id=job.id,
        path=link.path,
        by=link.made_by,
        made_at=link.made_at,
        expires_at=link.expires_at,
        revoked_at=link.revoked_at,
    )
