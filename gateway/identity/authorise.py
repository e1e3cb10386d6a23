"""Who may do what: one table of actions, answered ``Allowed`` or ``Refused`` with the reason.

Invariant: what the table does not allow is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway import errors
from gateway.identity.users import Role, User


class Action(StrEnum):
    """What a user may want to do; the words complete "may not …"."""

    SUBMIT = "submit jobs"
    SPEND = "spend from this account"
    SEE_JOB = "see this job"
    CANCEL_JOB = "cancel this job"
    FETCH_OUTPUTS = "fetch the outputs of this job"
    SEE_ACCOUNT = "see this account"
    SET_BUDGET = "set the budget of this account"
    PUBLISH = "publish this job"
    SHARE = "share this publication"
    GIVE_CREDIT = "give credit"
    SEE_NODES = "see the nodes"
    SEE_OFFERS = "see the offers"


class Rule(StrEnum):
    """Who may."""

    ANYONE = "anyone who has logged in"
    OWNER = "its owner or an administrator"
    PAYER = "the users of the account or an administrator"
    ADMIN = "an administrator"


POLICY: Mapping[Action, Rule] = {
    Action.SUBMIT: Rule.ANYONE,
    Action.SEE_NODES: Rule.ANYONE,
    Action.SEE_OFFERS: Rule.ANYONE,
    Action.SEE_JOB: Rule.OWNER,
    Action.CANCEL_JOB: Rule.OWNER,
    Action.FETCH_OUTPUTS: Rule.OWNER,
    Action.SPEND: Rule.PAYER,
    Action.SEE_ACCOUNT: Rule.PAYER,
    Action.SET_BUDGET: Rule.PAYER,
    Action.PUBLISH: Rule.OWNER,
    Action.SHARE: Rule.OWNER,
    Action.GIVE_CREDIT: Rule.ADMIN,
}


@dataclass(frozen=True)
class Allowed:
    """Go ahead."""


@dataclass(frozen=True)
class Refused:
    """Not allowed, and why."""

    reason: str
    hint: str


def authorise(user: User, action: Action, *, owner: str | None = None, account: str | None = None) -> Allowed | Refused:
    """Whether ``user`` may; ``owner`` is the user whose thing it is, ``account`` the account that it touches."""
    rule = POLICY.get(action, Rule.ADMIN)
    may = (
        user.role is Role.ADMIN
        or rule is Rule.ANYONE
        or (rule is Rule.OWNER and owner == user.name)
        or (rule is Rule.PAYER and account == user.account)
    )
    if may:
        return Allowed()
    return Refused(f"{user.name} may not {action.value}.", f"only {rule.value} may")


def demand(verdict: Allowed | Refused) -> None:
    """Raise ``errors.Refused`` unless allowed."""
    if isinstance(verdict, Refused):
        raise errors.Refused(verdict.reason, hint=verdict.hint)
