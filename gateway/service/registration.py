"""RegistrationService: how people become users, by an administrator's invitation or, if the site says so, freely.

Invariant: a code is used in the transaction of what it gives; who has no good code learns nothing about who is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.identity import invitations
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.groups import GroupRole
from gateway.identity.invitations import Invitation, InvitationKind
from gateway.identity.passwords import MIN_LENGTH, hash_password, make_password
from gateway.identity.throttle import REGISTRATIONS_OF_ADDRESS
from gateway.identity.users import Role, User
from gateway.service.people import PeopleService
from gateway.work import Work

RESERVED: Final = frozenset({"gateway", "system", "root"})
"""Names that the audit log or a cluster has for others."""


@dataclass(frozen=True)
class RegistrationService:
    """Invitations and registrations; ``open``: nobody needs an invitation."""

    people: PeopleService
    open: bool

    def invite(self, caller: Caller, request: wire.InvitationRequest) -> wire.InvitationView:
        """A one-time code for somebody who is not there yet. Raises Refused, Conflict, NotFound for the group."""
        demand(authorise(caller, Action.CHANGE_USERS))
        kind = InvitationKind.PASSWORD if request.add else InvitationKind.USER
        code, invitation = self._invitation(caller, kind, request.user, request.hours, request)
        nobodys = hash_password(make_password()) if request.add else ""
        with self.people.works() as work:
            _is_free(work, request.user)
            if request.group is not None:
                work.groups.get(request.group)
            work.evidence.keep(caller.evidence)
            work.invitations.put(invitation)
            verb = "added" if request.add else "invited"
            text = f"{verb} {request.user}, role {request.role}, group {request.group or 'none'}"
            proof, amount = caller.evidence.digest, request.credits_ucr or None
            subject = f"user:{request.user}"
            act = Act(caller.user.name, "invite user", subject, text, authorisation=proof, amount_ucr=amount)
            work.audit.tell(act, invitation.made_at)
            if request.add:
                self._make(work, invitation, nobodys)
        return wire.InvitationView(user=request.user, code=code, expires_at=invitation.expires_at)

    def new_password(self, work: Work, caller: Caller, user: str, hours: int) -> wire.ResetView:
        """A one-time code with which a user who is there chooses a password, in the transaction of what it is for."""
        code, invitation = self._invitation(caller, InvitationKind.PASSWORD, user, hours)
        work.invitations.put(invitation)
        return wire.ResetView(user=user, code=code, expires_at=invitation.expires_at)

    def register(self, request: wire.RegisterRequest, address: str) -> wire.Registered:
        """Become a user, or choose a new password. Raises NotAllowed for a code that is not good, TooManyTries.

        Raises Conflict only where everybody may choose a name: there one must be told that it is taken.
        """
        self.people.throttle.count(REGISTRATIONS_OF_ADDRESS, address)
        if len(request.password) < MIN_LENGTH:
            raise InvalidRequest(
                "The password is too short.", hint=f"use {MIN_LENGTH} characters or more", field="password"
            )
        if request.invitation is not None:
            return self._by_invitation(request, invitations.code_hash(request.invitation), address)
        if not self.open:
            raise invitations.refused()
        return self._freely(request, address)

    def _by_invitation(self, request: wire.RegisterRequest, code_hash: str, address: str) -> wire.Registered:
        now = self.people.now()
        with self.people.reads() as work:
            invitations.good(work.invitations.find(code_hash), request.user, now)
        digest = hash_password(request.password)  # a fifth of a second, after a stranger was sent away
        with self.people.works() as work:
            invitation = invitations.good(work.invitations.find(code_hash), request.user, now)
            if not work.invitations.use(code_hash, now):
                raise invitations.refused()
            user = self._take_up(work, invitation, digest)
            text = f"by an invitation of {invitation.invited_by}"
            action = "register" if invitation.kind is InvitationKind.USER else "choose password"
            act = Act(user.name, action, f"user:{user.name}", text, address=address)
            work.audit.tell(act, now)
        return wire.Registered(user=user.name, account=user.account)

    def _take_up(self, work: Work, invitation: Invitation, digest: str) -> User:
        if invitation.kind is InvitationKind.USER:
            return self._make(work, invitation, digest)
        now = self.people.now()
        user = work.users.get(invitation.user)
        work.users.set_password(user.name, digest)
        work.sessions.revoke_all(user.name, now)
        work.browsers.end_all(user.name, now)
        return user

    def _make(self, work: Work, invitation: Invitation, digest: str) -> User:
        """The invited user, with what the invitation gives."""
        now, name = self.people.now(), invitation.user
        user = _add(work, User(name, invitation.role, account=name), digest, now)
        if invitation.group is not None:
            work.groups.put(invitation.group, name, GroupRole.MEMBER, now)
        if invitation.credits_ucr:
            memo = f"invited by {invitation.invited_by}"
            work.ledger.deposit(name, invitation.credits_ucr, memo, now, invitation.authorisation)
        return user

    def _freely(self, request: wire.RegisterRequest, address: str) -> wire.Registered:
        digest, now = hash_password(request.password), self.people.now()
        with self.people.works() as work:
            _is_free(work, request.user)
            user = _add(work, User(request.user, Role.USER, account=request.user), digest, now)
            work.audit.tell(Act(user.name, "register", f"user:{user.name}", "freely", address=address), now)
        return wire.Registered(user=user.name, account=user.account)

    def _invitation(
        self,
        caller: Caller,
        kind: InvitationKind,
        user: str,
        hours: int,
        gives: wire.InvitationRequest | None = None,
    ) -> tuple[str, Invitation]:
        code, now = invitations.make_code(), self.people.now()
        return code, Invitation(
            code_hash=invitations.code_hash(code),
            kind=kind,
            user=user,
            role=Role(gives.role) if gives else Role.USER,
            group=gives.group if gives else None,
            credits_ucr=gives.credits_ucr if gives else 0,
            invited_by=caller.user.name,
            authorisation=caller.evidence.digest,
            made_at=now,
            expires_at=now + timedelta(hours=hours),
        )


def _is_free(work: Work, name: str) -> None:
    """Raise Conflict unless the name is nobody's, neither a user's nor an account's."""
    try:
        work.users.get(name)
    except NotFound:
        try:
            work.ledger.balance(name)
        except NotFound:
            if name not in RESERVED:
                return
    raise Conflict(f"The name {name} is taken.", hint="choose another one", field="user")


def _add(work: Work, user: User, digest: str, now: datetime) -> User:
    """Keep a user with an account of the same name."""
    work.ledger.open_account(user.account, AccountKind.USER)
    work.users.add(user, digest, now)
    return user
