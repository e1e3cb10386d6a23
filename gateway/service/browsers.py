"""BrowserService: people who sign in with a browser.

Invariant: a cookie lets its browser look; to change a job it signs like every other client, with a key of its own that
was certified when it signed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import NotFound, SignatureExpired
from gateway.identity.audit import Act
from gateway.identity.authenticate import Looker, Reader
from gateway.identity.browsers import Browser, cookie_hash, make_cookie
from gateway.identity.factors import Proof
from gateway.identity.scopes import ALL
from gateway.identity.sessions import LoginBy, Origin, Session, new_session
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
        people = self.people
        user = people.check_password(name, password, address, Proof(code))
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
        )
        with people.works() as work:
            if session is not None:
                logins.begin(work, session)
            else:
                text = "signed in with a password in a browser without a key"
                work.audit.tell(Act(user.name, "login", f"user:{user.name}", text, address=address), now)
            work.browsers.add(browser)
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
        now = self.people.now()
        with self.people.works() as work:
            work.browsers.end(browser.cookie_hash, now)
            if browser.session is not None:
                logins.end(work, work.sessions.get(browser.session), browser.user, now)
            else:
                work.audit.tell(Act(browser.user, "logout", f"user:{browser.user}", "signed out in a browser"), now)
