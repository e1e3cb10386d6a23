"""PasskeyService: people add passkeys to their account, and sign in with them in place of a password.

Invariant: a passkey is added or removed only by somebody who signed in minutes ago; a challenge is used up by the first
answer, right or wrong; a device's count that went back signs nobody in and is told as an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import Conflict, InvalidRequest, NotFound, Refused
from gateway.identity import passkeys
from gateway.identity.audit import Act, Outcome
from gateway.identity.browsers import Browser, cookie_hash
from gateway.identity.passkeys import LONGEST_NAME, Passkey, Purpose, RelyingParty
from gateway.identity.throttle import PASSKEYS_OF_ADDRESS
from gateway.service.browsers import BrowserService
from gateway.service.people import PeopleService

_MOST = 20
"""Passkeys of one user."""


@dataclass(frozen=True)
class PasskeyService:
    """Passkeys, as the web pages need them; ``party`` is None where browsers would offer none."""

    people: PeopleService
    browsers: BrowserService
    party: RelyingParty | None

    def of(self, user: str) -> tuple[Passkey, ...]:
        """A user's passkeys, oldest first."""
        with self.people.reads() as work:
            return work.passkeys.of_user(user)

    def ask_to_add(self, browser: Browser) -> dict[str, Any]:
        """What the browser's ``navigator.credentials.create`` takes. Raises Refused, Conflict."""
        self.require_fresh(browser)
        now, party = self.people.now(), self._required()
        with self.people.works() as work:
            known = work.passkeys.of_user(browser.user)
            if len(known) >= _MOST:
                raise Conflict(f"You have {_MOST} passkeys already.", hint="remove one first")
            challenge = passkeys.add_challenge(browser.cookie_hash, known, now)
            work.passkeys.ask(challenge)
        return passkeys.creation_options(party, challenge, browser.user, known)

    def add(self, browser: Browser, name: str, answer: str, address: str) -> Passkey:
        """Keep the passkey that a device made. Raises Refused, InvalidRequest, NotFound, Conflict."""
        self.require_fresh(browser)
        now, name = self.people.now(), _checked(name)
        challenge = self._taken(browser.cookie_hash, Purpose.ADD)
        made = passkeys.read_new(self._required(), challenge, answer, user=browser.user, name=name, now=now)
        with self.people.works() as work:
            work.passkeys.add(made)
            work.audit.tell(_act(made, "passkey.add", f"{made.name} was added", address), now)
        return made

    def ask_to_sign_in(self, cookie: str, address: str) -> dict[str, Any]:
        """What ``navigator.credentials.get`` takes, for whoever is at this browser. Raises Refused, TooManyTries."""
        self.people.throttle.count(PASSKEYS_OF_ADDRESS, address)
        party = self._required()
        challenge = passkeys.sign_in_challenge(cookie_hash(cookie), self.people.now())
        with self.people.works() as work:
            work.passkeys.ask(challenge)
        return passkeys.request_options(party, challenge)

    def sign_in(
        self, cookie: str, answer: str, public_key: Mapping[str, str] | None, *, address: str, agent: str
    ) -> tuple[str, Browser]:
        """A new cookie for a passkey's answer to this cookie's challenge. Raises Refused, NotFound."""
        party, now = self._required(), self.people.now()
        challenge = self._taken(cookie_hash(cookie), Purpose.SIGN_IN)
        with self.people.reads() as work:
            try:
                passkey = work.passkeys.of_credential(passkeys.credential_of(answer))
            except NotFound as error:
                raise passkeys.unknown() from error
            user = work.users.get(passkey.user)
        count = passkeys.verified_count(party, challenge, answer, passkey, now)
        if passkey.overtaken_by(count):
            self._alarm(passkey, count, address)
            raise passkeys.unknown()
        with self.people.works() as work:
            work.passkeys.used(passkey, count, now)
        return self.browsers.admit(user, public_key, address=address, agent=agent, amr=passkeys.AMR)

    def rename(self, browser: Browser, passkey_id: str, name: str, address: str) -> None:
        """Give a passkey another name. Raises InvalidRequest, NotFound."""
        name, now = _checked(name), self.people.now()
        with self.people.works() as work:
            work.passkeys.rename(browser.user, passkey_id, name)
            told = Act(browser.user, "passkey.rename", f"passkey:{passkey_id}", f"is called {name}", address=address)
            work.audit.tell(told, now)

    def remove(self, browser: Browser, passkey_id: str, address: str) -> None:
        """Forget a passkey. Raises Refused, NotFound."""
        self.require_fresh(browser)
        now = self.people.now()
        with self.people.works() as work:
            work.passkeys.remove(browser.user, passkey_id)
            told = Act(browser.user, "passkey.remove", f"passkey:{passkey_id}", "was removed", address=address)
            work.audit.tell(told, now)

    def require_fresh(self, browser: Browser) -> None:
        """Raise Refused unless its user signed in a short time ago."""
        if not browser.fresh(self.people.now()):
            raise Refused("You signed in too long ago for this.", hint="sign in again, then try again")

    def _required(self) -> RelyingParty:
        if self.party is None:
            hint = "the setting public_url is to be https, with a domain name"
            raise Refused("This gateway has no address that browsers use passkeys at.", hint=hint)
        return self.party

    def _taken(self, cookie_digest: str, purpose: Purpose) -> passkeys.Challenge:
        # In a transaction of its own: a wrong answer uses the challenge up, too.
        with self.people.works() as work:
            return work.passkeys.take(cookie_digest, purpose)

    def _alarm(self, passkey: Passkey, count: int, address: str) -> None:
        said = f"{passkey.name} counted {count} after {passkey.sign_count}: there may be a copy of it"
        act = Act(passkey.user, "sign-in", f"passkey:{passkey.id}", said, Outcome.ALARM, address=address)
        with self.people.works() as work:
            work.audit.tell(act, self.people.now())


def _act(passkey: Passkey, action: str, said: str, address: str) -> Act:
    return Act(passkey.user, action, f"passkey:{passkey.id}", said, address=address)


def _checked(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidRequest("A passkey needs a name.", hint=f"at most {LONGEST_NAME} characters, such as: my laptop")
    return name
