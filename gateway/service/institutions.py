"""InstitutionService: people sign in with the account of their institution, or link it to their user here.

Invariant: what an institution says counts after its ID token held and its settings let the person in; whom it names
is looked up by (issuer, subject) alone, and is linked only by a user who signed in here minutes ago.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from gateway.accounting.ledger import AccountKind
from gateway.errors import Conflict, NotAllowed, NotFound, Refused
from gateway.identity import institutions
from gateway.identity.audit import Act, Outcome
from gateway.identity.browsers import FRESH, Browser
from gateway.identity.id_token import UnknownKey, read_id_token
from gateway.identity.institutions import Flow, Identity, Institution, Person, Secrets
from gateway.identity.openid_provider import OpenIdProvider
from gateway.identity.passwords import hash_password, make_password
from gateway.identity.throttle import FLOWS_OF_ADDRESS
from gateway.identity.users import Role, User
from gateway.service.browsers import BrowserService
from gateway.service.devices import VERIFY_PATH
from gateway.service.people import PeopleService
from gateway.work import Work

RETURN_PATH = "/web/institutions/{name}/return"
_PROOF_S = int(FRESH.total_seconds()) - 60
"""How old somebody's proof at the institution may be, where they are to approve or to link something."""
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True)
class Arrived:
    """Somebody who came back from their institution; ``cookie`` is None after an account was linked."""

    institution: Institution
    next: str
    cookie: str | None = None


