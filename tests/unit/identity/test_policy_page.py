"""The policy is in one place, and its page says what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from gateway.identity.authorise import POLICY, Action

ROOT = Path(__file__).parents[3]
DECIDES = re.compile(r"Role\.ADMIN|\.role (is|==|!=|in)\b|\bowner ==|user\.name ==|\.user == \w+\.user")
ELSEWHERE = {
    "service/nodes.py": "which outputs a job reads as those that it depends on: no request of anybody's",
    "service/node_logins.py": "as which account on a node somebody logs in who may",
}


def page_module():
    """docs/policy_page.py, which is a script's part."""
    spec = importlib.util.spec_from_file_location("policy_page", ROOT / "docs/policy_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_policy():
    """Stale: run ``make docs``."""
    assert (ROOT / "docs/policy.md").read_text() == page_module().policy()


def test_the_page_finds_who_asks_for_an_action():
    """The endpoints are read from the code; some are known."""
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in page_module().policy().splitlines()}

    assert "`GET /api/v1/jobs/{job}`" in rows[Action.SEE_JOB.value]
    assert "`POST /api/v1/jobs/{job}/shares`" in rows[Action.SHARE_OUTPUTS.value]
    assert "shares" not in rows[Action.FETCH_OUTPUTS.value]
    assert all(POLICY[action].who.value in rows[action.value] for action in Action)


@pytest.mark.parametrize(
    "path",
    [
        path
        for door in ("service", "api", "web", "runner", "functions")
        for path in (ROOT / "gateway" / door).glob("*.py")
    ],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_who_may_is_decided_nowhere_else(path):
    """No door and no service looks at a role or compares an owner by itself."""
    if f"{path.parent.name}/{path.name}" not in ELSEWHERE:
        assert not DECIDES.findall(path.read_text())
