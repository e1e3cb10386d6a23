"""BrowserService: people who sign in with a browser.

Invariant: a cookie lets its browser look; to change a job it signs like every other client, with a key of its own that
was certified when it signed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import NotFound, SignatureExpired
from gateway.identity.audit import Act
from gateway.identity.authenticate import Looker, Reader
from gateway.identity.browsers import Browser, cookie_hash, make_cookie
from gateway.identity.factors import Proof
from gateway.identity.scopes import ALL
from gateway.identity.sessions import LoginBy, Origin, Session, new_session
from gateway.identity.users import User
from gateway.service import logins
from gateway.service.people import PeopleService

_LONGEST_AGENT = 256
_LONGEST_HOST = 255


@dataclass(frozen=True)
class Visit:
    """A signed-in browser and its user."""

    browser: Browser
    reader: Reader
    session: Session | None
    """The session of the key that it made, if it made one."""


@dataclass(frozen=True)
class BrowserService:
    """Sign-ins, as the web pages need them."""

    people: PeopleService

    def sign_in(
        self,
        name: str,
        password: str,
        public_key: Mapping[str, str] | None,
        *,
        address: str,
        agent: str,
        code: str | None = None,
    ) -> tuple[str, Browser]:
        """A new cookie for a password and, if one is needed, a code; with a session for the browser's key, if any.

        Raises NotAllowed, and CodeNeeded as ``PeopleService.check_password`` does.
        """
        user = self.people.check_password(name, password, address, Proof(code))
        return self.admit(user, public_key, address=address, agent=agent, amr="pwd otp" if code else "pwd")

    def admit(
        self,
        user: User,
        public_key: Mapping[str, str] | None,
        *,
        address: str,
        agent: str,
        amr: str = "pwd",
        proved_at: datetime | None = None,
    ) -> tuple[str, Browser]:
        """A new cookie for a user who proved who they are, in the way ``amr``, now or at ``proved_at``.

        ``amr`` are methods of RFC 8176. Raises Refused for a user who is disabled.
        """
        user.check()
        people = self.people
        now, cookie = people.now(), make_cookie()
        until = now + people.session_lifetime
        origin = Origin(LoginBy.BROWSER, address, agent[:_LONGEST_HOST])
        session = new_session(user, public_key, now, people.session_lifetime, ALL, origin) if public_key else None
        browser = Browser(
            cookie_hash=cookie_hash(cookie),
            user=user.name,
            address=address,
            agent=agent[:_LONGEST_AGENT],
            created_at=now,
            expires_at=until,
            session=session.id if session else None,
            amr=amr,
            proved_at=proved_at,
        )
        with people.works() as work:
            if session is not None:
                logins.begin(work, session)
            work.browsers.add(browser)
            work.audit.tell(Act(user.name, "sign-in", f"browser:{browser.id}", f"by {amr}", address=address), now)
        return cookie, browser

    def visit(self, cookie: str | None) -> Visit:
        """Who a cookie belongs to. Raises SignatureExpired for one that is none or no longer good."""
        if cookie is None:
            raise SignatureExpired("You are not signed in.", hint="sign in")
        with self.people.reads() as work:
            try:
                browser = work.browsers.get(cookie_hash(cookie))
            except NotFound as error:
                raise SignatureExpired("You are not signed in.", hint="sign in") from error
            browser.check(self.people.now())
            session = work.sessions.get(browser.session) if browser.session else None
            user = work.users.get(browser.user)
            if session is None:
                return Visit(browser, Reader(user), None)
            session.check(self.people.now())
            return Visit(browser, Looker(user, session.scopes), session)

    def sign_out(self, browser: Browser) -> None:
        """End a sign-in and the session of its key."""
        self._end(browser, (browser,), browser.address)

    def all_of(self, browser: Browser) -> tuple[Browser, ...]:
        """Every sign-in of this one's user that is good now, newest first."""
        with self.people.reads() as work:
            return work.browsers.live(browser.user, self.people.now())

    def end(self, browser: Browser, browser_id: str, address: str) -> None:
        """End one of the user's sign-ins. Raises NotFound when the user has none of that id."""
        chosen = tuple(each for each in self.all_of(browser) if each.id == browser_id)
        if not chosen:
            raise NotFound("You have no such sign-in any more.", hint="open your account's page again")
        self._end(browser, chosen, address)

    def end_others(self, browser: Browser, address: str) -> int:
        """End all sign-ins of the user's but this one; return how many."""
        others = tuple(each for each in self.all_of(browser) if each.cookie_hash != browser.cookie_hash)
        self._end(browser, others, address)
        return len(others)

    def _end(self, by: Browser, ended: Sequence[Browser], address: str) -> None:
        now = self.people.now()
        with self.people.works() as work:
            for each in ended:
                work.browsers.end(each.cookie_hash, now)
                if each.session is not None:
                    logins.end(work, work.sessions.get(each.session), by.user, now)
                said = "itself" if each.cookie_hash == by.cookie_hash else f"from the browser {by.id}"
                work.audit.tell(Act(by.user, "sign-out", f"browser:{each.id}", f"ended {said}", address=address), now)
