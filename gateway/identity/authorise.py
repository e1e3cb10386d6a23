"""Who may do what: one table of actions, answered ``Allowed`` or ``Refused`` with the reason.

Invariant: what the table does not allow is refused; a login's scopes narrow what its user may do, whoever that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway import errors
from gateway.identity.access import DENIED, OWNER, Rights
from gateway.identity.authenticate import Reader
from gateway.identity.groups import GroupRole
from gateway.identity.scopes import Scope
from gateway.identity.users import Role, User


class Action(StrEnum):
    """What a user may want to do; the words complete "may not …"."""

    SUBMIT = "submit jobs"
    SPEND = "spend from this account"
    LIST_JOBS = "list jobs"
    SEE_JOB = "see this job"
    CANCEL_JOB = "cancel this job"
    REVOKE_CREDENTIAL = "revoke the credential of this job"
    FETCH_OUTPUTS = "fetch the outputs of this job"
    UPLOAD = "upload inputs"
    SEE_ACCOUNT = "see this account"
    SET_BUDGET = "set the budget of this account"
    CHANGE_SET_BUDGET = "change a budget that an administrator set"
    PUBLISH = "publish this job"
    SHARE = "share this publication"
    LIST_SHARES = "list what is shared"
    SHARE_OUTPUTS = "share the outputs of this job"
    REVOKE_LINK = "take back this link"
    GIVE_CREDIT = "give credit"
    LIST_ACCOUNTS = "list accounts, budgets and prices"
    LIST_PUBLICATIONS = "list publications"
    READ_PUBLICATION = "read the files of this publication"
    SHARE_FILES = "learn whether nodes share this machine's files"
    MINT_TOKEN = "have a token for Slurm's REST API"  # noqa: S105 - words
    SEE_SESSIONS = "see these logins"
    END_SESSION = "end this login"
    SEE_PRINCIPALS = "see service principals"
    MANAGE_PRINCIPALS = "manage service principals here"
    SEE_NODES = "see the nodes"
    SEE_OFFERS = "see the offers"
    SEE_PEERS = "see the trusted gateways"
    TRUST_PEERS = "say which gateways are trusted"
    TRAVEL = "go to another gateway"
    LOG_IN_TO_NODE = "log in to this node"
    READ_AUDIT = "read what the audit log says of them"
    READ_WHOLE_AUDIT = "read the whole audit log"
    SEE_FACTORS = "see how they log in"
    SET_FACTORS = "change how they log in"
    SEE_USERS = "see the users"
    CHANGE_USERS = "change users"
    SEE_GROUPS = "see their groups"
    SEE_GROUP = "see this group"
    LEAVE_GROUP = "leave this group"
    LEAD_GROUP = "change who is in this group"
    CREATE_GROUP = "create groups"
    CLAIM_UNIX_USER = "say which user of the site they are"


class Who(StrEnum):
    """Whose right it is; the words complete "only … may"."""

    ANYONE = "anyone who has logged in"
    OWNER = "its owner or an administrator"
    READER = "its owner, whom its access rules let read, or an administrator"
    SHARER = "whom its access rules make an owner, or an administrator"
    PAYER = "the users of the account or an administrator"
    LEADER = "who leads the account's project or an administrator"
    TENANT = "who has a job running there now, or an administrator,"
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
    Action.LIST_JOBS: Rule(Who.ANYONE, Scope.JOBS_READ),
    Action.SEE_JOB: Rule(Who.OWNER, Scope.JOBS_READ),
    Action.CANCEL_JOB: Rule(Who.OWNER, Scope.JOBS_WRITE),
    Action.REVOKE_CREDENTIAL: Rule(Who.OWNER, Scope.JOBS_WRITE),
    Action.FETCH_OUTPUTS: Rule(Who.READER, Scope.STORAGE_READ),
    Action.UPLOAD: Rule(Who.ANYONE, Scope.STORAGE_WRITE),
    Action.SEE_ACCOUNT: Rule(Who.PAYER, Scope.MONEY_READ),
    Action.SET_BUDGET: Rule(Who.LEADER, Scope.MONEY_WRITE),
    Action.CHANGE_SET_BUDGET: Rule(Who.ADMIN, Scope.MONEY_WRITE),
    Action.PUBLISH: Rule(Who.OWNER, Scope.STORAGE_WRITE),
    Action.SHARE: Rule(Who.OWNER, Scope.STORAGE_WRITE),
    Action.LIST_SHARES: Rule(Who.ANYONE, Scope.STORAGE_READ),
    Action.SHARE_OUTPUTS: Rule(Who.SHARER, Scope.STORAGE_WRITE),
    Action.REVOKE_LINK: Rule(Who.OWNER, Scope.STORAGE_WRITE),
    Action.GIVE_CREDIT: Rule(Who.ADMIN, Scope.MONEY_WRITE),
    Action.LIST_ACCOUNTS: Rule(Who.ANYONE, Scope.MONEY_READ),
    Action.LIST_PUBLICATIONS: Rule(Who.ANYONE, Scope.STORAGE_READ),
    Action.READ_PUBLICATION: Rule(Who.OWNER, Scope.STORAGE_READ),
    Action.SHARE_FILES: Rule(Who.ANYONE, Scope.JOBS_WRITE),
    Action.MINT_TOKEN: Rule(Who.ANYONE, Scope.JOBS_READ),
    Action.SEE_SESSIONS: Rule(Who.OWNER, Scope.PEOPLE_READ),
    Action.END_SESSION: Rule(Who.OWNER, Scope.PEOPLE_WRITE),
    Action.SEE_PRINCIPALS: Rule(Who.LEADER, Scope.PEOPLE_READ),
    Action.MANAGE_PRINCIPALS: Rule(Who.LEADER, Scope.PEOPLE_WRITE),
    Action.SEE_NODES: Rule(Who.ANYONE, Scope.NODES_READ),
    Action.SEE_OFFERS: Rule(Who.ANYONE, Scope.NODES_READ),
    Action.SEE_PEERS: Rule(Who.ANYONE, Scope.PEOPLE_READ),
    Action.TRUST_PEERS: Rule(Who.ADMIN, Scope.PEOPLE_WRITE),
    Action.TRAVEL: Rule(Who.ANYONE, Scope.JOBS_WRITE),
    Action.LOG_IN_TO_NODE: Rule(Who.TENANT, Scope.NODES_WRITE),
    Action.READ_AUDIT: Rule(Who.ANYONE, Scope.PEOPLE_READ),
    Action.READ_WHOLE_AUDIT: Rule(Who.ADMIN, Scope.PEOPLE_READ),
    Action.SEE_FACTORS: Rule(Who.ANYONE, Scope.PEOPLE_READ),
    Action.SET_FACTORS: Rule(Who.ANYONE, Scope.PEOPLE_WRITE),
    Action.SEE_USERS: Rule(Who.ADMIN, Scope.PEOPLE_READ),
    Action.CHANGE_USERS: Rule(Who.ADMIN, Scope.PEOPLE_WRITE),
    Action.CLAIM_UNIX_USER: Rule(Who.ANYONE, Scope.PEOPLE_WRITE),
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
    reader: Reader,
    action: Action,
    *,
    owner: str | None = None,
    account: str | None = None,
    group: str | None = None,
    rights: Rights | None = None,
) -> Allowed | Refused:
    """Whether who asks may.

    ``owner`` is the user whose thing it is, ``account`` the account and ``group`` the group that it touches, ``rights``
    what the access rules of the thing give to who asks (``access.rights_of``); None where only its owner has any.
    """
    rule = POLICY[action]
    if reader.user.disabled:
        return Refused(f"{reader.user.name} may not {action.value}.", "ask an administrator: the user is disabled")
    rights = _plain(reader.user, owner) if rights is None else rights
    if not (_may(reader.user, rule.who, owner, account, rights) or _in_group(reader.user, rule.who, group)):
        return Refused(f"{reader.user.name} may not {action.value}.", f"only {rule.who.value} may")
    return within(reader, action)


def within(reader: Reader, action: Action) -> Allowed | Refused:
    """Whether the login's scopes have it, whoever its user is; asked before a thing is looked for, it tells nothing."""
    scope = POLICY[action].scope
    if scope not in reader.scopes:
        reason = f"This login may not {action.value}: it has not the scope {scope.value}."
        return Refused(reason, f"burst login --scope {scope.value} gives one that may", told=True)
    return Allowed()


def demand(verdict: Allowed | Refused) -> None:
    """Raise ``errors.Refused`` unless allowed."""
    if isinstance(verdict, Refused):
        raise errors.Refused(verdict.reason, hint=verdict.hint)


def whose(user: User) -> str | None:
    """Whose things a list shows to ``user``: their own; None, which an administrator gets, is everybody's."""
    return None if user.role is Role.ADMIN else user.name


def _plain(user: User, owner: str | None) -> Rights:
    return OWNER if owner == user.name else DENIED


def _may(user: User, who: Who, owner: str | None, account: str | None, rights: Rights) -> bool:
    held = {
        Who.ANYONE: True,
        Who.OWNER: owner == user.name,
        Who.TENANT: owner == user.name,
        Who.READER: rights.readable is True,
        Who.SHARER: rights.owner is True,
        Who.PAYER: account in user.accounts,
        Who.LEADER: account in user.led_accounts,
    }
    return user.role is Role.ADMIN or held.get(who, False)


def _in_group(user: User, who: Who, group: str | None) -> bool:
    role = next((each.role for each in user.groups if each.group == group), None)
    return (who is Who.MEMBER and role is not None) or (who is Who.GROUP_LEADER and role is GroupRole.LEADER)
