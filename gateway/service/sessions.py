"""SessionService: people see their logins, and end them.

Invariant: a login of somebody else is not found, so that its existence is not told; an end holds from the next request
on, and what was signed before it stays verifiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway import wire
from gateway.errors import BadSignature, NotFound
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, Refused, authorise, demand, within
from gateway.identity.browsers import Browser
from gateway.identity.scopes import LOOKING
from gateway.identity.sessions import LoginBy, Session
from gateway.service import logins
from gateway.service.people import PeopleService
from gateway.work import Work

_PAGES: Final = "web-"
"""Begins the name of a browser that has a cookie and no key."""
_SHOWN: Final = 24
"""Hex digits of a cookie's digest: enough to tell a user's browsers apart."""


@dataclass(frozen=True)
class SessionService:
    """The logins of users."""

    people: PeopleService

    def mine(self, reader: Reader, user: str | None = None, current: str | None = None) -> list[wire.SessionView]:
        """The live logins of the reader, or of ``user``, newest first. Raises Refused."""
        name = user or reader.user.name
        demand(authorise(reader, Action.SEE_SESSIONS, owner=name))
        now = self.people.now()
        with self.people.reads() as work:
            work.users.get(name)
            keys, browsers = work.sessions.live(name, now), work.browsers.live(name, now)
        views = [_view(session, session.id == current) for session in keys]
        views += [_page_view(browser) for browser in browsers if browser.session is None]
        return sorted(views, key=lambda view: view.since, reverse=True)

    def end(self, caller: Caller, name: str) -> None:
        """End one login: the caller's own, or an administrator any user's. Raises NotFound, Refused."""
        now, proof = self.people.now(), caller.evidence
        if name != caller.session.id:
            demand(within(caller, Action.END_SESSION))
        with self.people.works() as work:
            if name.startswith(_PAGES):
                self._end_pages(work, caller, name)
            else:
                session = _found(work, caller, name)
                logins.end(work, session, caller.user.name, now, proof.digest)
            work.evidence.keep(proof)

    def end_all(self, caller: Caller, *, others: bool) -> wire.SessionsEnded:
        """End the caller's logins, all or all but the one that signed; in one transaction, so none slips through."""
        demand(within(caller, Action.END_SESSION))
        now, user, kept = self.people.now(), caller.user.name, caller.session.id if others else None
        with self.people.works() as work:
            ended = [session for session in work.sessions.live(user, now) if session.id != kept]
            browsers = [one for one in work.browsers.live(user, now) if kept is None or one.session != kept]
            for session in ended:
                logins.end(work, session, user, now, caller.evidence.digest)
            for browser in browsers:
                work.browsers.end(browser.cookie_hash, now)
            work.evidence.keep(caller.evidence)
        return wire.SessionsEnded(ended=len(ended) + sum(browser.session is None for browser in browsers))

    def _end_pages(self, work: Work, caller: Caller, name: str) -> None:
        """A browser without a key is found among the caller's own only."""
        now, user = self.people.now(), caller.user.name
        for browser in work.browsers.live(user, now):
            if browser.session is None and _name(browser) == name:
                work.browsers.end(browser.cookie_hash, now)
                text = f"{user} signed a browser out"
                work.audit.tell(Act(user, "logout", f"browser:{name}", text, authorisation=caller.evidence.digest), now)
                return
        raise _unknown(name)


def _found(work: Work, caller: Caller, name: str) -> Session:
    try:
        session = work.sessions.get(name)
    except BadSignature as error:
        raise _unknown(name) from error
    verdict = authorise(caller, Action.END_SESSION, owner=session.user)
    if name != caller.session.id and isinstance(verdict, Refused):
        raise _unknown(name)
    return session


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no login {name[:43]}.", hint="burst sessions lists yours")


def _view(session: Session, current: bool) -> wire.SessionView:
    origin = session.origin
    return wire.SessionView(
        id=session.id,
        user=session.user,
        how=origin.how,
        host=origin.host,
        address=origin.address,
        since=session.created_at,
        used_at=session.used_at,
        expires_at=session.expires_at,
        scopes=tuple(sorted(session.scopes)),
        current=current,
    )


def _page_view(browser: Browser) -> wire.SessionView:
    return wire.SessionView(
        id=_name(browser),
        user=browser.user,
        how=LoginBy.BROWSER,
        host=browser.agent,
        address=browser.address,
        since=browser.created_at,
        used_at=None,
        expires_at=browser.expires_at,
        scopes=tuple(sorted(LOOKING)),
        current=False,
    )


def _name(browser: Browser) -> str:
    return _PAGES + browser.cookie_hash[:_SHOWN]
