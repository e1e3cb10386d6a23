"""UserService: what administrators do with users: look, change roles, shut out, let in again, reset.

Invariant: each of it is told to the audit log, with the signed request, in the transaction that does it; somebody is
always an administrator.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import wire
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.factors import confirmed
from gateway.identity.users import Role, User
from gateway.service.factors import forget_factors
from gateway.service.people import PeopleService
from gateway.service.registration import RegistrationService
from gateway.work import Work


@dataclass(frozen=True)
class UserService:
    """Users, as administrators see them."""

    people: PeopleService
    registration: RegistrationService

    def all(self, caller: Caller) -> list[wire.UserView]:
        """Every user, by name. Raises Refused."""
        demand(authorise(caller, Action.SEE_USERS))
        with self.people.reads() as work:
            return [_view(work, user) for user in work.users.all()]

    def set_role(self, caller: Caller, name: str, request: wire.RoleRequest) -> wire.UserView:
        """Change what a user is. Raises Refused, NotFound; Conflict: the last administrator, a program, a visitor."""
        demand(authorise(caller, Action.CHANGE_USERS))
        with self.people.works() as work:
            work.users.get(name).check_person()
            work.users.set_role(name, Role(request.role))
            self._tell(work, caller, "set role", name, f"{name} is {request.role} now")
            return _view(work, work.users.get(name))

    def disable(self, caller: Caller, name: str) -> wire.UserView:
        """Shut a user out and end their logins; their jobs go on. Raises Refused, NotFound, Conflict."""
        demand(authorise(caller, Action.CHANGE_USERS))
        with self.people.works() as work:
            work.users.disable(name, self.people.now())
            ended = self._end_logins(work, name)
            self._tell(work, caller, "disable user", name, f"{ended} logins ended")
            return _view(work, work.users.get(name))

    def enable(self, caller: Caller, name: str) -> wire.UserView:
        """Let a user in again. Raises Refused, NotFound."""
        demand(authorise(caller, Action.CHANGE_USERS))
        with self.people.works() as work:
            work.users.enable(name)
            self._tell(work, caller, "enable user", name, f"{name} may log in again")
            return _view(work, work.users.get(name))

    def reset(self, caller: Caller, name: str, request: wire.ResetRequest) -> wire.ResetView:
        """Remove a user's second factor and remembered devices and end their logins, for one who has lost them.

        With ``request.password`` also a one-time code with which they choose a new password. Raises Refused, NotFound;
        Conflict when who it is has no password here.
        """
        demand(authorise(caller, Action.CHANGE_USERS))
        with self.people.works() as work:
            user = work.users.get(name)
            if request.password:
                user.check_person()
            forget_factors(work, name, self.people)
            ended = self._end_logins(work, name)
            text = f"second factor removed, {ended} logins ended" + (", new password" if request.password else "")
            self._tell(work, caller, "reset user", name, text)
            if not request.password:
                return wire.ResetView(user=name)
            return self.registration.new_password(work, caller, name, request.hours)

    def _end_logins(self, work: Work, name: str) -> int:
        now = self.people.now()
        return work.sessions.revoke_all(name, now) + work.browsers.end_all(name, now)

    def _tell(self, work: Work, caller: Caller, action: str, name: str, text: str) -> None:
        work.evidence.keep(caller.evidence)
        proof = caller.evidence.digest
        act = Act(caller.user.name, action, f"user:{name}", text, authorisation=proof)
        work.audit.tell(act, self.people.now())


def _view(work: Work, user: User) -> wire.UserView:
    return wire.UserView(
        user=user.name,
        role=user.role,
        account=user.account,
        disabled=user.disabled,
        totp=confirmed(work.factors, user.name) is not None,
        devices=len(work.device_keys.of_user(user.name)),
        groups=tuple(each.group for each in user.groups),
    )
