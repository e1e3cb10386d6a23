"""DeviceService: logins of a command that a person approves in a browser (RFC 8628).

Invariant: a login is decided by a user who signed in minutes ago, and the decision is kept, signed
by the gateway: who, when, from where, about which key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway import wire
from gateway.errors import NotFound, Refused
from gateway.identity import devices
from gateway.identity.audit import Act, Outcome
from gateway.identity.browsers import Browser
from gateway.identity.devices import DeviceLogin, DeviceState
from gateway.identity.scopes import Scopes, read_scopes
from gateway.identity.sessions import LoginBy, Origin, new_session
from gateway.identity.throttle import CODES, LOGINS_OF_ADDRESS
from gateway.service import logins
from gateway.service.people import PeopleService

VERIFY_PATH = "/web/device"


@dataclass(frozen=True)
class DeviceService:
    """Device logins, as the doors need them."""

    people: PeopleService

    def begin(self, request: wire.DeviceRequest, address: str) -> wire.DeviceLogin:
        """A new login: what its client and its user are told. Raises InvalidRequest, TooManyTries."""
        scopes = read_scopes(request.scopes)
        self.people.throttle.count(LOGINS_OF_ADDRESS, address)
        login, code = devices.begin(request.public_key, request.host, address, self.people.now(), scopes)
        with self.people.works() as work:
            work.devices.add(login)
        url = self.people.site_url + VERIFY_PATH
        return wire.DeviceLogin(
            device_code=code,
            user_code=login.user_code,
            verification_uri=url,
            verification_uri_complete=f"{url}?code={login.user_code}",
            expires_in=int(devices.LIFETIME.total_seconds()),
            interval=login.interval_s,
        )

    def poll(self, request: wire.DevicePoll) -> wire.Session:
        """What became of a login; asking again after its approval answers the same. Raises DeviceError, NotFound."""
        now = self.people.now()
        with self.people.works() as work:
            login = work.devices.of_client(devices.code_hash(request.device_code))
            early = devices.too_early(login, now)
            slower = login.interval_s + (devices.SLOWER_S if early else 0)
            work.devices.record(login, replace(login, polled_at=now, interval_s=slower))
        session_id = devices.outcome(login, now, early=early)
        with self.people.reads() as work:
            session = work.sessions.get(session_id)
            user = work.users.get(session.user)
        return self.people.certified(session, user)

    def look(self, user_code: str, browser: Browser) -> DeviceLogin:
        """A login that is to be decided. Raises NotFound, CodeExpired, Conflict; TooManyTries for guessed codes."""
        now = self.people.now()
        try:
            with self.people.reads() as work:
                login = work.devices.of_user(devices.typed(user_code))
        except NotFound:
            self.people.throttle.count(CODES, browser.user)
            raise
        devices.undecided(login, now)
        return login

    def decide(
        self, user_code: str, browser: Browser, address: str, *, approve: bool, scopes: Scopes | None = None
    ) -> DeviceLogin:
        """Approve a login for ``scopes`` of those that it asks for (None: all), or refuse it.

        Raises as ``look`` does, and Refused when the password is too long ago or ``scopes`` are more than was asked.
        """
        now, people = self.people.now(), self.people
        if not browser.fresh(now):
            raise Refused("You signed in too long ago for this.", hint="sign in again, then approve")
        self.look(user_code, browser)
        with people.works() as work:
            login = work.devices.of_user(devices.typed(user_code))
            devices.undecided(login, now)
            user = work.users.get(browser.user)
            state = DeviceState.APPROVED if approve else DeviceState.REFUSED
            decided = replace(login, state=state, user=user.name, decided_at=now)
            if approve:
                given, origin = login.narrowed(scopes), Origin(LoginBy.DEVICE, login.address, login.host)
                session = new_session(user, login.public_key, now, people.session_lifetime, given, origin)
                logins.begin(work, session)
                decided = replace(decided, session=session.id, given=given)
            else:
                work.audit.tell(_refusal(login, user.name, address), now)
            approval = devices.statement(decided, user, address, browser, people.ring)
            decided = replace(decided, approval=approval)
            work.devices.record(login, decided)
        return decided

    def count_wrong_password(self, user_code: str) -> None:
        """A wrong password was given on the way to a login: five of them end its code."""
        with self.people.works() as work:
            try:
                login = work.devices.of_user(devices.typed(user_code))
            except NotFound:
                return
            work.devices.record(login, replace(login, tries=login.tries + 1))


def _refusal(login: DeviceLogin, user: str, address: str) -> Act:
    text = f"{user} refused a login that {login.host} at {login.address} asked for"
    return Act(user, "login", f"user:{user}", text, Outcome.REFUSED, address=address)
