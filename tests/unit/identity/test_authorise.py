"""Who may do what."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.identity.authorise import POLICY, Action, Allowed, Refused, authorise, demand
from gateway.identity.users import Role, User

ADA = User("ada", Role.USER, "ada")
ROOT = User("root", Role.ADMIN, "root")


@pytest.mark.parametrize("action", list(Action))
def test_an_administrator_may_do_everything(action):
    """Whosever it is."""
    assert authorise(ROOT, action, owner="ada", account="ada") == Allowed()


@pytest.mark.parametrize("action", [Action.SEE_JOB, Action.CANCEL_JOB, Action.FETCH_OUTPUTS])
def test_a_job_is_its_owners(action):
    """Ada may with hers, not with eve's, and not where nobody is named."""
    assert authorise(ADA, action, owner="ada") == Allowed()
    assert authorise(ADA, action, owner="eve") == Refused(
        f"ada may not {action}.", "only its owner or an administrator may"
    )
    assert isinstance(authorise(ADA, action), Refused)


@pytest.mark.parametrize("action", [Action.SPEND, Action.SEE_ACCOUNT])
def test_an_account_is_for_its_users(action):
    """Ada may spend from her own account only."""
    assert authorise(ADA, action, account="ada") == Allowed()
    assert isinstance(authorise(ADA, action, account="lab"), Refused)


@pytest.mark.parametrize("action", [Action.GIVE_CREDIT])
def test_credit_is_given_by_administrators(action):
    """Not by its receiver."""
    assert isinstance(authorise(ADA, action, owner="ada", account="ada"), Refused)


@pytest.mark.parametrize("action", [Action.SUBMIT, Action.SEE_NODES, Action.SEE_OFFERS])
def test_everybody_who_logged_in_may_submit_and_look(action):
    """As on any cluster."""
    assert authorise(ADA, action) == Allowed()


def test_every_action_has_a_rule():
    """What is not in the table would be refused; nothing is forgotten in it."""
    assert set(POLICY) == set(Action)


def test_a_refusal_can_be_raised():
    """With its reason and what would help."""
    with pytest.raises(errors.Refused, match="ada may not give credit") as refused:
        demand(authorise(ADA, Action.GIVE_CREDIT))
    assert refused.value.hint == "only an administrator may"
    demand(Allowed())
