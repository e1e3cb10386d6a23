"""Who may do what: one table of actions, answered ``Allowed`` or ``Refused`` with the reason.

Invariant: what the table does not allow is refused; a login's scopes narrow what its user may do, whoever that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway import errors
from gateway.identity.authenticate import Reader
from gateway.identity.groups import GroupRole
from gateway.identity.scopes import Scope
from gateway.identity.users import Role


class Action(StrEnum):
    """What a user may want to do; the words complete "may not …"."""

    SUBMIT = "submit jobs"
    SPEND = "spend from this account"
    SEE_JOB = "see this job"
    CANCEL_JOB = "cancel this job"
    FETCH_OUTPUTS = "fetch the outputs of this job"
    UPLOAD = "upload inputs"
    SEE_ACCOUNT = "see this account"
    SET_BUDGET = "set the budget of this account"
    PUBLISH = "publish this job"
    SHARE = "share this publication"
    GIVE_CREDIT = "give credit"
    SEE_NODES = "see the nodes"
    SEE_OFFERS = "see the offers"
    SEE_FACTORS = "see how they log in"
    SET_FACTORS = "change how they log in"
    SEE_USERS = "see the users"
    CHANGE_USERS = "change users"
    SEE_GROUPS = "see their groups"
    SEE_GROUP = "see this group"
    LEAVE_GROUP = "leave this group"
    LEAD_GROUP = "change who is in this group"
    CREATE_GROUP = "create groups"


class Who(StrEnum):
    """Whose right it is; the words complete "only … may"."""

    ANYONE = "anyone who has logged in"
    OWNER = "its owner or an administrator"
    PAYER = "the users of the account or an administrator"
    LEADER = "who leads the account's project or an administrator"
    MEMBER = "the members of the group or an administrator"
    GROUP_LEADER = "who leads the group or an administrator"
    ADMIN = "an administrator"


@dataclass(frozen=True)
class Rule:
    """Who may, with a login of which scope."""

    who: Who
    scope: Scope


POLICY: Mapping[Action, Rule] = {
    Action.SUBMIT: Rule(Who.ANYONE, Scope.JOBS_WRITE),
    Action.SPEND: Rule(Who.PAYER, Scope.JOBS_WRITE),
    Action.SEE_JOB: Rule(Who.OWNER, Scope.JOBS_READ),
    Action.CANCEL_JOB: Rule(Who.OWNER, Scope.JOBS_WRITE),
    Action.FETCH_OUTPUTS: Rule(Who.OWNER, Scope.STORAGE_READ),
    Action.UPLOAD: Rule(Who.ANYONE, Scope.STORAGE_WRITE),
    Action.SEE_ACCOUNT: Rule(Who.PAYER, Scope.MONEY_READ),
    Action.SET_BUDGET: Rule(Who.LEADER, Scope.MONEY_WRITE),
    Action.PUBLISH: Rule(Who.OWNER, Scope.STORAGE_WRITE),
    Action.SHARE: Rule(Who.OWNER, Scope.STORAGE_WRITE),
    Action.GIVE_CREDIT: Rule(Who.ADMIN, Scope.MONEY_WRITE),
    Action.SEE_NODES: Rule(Who.ANYONE, Scope.NODES_READ),
    Action.SEE_OFFERS: Rule(Who.ANYONE, Scope.NODES_READ),
    Action.SEE_FACTORS: Rule(Who.ANYONE, Scope.PEOPLE_READ),
    Action.SET_FACTORS: Rule(Who.ANYONE, Scope.PEOPLE_WRITE),
    Action.SEE_USERS: Rule(Who.ADMIN, Scope.PEOPLE_READ),
    Action.CHANGE_USERS: Rule(Who.ADMIN, Scope.PEOPLE_WRITE),
    Action.SEE_GROUPS: Rule(Who.ANYONE, Scope.PEOPLE_READ),
    Action.SEE_GROUP: Rule(Who.MEMBER, Scope.PEOPLE_READ),
    Action.LEAVE_GROUP: Rule(Who.MEMBER, Scope.PEOPLE_WRITE),
    Action.LEAD_GROUP: Rule(Who.GROUP_LEADER, Scope.PEOPLE_WRITE),
    Action.CREATE_GROUP: Rule(Who.ADMIN, Scope.PEOPLE_WRITE),
}


@dataclass(frozen=True)
class Allowed:
    """Go ahead."""


@dataclass(frozen=True)
class Refused:
    """Not allowed, and why; ``told`` when who asked may know that the thing is there."""

    reason: str
    hint: str
    told: bool = False


def authorise(
    reader: Reader, action: Action, *, owner: str | None = None, account: str | None = None, group: str | None = None
) -> Allowed | Refused:
    """Whether who asks may; ``owner`` is the user whose thing it is, ``account`` or ``group`` what it touches."""
    rule = POLICY[action]
    if reader.user.disabled:
        return Refused(f"{reader.user.name} may not {action.value}.", "ask an administrator: the user is disabled")
    if not (_may(reader, rule.who, owner, account) or _in_group(reader, rule.who, group)):
        return Refused(f"{reader.user.name} may not {action.value}.", f"only {rule.who.value} may")
    if rule.scope not in reader.scopes:
        reason = f"This login may not {action.value}: it has not the scope {rule.scope.value}."
        return Refused(reason, f"burst login --scope {rule.scope.value} gives one that may", told=True)
    return Allowed()


def demand(verdict: Allowed | Refused) -> None:
    """Raise ``errors.Refused`` unless allowed."""
    if isinstance(verdict, Refused):
        raise errors.Refused(verdict.reason, hint=verdict.hint)


def _may(reader: Reader, who: Who, owner: str | None, account: str | None) -> bool:
    user = reader.user
    match who:
        case Who.ANYONE:
            return True
        case _ if user.role is Role.ADMIN:
            return True
        case Who.OWNER:
            return owner == user.name
        case Who.PAYER:
            return account in user.accounts
        case Who.LEADER:
            return account in user.led_accounts
    return False


def _in_group(reader: Reader, who: Who, group: str | None) -> bool:
    role = next((each.role for each in reader.user.groups if each.group == group), None)
    return (who is Who.MEMBER and role is not None) or (who is Who.GROUP_LEADER and role is GroupRole.LEADER)