@dataclass(frozen=True)
class InstitutionService:
    """Institutions, as the web pages need them: name → its provider."""

    people: PeopleService
    browsers: BrowserService
    providers: Mapping[str, OpenIdProvider]

    @property
    def all(self) -> tuple[Institution, ...]:
        """Those of the settings, in their order."""
        return tuple(provider.institution for provider in self.providers.values())

    def of(self, user: str) -> tuple[Identity, ...]:
        """What is linked to a user, oldest first."""
        with self.people.reads() as work:
            return work.identities.of_user(user)

    def begin(
        self,
        name: str,
        back: str,
        address: str,
        *,
        public_key: Mapping[str, str] | None = None,
        linked_by: Browser | None = None,
    ) -> tuple[str, str]:
        """A cookie for the way, and the institution's URL to go to. Raises NotFound, Refused, InstitutionUnavailable.

        ``linked_by`` is a browser whose user links their account; without one somebody signs in.
        """
        self.people.throttle.count(FLOWS_OF_ADDRESS, address)
        now, provider = self.people.now(), self._provider(name)
        if linked_by is not None and not linked_by.fresh(now):
            raise _too_long_ago()
        own, endpoint = Secrets.new(), provider.metadata().authorization_endpoint
        flow = Flow(
            state_hash=institutions.kept(own.state),
            cookie_hash=institutions.kept(own.cookie),
            institution=name,
            expires_at=now + institutions.LIFETIME,
            next=back,
            public_key=public_key,
            browser=linked_by.cookie_hash if linked_by else None,
        )
        with self.people.works() as work:
            work.identities.begin(flow)
        strict = linked_by is not None or back.startswith(VERIFY_PATH)
        max_age = _PROOF_S if strict else None
        url = institutions.authorization_url(endpoint, provider.institution, own, self.redirect_uri(name), max_age)
        return own.cookie, url

    def redirect_uri(self, name: str) -> str:
        """Where the institution sends people back to; it must know exactly this."""
        return self.people.site_url + RETURN_PATH.format(name=name)

    def arrive(self, name: str, cookie: str | None, answer: Mapping[str, str], *, address: str, agent: str) -> Arrived:
        """Take the institution's answer, the query of its redirect. Raises NotAllowed, InstitutionUnavailable."""
        provider = self._provider(name)
        own, flow = self._taken(provider.institution, cookie, answer.get("state", ""))
        try:
            person = self._person(provider, own, answer)
            provider.institution.admit(person)
            if flow.browser is not None:
                self._link(provider.institution, person, flow.browser, address)
                return Arrived(provider.institution, flow.next)
            user = self._user(provider.institution, person, address)
        except NotAllowed as error:
            self._refused(provider.institution, error, address)
        cookie, _ = self.browsers.admit(
            user,
            flow.public_key,
            address=address,
            agent=agent,
            amr=f"institution:{name}",
            # One that does not tell when may have known them for days.
            proved_at=person.proved_at or self.people.now() - FRESH,
        )
        return Arrived(provider.institution, flow.next, cookie)

    def unlink(self, browser: Browser, identity_id: str, address: str) -> None:
        """Forget who a user is there. Raises Refused, NotFound; Conflict for the account that the user was made for."""
        now = self.people.now()
        if not browser.fresh(now):
            raise _too_long_ago()
        with self.people.works() as work:
            if any(each.id == identity_id and each.made_user for each in work.identities.of_user(browser.user)):
                raise Conflict("Your user was made for this account.", hint="an administrator can take it away")
            work.identities.unlink(browser.user, identity_id)
            act = Act(browser.user, "identity.unlink", f"identity:{identity_id}", "was unlinked", address=address)
            work.audit.tell(act, now)

    def _provider(self, name: str) -> OpenIdProvider:
        try:
            return self.providers[name]
        except KeyError as error:
            raise NotFound("There is no such institution here.", hint="sign in with your password") from error

    def _taken(self, institution: Institution, cookie: str | None, state: str) -> tuple[Secrets, Flow]:
        try:
            # In a transaction of its own: a wrong answer uses the state up, too.
            with self.people.works() as work:
                flow = work.identities.take(institutions.kept(state))
        except NotFound as error:
            raise institutions.not_begun_here() from error
        institutions.check_flow(flow, institution, cookie or "", self.people.now())
        return Secrets(cookie or "", state), flow

    def _person(self, provider: OpenIdProvider, own: Secrets, answer: Mapping[str, str]) -> Person:
        institution = provider.institution
        named = answer.get("iss")
        if named != institution.issuer and (named is not None or provider.metadata().names_itself):
            raise Refused(f"This answer is not {institution.title}'s.", hint="begin the sign-in again")
        if "error" in answer or not answer.get("code"):
            said = answer.get("error", "")
            code = f": {said}" if _ERROR_CODE.fullmatch(said) else ""
            raise Refused(f"{institution.title} did not sign you in{code}.", hint="begin the sign-in again")
        token = provider.id_token(answer["code"], own.verifier, self.redirect_uri(institution.name))
        try:
            return read_id_token(token, institution, provider.keys(), own.nonce, self.people.now())
        except UnknownKey:
            return read_id_token(token, institution, provider.keys(again=True), own.nonce, self.people.now())

    def _user(self, institution: Institution, person: Person, address: str) -> User:
        with self.people.reads() as work:
            identity = work.identities.find(person.issuer, person.subject)
            if identity is not None:
                return work.users.get(identity.user)
        name = institution.new_user_name(person)
        if name is None:
            raise _nobody(institution)
        digest, now = hash_password(make_password()), self.people.now()
        user = User(name, Role.USER, account=name)
        try:
            with self.people.works() as work:
                work.ledger.open_account(name, AccountKind.USER)
                work.users.add(user, digest, now)
                self._keep(work, institution, person, name, address, made_user=True)
        except Conflict as error:
            raise _nobody(institution) from error
        return user

    def _link(self, institution: Institution, person: Person, browser_digest: str, address: str) -> None:
        now = self.people.now()
        with self.people.works() as work:
            browser = work.browsers.get(browser_digest)
            browser.check(now)
            if not browser.fresh(now):
                raise _too_long_ago()
            self._keep(work, institution, person, browser.user, address, made_user=False)

    def _keep(
        self, work: Work, institution: Institution, person: Person, user: str, address: str, *, made_user: bool
    ) -> None:
        now, own_id = self.people.now(), secrets.token_urlsafe(12)
        facts = (own_id, person.issuer, person.subject, user, institution.name, person.label, now)
        work.identities.link(Identity(*facts, made_user=made_user))
        said = f"{person.subject} of {person.issuer}" + (", for whom the user was made" if made_user else "")
        work.audit.tell(Act(user, "identity.link", f"identity:{own_id}", said, address=address), now)

    def _refused(self, institution: Institution, error: NotAllowed, address: str) -> NoReturn:
        actor = f"institution:{institution.name}"
        act = Act(actor, "sign-in", actor, error.detail, Outcome.REFUSED, address=address)
        with self.people.works() as work:
            work.audit.tell(act, self.people.now())
        raise error


def _nobody(institution: Institution) -> Refused:
    # The same words whether a user of that name exists or not.
    hint = "sign in with your password, then link it on the page Account; without a user here, ask an administrator"
    return Refused(f"This account of {institution.title} is not linked to a user here.", hint=hint)


def _too_long_ago() -> Refused:
    return Refused("You signed in too long ago for this.", hint="sign in again, then try again")
