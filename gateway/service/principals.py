"""PrincipalService: service principals, their keys, and their logins.

Invariant: nobody gives a principal a scope that their own login has not; a login that fails says the same whatever was
wrong with the name or the key; with a key or a principal its sessions end.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import lru_cache

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import BadSignature, Conflict, NotAllowed, NotFound, Refused
from gateway.identity import assertion, jws
from gateway.identity.assertion import Assertion
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Allowed, authorise, demand, within
from gateway.identity.authorise import Refused as Forbidden
from gateway.identity.keys import KeyPair, make_key, public_jwk, read_public, thumbprint
from gateway.identity.passwords import NO_PASSWORD
from gateway.identity.principals import MOST_KEYS, Principal, PrincipalKey
from gateway.identity.scopes import read_scopes
from gateway.identity.sessions import LoginBy, Origin, new_session
from gateway.identity.throttle import PASSWORDS_OF_ADDRESS
from gateway.identity.users import Role, User
from gateway.service import logins
from gateway.service.people import PeopleService
from gateway.work import Work

_WRONG = "The name or the key is wrong."
_WRONG_HINT = "see that the key is registered: burst principals, by who manages it"


@dataclass(frozen=True)
class PrincipalService:
    """Service principals, as the doors need them."""

    people: PeopleService

    def log_in(self, request: wire.AssertionRequest, address: str) -> wire.Session:
        """Certify a session key for some hours, for an assertion. Raises NotAllowed."""
        asked, session_key = read_scopes(request.scopes), read_public(request.public_key)
        people = self.people
        people.throttle.check(PASSWORDS_OF_ADDRESS, address)
        try:
            said = self._proven(request.assertion, session_key)
        except NotAllowed:
            people.throttle.count(PASSWORDS_OF_ADDRESS, address)
            raise
        now = people.now()
        with people.works() as work:
            # Looked up again: the key may have been removed while its signature was verified.
            if work.principals.key(said.kid) is None:
                raise NotAllowed(_WRONG, hint=_WRONG_HINT)
            work.nonces.use(said, now)
            principal, user = work.principals.get(said.principal), work.users.get(said.principal)
            given, origin = principal.narrowed(asked), Origin(LoginBy.KEY, address, request.host, said.kid)
            session = new_session(user, request.public_key, now, people.session_lifetime, given, origin)
            work.principals.note_use(said.kid, now)
            logins.begin(work, session)
        return people.certified(session, user)

    def views(self, caller: Caller) -> list[wire.PrincipalView]:
        """Those that the caller manages."""
        demand(within(caller, seeing := Action.SEE_PRINCIPALS))
        with self.people.reads() as work:
            return [
                _view(work, one)
                for one in work.principals.all()
                if _verdict(work, caller, seeing, one.project) == Allowed()
            ]

    def add(self, caller: Caller, request: wire.PrincipalRequest) -> wire.PrincipalView:
        """A new principal with its first key. Raises Refused, NotFound for the project, Conflict for the name."""
        demand(within(caller, Action.MANAGE_PRINCIPALS))
        scopes, now = read_scopes(request.scopes), self.people.now()
        if more := sorted(scopes - caller.scopes):
            raise Refused(f"Your own login has not the scope {more[0]}.", hint="burst login with it, or leave it out")
        with self.people.works() as work:
            demand(_verdict(work, caller, Action.MANAGE_PRINCIPALS, request.project))
            account = _account(work, request)
            work.users.add(User(request.name, Role.SERVICE, account), NO_PASSWORD, now)
            principal = Principal(request.name, request.project, scopes, caller.user.name, now)
            work.principals.add(principal)
            work.principals.add_key(_new_key(request.name, request.public_key, self.people))
            may = ", ".join(sorted(scopes))
            self._told(work, caller, "principal-add", request.name, f"of {request.project or 'the site'}; may {may}")
            return _view(work, work.principals.get(request.name))

    def add_key(self, caller: Caller, name: str, request: wire.PrincipalKeyRequest) -> wire.PrincipalView:
        """A further key, before an old one is removed. Raises NotFound, Conflict."""
        with self.people.works() as work:
            principal = self._managed(work, caller, name)
            if len(principal.keys) >= MOST_KEYS:
                raise Conflict(f"{name} has {MOST_KEYS} keys.", hint="remove one that it does not use any more")
            key = _new_key(name, request.public_key, self.people)
            work.principals.add_key(key)
            self._told(work, caller, "principal-key-add", name, f"key {key.id}")
            return _view(work, work.principals.get(name))

    def remove_key(self, caller: Caller, name: str, key_id: str) -> None:
        """End a key and the sessions that it began. Raises NotFound."""
        with self.people.works() as work:
            principal = self._managed(work, caller, name)
            if key_id not in {key.id for key in principal.keys}:
                raise NotFound(f"{name} has no such key.", hint="burst principals shows its keys")
            work.principals.remove_key(key_id, self.people.now())
            self._end_sessions(work, caller, name, key_id)
            self._told(work, caller, "principal-key-remove", name, f"key {key_id}")

    def remove(self, caller: Caller, name: str) -> None:
        """End a principal, its keys and its sessions; its jobs go on. Raises NotFound."""
        with self.people.works() as work:
            self._managed(work, caller, name)
            work.principals.remove(name, self.people.now())
            self._end_sessions(work, caller, name)
            self._told(work, caller, "principal-remove", name, "with all its keys")

    def _proven(self, token: str, session_key: KeyPair) -> Assertion:
        """What the assertion says, if it is by a registered key of the principal that it names, about this key."""
        people = self.people
        try:
            kid = jws.kid_of(token)
            with people.reads() as work:
                key = work.principals.key(kid)
            # An unknown key is tried as long as a known one.
            public = read_public(key.public_key) if key else _nobodys_key()
            skew = people.verifier.skew_s
            said = assertion.verify(token, public, audience=people.issuer, now=people.now(), skew_s=skew)
        except BadSignature as error:
            raise NotAllowed(_WRONG, hint=_WRONG_HINT) from error
        same = hmac.compare_digest(said.session_key.encode(), thumbprint(session_key).encode())
        if key is None or said.principal != key.principal or not same:
            raise NotAllowed(_WRONG, hint=_WRONG_HINT)
        return said

    def _managed(self, work: Work, caller: Caller, name: str) -> Principal:
        """One that the caller manages; another is not found."""
        demand(within(caller, Action.MANAGE_PRINCIPALS))
        principal = work.principals.get(name)
        if _verdict(work, caller, Action.MANAGE_PRINCIPALS, principal.project) != Allowed():
            raise NotFound(f"There is no service principal {name}.", hint="burst principals lists yours")
        return principal

    def _end_sessions(self, work: Work, caller: Caller, name: str, key_id: str | None = None) -> None:
        now = self.people.now()
        for session in work.sessions.live(name, now):
            if key_id in {None, session.origin.key}:
                logins.end(work, session, caller.user.name, now, caller.evidence.digest)

    def _told(self, work: Work, caller: Caller, action: str, name: str, text: str) -> None:
        work.evidence.keep(caller.evidence)
        act = Act(caller.user.name, action, f"user:{name}", text, authorisation=caller.evidence.digest)
        work.audit.tell(act, self.people.now())


def _verdict(work: Work, caller: Caller, action: Action, project: str | None) -> Allowed | Forbidden:
    account = None if project is None else work.groups.get(project).account
    return authorise(caller, action, account=account)


def _account(work: Work, request: wire.PrincipalRequest) -> str:
    """Who pays: its project, or for one of the site's an account of its own."""
    if request.project is None:
        work.ledger.open_account(request.name, AccountKind.USER)
        return request.name
    account = work.groups.get(request.project).account
    if account is None:
        raise Conflict(f"{request.project} has no account.", hint="name a project: a group with an account")
    return account


def _new_key(name: str, jwk: dict[str, str], people: PeopleService) -> PrincipalKey:
    key = read_public(jwk)
    return PrincipalKey(thumbprint(key), name, public_jwk(key), people.now())


def _view(work: Work, one: Principal) -> wire.PrincipalView:
    return wire.PrincipalView(
        name=one.name,
        project=one.project,
        account=work.users.get(one.name).account,
        scopes=tuple(sorted(one.scopes)),
        created_by=one.created_by,
        since=one.created_at,
        keys=tuple(wire.PrincipalKeyView(id=key.id, since=key.created_at, used_at=key.used_at) for key in one.keys),
    )


@lru_cache(maxsize=1)
def _nobodys_key() -> KeyPair:
    return make_key()
