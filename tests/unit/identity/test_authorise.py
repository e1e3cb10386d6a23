"""Who may do what."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.identity.access import DENIED, Rights
from gateway.identity.authenticate import Reader, Vouched
from gateway.identity.authorise import POLICY, Action, Allowed, Refused, authorise, demand, whose
from gateway.identity.groups import GroupRole, Membership
from gateway.identity.scopes import Scope
from gateway.identity.users import Role, User

ADA = Vouched(User("ada", Role.USER, "ada"))
ROOT = Vouched(User("root", Role.ADMIN, "root"))


@pytest.mark.parametrize("action", list(Action))
def test_an_administrator_may_do_everything(action):
    """Whosever it is."""
    assert authorise(ROOT, action, owner="ada", account="ada") == Allowed()


@pytest.mark.parametrize("action", [Action.SEE_JOB, Action.CANCEL_JOB, Action.FETCH_OUTPUTS])
def test_a_job_is_its_owners(action):
    """Ada may with hers, not with eve's, and not where nobody is named."""
    assert authorise(ADA, action, owner="ada") == Allowed()
    assert authorise(ADA, action, owner="eve") == Refused(f"ada may not {action}.", f"only {POLICY[action].who} may")
    assert isinstance(authorise(ADA, action), Refused)


@pytest.mark.parametrize(("action", "right"), [(Action.FETCH_OUTPUTS, "readable"), (Action.SHARE_OUTPUTS, "owner")])
def test_the_access_rules_of_outputs_decide(action, right):
    """Also about who submitted the job; each action by its own right, and an administrator without any."""
    others = [name for name in ("owner", "readable", "writeable", "executable") if name != right]
    assert authorise(ADA, action, owner="eve", rights=Rights(**{right: True})) == Allowed()
    assert isinstance(authorise(ADA, action, owner="ada", rights=Rights(**dict.fromkeys(others, True))), Refused)
    assert authorise(ROOT, action, owner="ada", rights=DENIED) == Allowed()


def test_a_list_shows_what_the_policy_allows():
    """One's own things, or everybody's to an administrator."""
    assert (whose(ADA.user), whose(ROOT.user)) == ("ada", None)
    for name in ("ada", "eve"):
        allowed = authorise(ADA, Action.SEE_JOB, owner=name) == Allowed()
        assert allowed is (whose(ADA.user) in {name, None})


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


@pytest.mark.parametrize(("role", "sets"), [(GroupRole.MEMBER, False), (GroupRole.LEADER, True)])
def test_a_project_is_spent_by_its_members_and_limited_by_its_leaders(role, sets):
    """A group without an account gives nothing to spend."""
    groups = (Membership("lab", "ada", role, "lab"), Membership("friends", "ada", role, None))
    ada = Vouched(User("ada", Role.USER, "ada", groups=groups))
    assert authorise(ada, Action.SPEND, account="lab") == Allowed()
    assert isinstance(authorise(ada, Action.SPEND, account="friends"), Refused)
    assert (authorise(ada, Action.SET_BUDGET, account="lab") == Allowed()) is sets


@pytest.mark.parametrize("user", [ADA.user, ROOT.user])
@pytest.mark.parametrize("action", list(Action))
def test_who_only_looks_changes_nothing(user, action):
    """A browser's cookie has the scopes for reading; that it is an administrator's gives it no more."""
    allowed = authorise(Reader(user), action, owner=user.name, account=user.account) == Allowed()
    assert allowed is (POLICY[action].scope.endswith(":read") and isinstance(_told(user, action), Allowed))


def test_a_scope_that_is_missing_is_told():
    """To who may do it otherwise; to others the thing itself is not told."""
    verdict = authorise(Reader(ADA.user), Action.CANCEL_JOB, owner="ada")
    assert isinstance(verdict, Refused)
    assert verdict.told
    assert Scope.JOBS_WRITE in verdict.hint
    assert authorise(Reader(ADA.user), Action.CANCEL_JOB, owner="eve").told is False


def _told(user, action):
    return authorise(Vouched(user), action, owner=user.name, account=user.account)


@pytest.mark.parametrize(("role", "leads"), [(GroupRole.MEMBER, False), (GroupRole.LEADER, True)])
def test_a_group_is_seen_by_its_members_and_changed_by_its_leaders(role, leads):
    """Not by who is in another one."""
    ada = Vouched(User("ada", Role.USER, "ada", groups=(Membership("ice", "ada", role, None),)))
    assert authorise(ada, Action.SEE_GROUP, group="ice") == Allowed()
    assert (authorise(ada, Action.LEAD_GROUP, group="ice") == Allowed()) is leads
    assert isinstance(authorise(ada, Action.SEE_GROUP, group="fire"), Refused)
    assert isinstance(authorise(ada, Action.LEAD_GROUP, group="fire"), Refused)
    assert isinstance(authorise(ada, Action.SEE_GROUP), Refused)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(Action))
def test_who_is_disabled_may_nothing(action, role):
    """Not even what a site's own cluster vouches for."""
    shut = Vouched(User("ada", role, "ada", disabled=True))
    assert isinstance(authorise(shut, action, owner="ada", account="ada"), Refused)
