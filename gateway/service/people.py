"""PeopleService: who is asking, their sessions, and the first users of a new gateway.

Invariant: a request is believed only after its signature, its session and, if it changes anything, its nonce held.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import BadSignature, NotAllowed, NotFound
from gateway.identity.authenticate import Caller, Request, Verifier, bearer_of
from gateway.identity.credentials import Credentials, JobGrant
from gateway.identity.key_ring import KeyRing
from gateway.identity.passwords import hash_password
from gateway.identity.sessions import Session, certificate, check_password, new_session
from gateway.identity.signature import MUTATING
from gateway.identity.slurm_token import SlurmTokens
from gateway.identity.throttle import PASSWORDS, PASSWORDS_OF_ADDRESS, Throttle
from gateway.identity.users import Role, User
from gateway.provisioning.fleet import ElasticNode
from gateway.route import Work, Works


@dataclass(frozen=True)
class PeopleService:
    """Identity, as the doors need it. ``issuer`` is the gateway's URL."""

    works: Works
    reads: Works
    ring: KeyRing
    verifier: Verifier
    credentials: Credentials
    issuer: str
    session_lifetime: timedelta
    now: Callable[[], datetime]
    throttle: Throttle = field(default_factory=Throttle)
    public_url: str | None = None
    """Where people's browsers find the gateway, if that is not its own URL."""

    @property
    def audience(self) -> str:
        """The gateway's name in every signature."""
        return self.verifier.audience

    @property
    def site_url(self) -> str:
        """Where the web pages are."""
        return (self.public_url or self.issuer).rstrip("/")

    def log_in(self, request: wire.LoginRequest, address: str) -> wire.Session:
        """Certify a client's key for some hours. Raises NotAllowed."""
        user = self.check_password(request.user, request.password, address)
        session = new_session(user, request.public_key, self.now(), self.session_lifetime)
        with self.works() as work:
            work.sessions.add(session)
        return self.certified(session, user)

    def check_password(self, name: str, password: str, address: str) -> User:
        """The user of that password. Raises NotAllowed, TooManyTries after five wrong ones from this address."""
        self.throttle.check(PASSWORDS_OF_ADDRESS, address)
        self.throttle.count(PASSWORDS, name, address)
        try:
            with self.reads() as work:
                # Argon2 takes a fifth of a second on purpose: nobody else is to wait for that.
                user = check_password(work.users, name, password)
        except NotAllowed:
            self.throttle.count(PASSWORDS_OF_ADDRESS, address)
            raise
        self.throttle.forgive(PASSWORDS, name, address)
        return user

    def certified(self, session: Session, user: User) -> wire.Session:
        """A session with its certificate, for the client that has the key."""
        return wire.Session(
            id=session.id,
            user=user.name,
            audience=self.audience,
            expires_at=session.expires_at,
            certificate=certificate(session, user, self.ring, self.issuer, self.audience),
        )

    def log_out(self, caller: Caller) -> None:
        """End the session that signed."""
        with self.works() as work:
            work.sessions.revoke(caller.session.id, self.now())

    def user(self, request: Request) -> Caller:
        """The user who signed a request. Raises NotAllowed."""
        with self._for(request) as work:
            return self.verifier.user(request, work.sessions, work.users, work.nonces, self.now())

    def slurm_token(self, caller: Caller, lifespan_s: int | None) -> wire.SlurmToken:
        """A token for clients of Slurm's REST API that sign nothing: for looking only, no longer than the session."""
        expires = caller.session.expires_at
        if lifespan_s is not None:
            expires = min(expires, self.now() + timedelta(seconds=lifespan_s))
        token = self._slurm_tokens.mint(caller.user.name, caller.session.id, self.now(), expires)
        return wire.SlurmToken(user=caller.user.name, token=token, expires_at=expires)

    def reader(self, token: str, name: str | None) -> User:
        """Whose token this is; ``name`` is the user that the request claims to be of. Raises NotAllowed."""
        session_id = self._slurm_tokens.session_of(token, self.now())
        with self.reads() as work:
            session = work.sessions.get(session_id)
            session.check(self.now())
            user = work.users.get(session.user)
        if name not in {None, user.name}:
            raise BadSignature(f"The token is not {name}'s.", hint=f"send X-SLURM-USER-NAME: {user.name}")
        return user

    @property
    def _slurm_tokens(self) -> SlurmTokens:
        return SlurmTokens(self.ring, self.issuer, self.audience)

    def node(self, request: Request) -> ElasticNode:
        """The node that signed a request. Raises NotAllowed."""
        with self._for(request) as work:
            name = self.verifier.node(request, lambda name: _secret(work, name), work.nonces, self.now())
            return work.fleet.get(name)

    def job(self, authorization: str | None) -> JobGrant:
        """What the credential of a running job allows, once its node has not yet reported the job's end.

        Raises NotAllowed.
        """
        with self.reads() as work:
            return self.credentials.verify(
                bearer_of(authorization),
                self.now(),
                lambda grant: work.jobs.reported(grant.job, grant.attempt, grant.node),
            )

    def _for(self, request: Request) -> AbstractContextManager[Work]:
        # Only a request that changes something uses up its nonce.
        return self.works() if request.method in MUTATING else self.reads()

    def add_user(self, name: str, role: Role, password: str, credits_ucr: int = 0) -> bool:
        """Add a user with an account of the same name; False when the name is known already."""
        digest = hash_password(password)
        with self.works() as work:
            try:
                work.users.get(name)
            except NotFound:
                work.ledger.open_account(name, AccountKind.USER)
                work.users.add(User(name, role, account=name), digest, self.now())
                if credits_ucr:
                    work.ledger.deposit(name, credits_ucr, "opening credit", self.now())
                return True
        return False


def _secret(work: Work, name: str) -> tuple[int, str | None]:
    try:
        node = work.fleet.get(name)
    except NotFound:
        return 0, None
    return node.generation, node.secret
