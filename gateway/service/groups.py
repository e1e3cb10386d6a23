"""GroupService: groups and projects, made by administrators and led by their leaders.

Invariant: who is not in a group is not told that it is there; who leaves it has lost at once what it gave, because
membership is read with each request.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.errors import Conflict, NotFound
from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Allowed, authorise, demand, within
from gateway.identity.groups import Group, GroupRole
from gateway.service.people import PeopleService
from gateway.work import Work


@dataclass(frozen=True)
class GroupService:
    """Groups, as their members see them."""

    people: PeopleService

    def all(self, caller: Caller) -> list[wire.GroupView]:
        """The groups that who asks may see, by name: their own, an administrator all."""
        demand(authorise(caller, Action.SEE_GROUPS))
        with self.people.reads() as work:
            return [_view(work, group) for group in work.groups.all() if _sees(caller, group.name)]

    def get(self, caller: Caller, name: str) -> wire.GroupView:
        """One group. Raises NotFound, also for one that who asks is not in."""
        demand(authorise(caller, Action.SEE_GROUPS))
        with self.people.reads() as work:
            return _view(work, _seen(work, caller, name))

    def create(self, caller: Caller, request: wire.GroupRequest) -> wire.GroupView:
        """A new group with its leader, as a project with an account. Raises Refused, Conflict, NotFound."""
        demand(authorise(caller, Action.CREATE_GROUP))
        name, leader, now = request.group, request.leader or caller.user.name, self.people.now()
        group = Group(name, request.title or name, name if request.project else None)
        with self.people.works() as work:
            work.users.get(leader).check_resident()
            if group.account is not None:
                _open_project(work, group.account)
            work.groups.add(group, now)
            work.groups.put(name, leader, GroupRole.LEADER, now)
            kind = "project" if request.project else "group"
            self._tell(work, caller, "create group", name, f"{kind} led by {leader}")
            return _view(work, group)

    def put_member(self, caller: Caller, name: str, request: wire.MemberRequest) -> wire.GroupView:
        """Let a user in, or change what they are to it. Raises NotFound, Refused; Conflict: last leader, visitors."""
        demand(within(caller, Action.LEAD_GROUP))
        with self.people.works() as work:
            group = _seen(work, caller, name)
            demand(authorise(caller, Action.LEAD_GROUP, group=name))
            work.users.get(request.user).check_resident()
            work.groups.put(name, request.user, GroupRole(request.role), self.people.now())
            self._tell(work, caller, "add to group", name, f"{request.user} is {request.role} now")
            return _view(work, group)

    def remove_member(self, caller: Caller, name: str, user: str) -> None:
        """End a user's place in it; one's own everybody may. Raises NotFound, Refused, Conflict for the last leader."""
        demand(within(caller, Action.LEAVE_GROUP))
        with self.people.works() as work:
            _seen(work, caller, name)
            action = Action.LEAVE_GROUP if user == caller.user.name else Action.LEAD_GROUP
            demand(authorise(caller, action, group=name))
            work.groups.remove(name, user)
            self._tell(work, caller, "remove from group", name, f"{user} is in it no more")

    def _tell(self, work: Work, caller: Caller, action: str, group: str, text: str) -> None:
        work.evidence.keep(caller.evidence)
        proof = caller.evidence.digest
        act = Act(caller.user.name, action, f"group:{group}", text, authorisation=proof)
        work.audit.tell(act, self.people.now())


def _seen(work: Work, caller: Caller, name: str) -> Group:
    if not _sees(caller, name):
        raise NotFound(f"There is no group {name}.", hint="burst groups lists yours")
    return work.groups.get(name)


def _sees(caller: Caller, name: str) -> bool:
    verdict = authorise(caller, Action.SEE_GROUP, group=name)
    return isinstance(verdict, Allowed) or verdict.told  # a login that may change a group may lack the scope to list it


def _open_project(work: Work, account: str) -> None:
    """An account of its own. Raises Conflict for a name that an account has."""
    try:
        work.ledger.balance(account)
    except NotFound:
        work.ledger.open_account(account, AccountKind.PROJECT)
        return
    raise Conflict(f"There is an account {account} already.", hint="choose another name for the project")


def _view(work: Work, group: Group) -> wire.GroupView:
    members = tuple(wire.MemberView(user=each.user, role=each.role) for each in work.groups.members(group.name))
    return wire.GroupView(group=group.name, title=group.title, account=group.account, members=members)
