"""PeopleService: who is asking, their sessions, and the first users of a new gateway.

Invariant: a request is believed only after its signature, its session and, if it changes anything, its nonce held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import BadSignature, CodeNeeded, NotAllowed, NotFound
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Caller, Looker, Request, Verifier, bearer_of
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.credentials import Credentials, JobGrant
from gateway.identity.device_keys import DeviceKey
from gateway.identity.factors import Judge, Proof, confirmed
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import public_jwk, read_public, thumbprint
from gateway.identity.passwords import hash_password
from gateway.identity.scopes import read_scopes
from gateway.identity.sealing import Sealer
from gateway.identity.sessions import USE_NOTED, LoginBy, Origin, Session, certificate, check_password, new_session
from gateway.identity.signature import MUTATING
from gateway.identity.slurm_token import SlurmTokens
from gateway.identity.throttle import PASSWORDS, PASSWORDS_OF_ADDRESS, SECOND_FACTORS, Throttle
from gateway.identity.users import Role, User
from gateway.provisioning.fleet import ElasticNode
from gateway.service import logins
from gateway.service.job_life import alive
from gateway.work import Work, Works


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
    sealer: Sealer
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
        scopes = read_scopes(request.scopes)
        proof = Proof(request.code, request.device, request.public_key)
        user = self.check_password(request.user, request.password, address, proof)
        origin = Origin(LoginBy.PASSWORD, address, request.host)
        session = new_session(user, request.public_key, self.now(), self.session_lifetime, scopes, origin)
        with self.works() as work:
            logins.begin(work, session)
            device = self._remember(work, user, request, address)
        return self.certified(session, user).model_copy(update={"device": device})

    def check_password(self, name: str, password: str, address: str, proof: Proof = Proof()) -> User:  # noqa: B008 - frozen
        """The user of that password and, if they have one, second factor: every way to log in goes through here.

        Raises NotAllowed in the same words for whatever is wrong, CodeNeeded once the password was right, Refused for
        a user who is disabled, TooManyTries after five wrong ones from this address.
        """
        self.throttle.check(PASSWORDS_OF_ADDRESS, address)
        self.throttle.count(PASSWORDS, name, address)
        try:
            with self.reads() as work:
                # Argon2 takes a fifth of a second on purpose: nobody else is to wait for that.
                user = check_password(work.users, name, password)
            self._check_factors(user, proof, address)
            user.check()
        except CodeNeeded:
            self.throttle.forgive(PASSWORDS, name, address)  # it was right; codes are counted apart
            raise
        except NotAllowed:
            self.throttle.count(PASSWORDS_OF_ADDRESS, address)
            raise
        self.throttle.forgive(PASSWORDS, name, address)
        return user

    def _check_factors(self, user: User, proof: Proof, address: str) -> None:
        """The second half of ``check_password``; what is wrong after a right password is an alarm."""
        if proof.given:
            self.throttle.count(SECOND_FACTORS, user.name)
        try:
            with self.works() as work:
                self.judge.check(work.factors, work.device_keys, user.name, proof, self.now())
        except NotAllowed as error:
            if proof.given:
                what = "device is not remembered" if isinstance(error, CodeNeeded) else "code was wrong or used before"
                self._alarm(user, f"the password was right, the {what}", address)
            raise
        self.throttle.forgive(SECOND_FACTORS, user.name)

    def _alarm(self, user: User, text: str, address: str) -> None:
        act = Act(user.name, "log in", f"user:{user.name}", text, Outcome.ALARM, address=address)
        with self.works() as work:
            work.audit.tell(act, self.now())

    def _remember(self, work: Work, user: User, request: wire.LoginRequest, address: str) -> str | None:
        """Keep the client's device key, if its login was by a code: by a password alone anybody could."""
        if request.remember is None or not request.code or confirmed(work.factors, user.name) is None:
            return None
        key, now = read_public(request.remember.public_key), self.now()
        device = DeviceKey(thumbprint(key), user.name, public_jwk(key), request.remember.name, now)
        work.device_keys.add(device)
        text = f"{device.name} needs no code from now on"
        work.audit.tell(Act(user.name, "remember device", f"device:{device.id}", text, address=address), now)
        return device.id

    @property
    def judge(self) -> Judge:
        """What decides about second factors."""
        return Judge(self.sealer, self.audience)

    def certified(self, session: Session, user: User) -> wire.Session:
        """A session with its certificate, for the client that has the key; it is kept for who verifies years later."""
        token = certificate(session, user, self.ring, self.issuer, self.audience)
        with self.works() as work:
            work.certificates.keep(session.id, token)
        return wire.Session(
            id=session.id,
            user=user.name,
            audience=self.audience,
            expires_at=session.expires_at,
            certificate=token,
            scopes=tuple(sorted(session.scopes)),
        )

    def log_out(self, caller: Caller) -> None:
        """End the session that signed."""
        with self.works() as work:
            work.evidence.keep(caller.evidence)
            logins.end(work, caller.session, caller.user.name, self.now(), caller.evidence.digest)

    def user(self, request: Request) -> Caller:
        """The user who signed a request. Raises NotAllowed."""
        with self._for(request) as work:
            caller = self.verifier.user(request, work.sessions, work.users, work.nonces, self.now())
        self._note_use(caller.session)
        return caller

    def slurm_token(self, caller: Caller, lifespan_s: int | None) -> wire.SlurmToken:
        """A token for clients of Slurm's REST API that sign nothing: for looking only, no longer than the session."""
        demand(authorise(caller, Action.MINT_TOKEN))
        expires = caller.session.expires_at
        if lifespan_s is not None:
            expires = min(expires, self.now() + timedelta(seconds=lifespan_s))
        token = self._slurm_tokens.mint(caller.user.name, caller.session.id, self.now(), expires)
        return wire.SlurmToken(user=caller.user.name, token=token, expires_at=expires)

    def reader(self, token: str, name: str | None) -> Looker:
        """Whose token this is; ``name`` is the user that the request claims to be of. Raises NotAllowed."""
        session_id = self._slurm_tokens.session_of(token, self.now())
        with self.reads() as work:
            session = work.sessions.get(session_id)
            session.check(self.now())
            user = work.users.get(session.user)
        if name not in {None, user.name}:
            raise BadSignature(f"The token is not {name}'s.", hint=f"send X-SLURM-USER-NAME: {user.name}")
        return Looker(user, session.scopes)

    @property
    def _slurm_tokens(self) -> SlurmTokens:
        return SlurmTokens(self.ring, self.issuer, self.audience)

    def node(self, request: Request) -> ElasticNode:
        """The node that signed a request. Raises NotAllowed."""
        with self._for(request) as work:
            name = self.verifier.node(request, lambda name: _node_key(work, name), work.nonces, self.now())
            return work.fleet.get(name)

    def job(self, authorization: str | None) -> JobGrant:
        """What the credential of a running job allows, while it lives. Raises NotAllowed."""
        with self.reads() as work:
            return self.credentials.verify(bearer_of(authorization), self.now(), lambda grant: not alive(work, grant))

    def _note_use(self, session: Session) -> None:
        now = self.now()
        if now - (session.used_at or session.created_at - USE_NOTED) < USE_NOTED:
            return
        with self.works() as work:
            work.sessions.note_use(session.id, now)

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
                act = Act("gateway", "add-user", f"user:{name}", f"{role}, with an account", amount_ucr=credits_ucr)
                work.audit.tell(act, self.now())
                return True
        return False


def _node_key(work: Work, name: str) -> tuple[int, Mapping[str, str] | None]:
    try:
        node = work.fleet.get(name)
    except NotFound:
        return 0, None
    return node.generation, node.public_key
