"""FederationService: the gateways that this one trusts, and users who go from one to another.

Invariant: a visitor is let in by a visa that a trusted gateway signed for this one and by a request that the visa's key
signed; both are kept as evidence. A gateway that is trusted no more has no session, and no project, left here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import NotFound, Refused
from gateway.identity import peers
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller, Reader, Request
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.groups import GroupRole
from gateway.identity.keys import read_public, thumbprint
from gateway.identity.passwords import NO_PASSWORD
from gateway.identity.peers import VISIT_LIFETIME, Peer, Visa, Visit
from gateway.identity.sessions import LoginBy, Origin, new_session
from gateway.identity.throttle import LOGINS_OF_ADDRESS
from gateway.identity.users import Role, User
from gateway.service.people import PeopleService
from gateway.work import Work


@dataclass(frozen=True)
class FederationService:
    """Trust between gateways, as the doors need it."""

    people: PeopleService

    def trust(self, caller: Caller, request: wire.PeerRequest) -> wire.PeerView:
        """Trust a gateway, or change for what. Raises Refused, InvalidRequest, NotFound for a project, Conflict."""
        demand(authorise(caller, Action.TRUST_PEERS))
        now, said = self.people.now(), request.model_dump()
        proof = {"trusted_by": caller.user.name, "authorisation": caller.evidence.digest, "since": now}
        peer = peers.check_peer(Peer(**said | proof | {"issuer": request.issuer.rstrip("/")}))
        with self.people.works() as work:
            for project in peer.projects:
                _account_of(work, project)
            work.evidence.keep(caller.evidence)
            work.peers.put(peer)
            _settle_in(work, peer, now)
            spends = ", ".join(peer.projects) or "nothing"
            text = f"{peer.issuer} is trusted; its users spend from {spends}"
            work.audit.tell(_act(caller, "trust peer", peer.name, text), now)
        return _view(peer)

    def peers(self, caller: Reader) -> list[wire.PeerView]:
        """Every gateway that is trusted. Raises Refused."""
        demand(authorise(caller, Action.SEE_PEERS))
        with self.people.reads() as work:
            return [_view(peer) for peer in work.peers.all()]

    def distrust(self, caller: Caller, name: str) -> None:
        """Trust a gateway no more; its users' sessions end now. Raises Refused, NotFound."""
        demand(authorise(caller, Action.TRUST_PEERS))
        now = self.people.now()
        with self.people.works() as work:
            peer = work.peers.get(name)
            work.evidence.keep(caller.evidence)
            for session in work.peers.sessions_of(name, now):
                work.sessions.revoke(session, now)
            for visitor in work.users.visitors(name):
                _send_home(work, visitor)
            work.peers.remove(name)
            work.audit.tell(_act(caller, "distrust peer", name, f"{peer.issuer} is trusted no more"), now)

    def visa(self, caller: Caller, request: wire.VisaRequest) -> wire.Visa:
        """Say at a trusted gateway whose key this is. Raises Refused, NotFound, InvalidRequest."""
        demand(authorise(caller, Action.TRAVEL))
        key, now, people = read_public(request.public_key), self.people.now(), self.people
        with people.works() as work:
            peer = _known(work, request.peer)
            visa = peers.issue(caller.session, key, peer, people.issuer, people.ring, now)
            work.evidence.keep(caller.evidence)
            work.audit.tell(_act(caller, "issue visa", peer.name, f"for the key {thumbprint(key)}"), now)
        keys = tuple({name: key[name] for name in ("kty", "crv", "x", "kid")} for key in _signing(peer))
        return wire.Visa(visa=visa, url=peer.issuer, audience=peer.audience, kid=caller.session.id, keys=keys)

    def visit(self, request: Request, visa: str, address: str) -> wire.Session:
        """A session for who brought a visa. Raises NotAllowed: unknown gateway, forged, stale or used visa."""
        people, now = self.people, self.people.now()
        people.throttle.count(LOGINS_OF_ADDRESS, address)
        with people.works() as work:
            peer = work.peers.by_issuer(peers.issuer_of(visa))
            said = peers.check(visa, peer, people.audience, now, timedelta(seconds=people.verifier.skew_s))
            claims, evidence = people.verifier.holder(request, read_public(said.key), now)
            work.nonces.use(claims, now)
            user = _let_in(work, said, peer, now)
            session = new_session(user, said.key, now, VISIT_LIFETIME, said.scopes, Origin(LoginBy.VISA, address))
            work.sessions.add(session)
            work.evidence.keep(evidence)
            work.peers.visit(Visit(session.id, peer.name, said.id, evidence.digest, now))
            text = f"{said.user} of {peer.issuer}, by visa {said.id} for their session {said.session}"
            act = Act(user.name, "visit", f"session:{session.id}", text, authorisation=evidence.digest, address=address)
            work.audit.tell(act, now)
        return people.certified(session, user)


def _known(work: Work, name: str) -> Peer:
    """By our name of it, or its URL."""
    found = [peer for peer in work.peers.all() if name.rstrip("/") in {peer.name, peer.issuer}]
    if not found:
        raise NotFound(f"{name} is no gateway that this one trusts.", hint="burst peers list")
    return found[0]


def _account_of(work: Work, project: str) -> str:
    account = work.groups.get(project).account
    if account is None:
        raise Refused(f"The group {project} has no account to spend from.", hint="name a project")
    return account


def _let_in(work: Work, visa: Visa, peer: Peer, now: datetime) -> User:
    if not peer.projects:
        raise Refused(f"Users of {peer.name} may not spend from any project here.", hint="ask its administrator")
    name = peers.visitor_name(visa, peer)
    try:
        work.users.get(name)
    except NotFound:
        work.ledger.open_account(name, AccountKind.USER)
        work.users.add(User(name, Role.USER, account=name), NO_PASSWORD, now)
    _join(work, name, peer, now)
    return work.users.get(name)


def _settle_in(work: Work, peer: Peer, now: datetime) -> None:
    """What those who came before may spend from is what the gateway is trusted for now."""
    for visitor in work.users.visitors(peer.name):
        _send_home(work, visitor)
        if peer.projects:
            _join(work, visitor, peer, now)


def _join(work: Work, visitor: str, peer: Peer, now: datetime) -> None:
    for project in peer.projects:
        work.groups.put(project, visitor, GroupRole.MEMBER, now)
    work.users.pay_from(visitor, _account_of(work, peer.projects[0]))


def _send_home(work: Work, visitor: str) -> None:
    """They keep their name and what they ran, and can spend from nothing."""
    for membership in work.users.get(visitor).groups:
        work.groups.remove(membership.group, visitor)
    work.users.pay_from(visitor, visitor)


def _signing(peer: Peer) -> list[Mapping[str, str]]:
    """The keys that it signs visas and answers with, newest first."""
    return [key for key in peer.keys["keys"] if key.get("kty") == "OKP"]


def _view(peer: Peer) -> wire.PeerView:
    prints = tuple(thumbprint(read_public(key)) for key in _signing(peer))
    return wire.PeerView(fingerprints=prints, **{name: value for name, value in vars(peer).items() if name != "keys"})


def _act(caller: Caller, action: str, peer: str, text: str) -> Act:
    return Act(caller.user.name, action, f"peer:{peer}", text, authorisation=caller.evidence.digest)
