"""Every invariant I1 to I24 of docs/invariants.md has a test that bears its number, or one that is named here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAMED = re.compile(r"def (test_i(\d\d)_\w+)\(")

ELSEWHERE = {
    8: ("acceptance/test_crash.py", "test_gateway_dies_while_outputs_are_staged_out"),
    9: ("unit/staging/test_manifest.py", "test_reported_twice_it_counts_once"),
    16: ("acceptance/test_at_rest.py", "test_no_secret_is_where_it_does_not_belong"),
    17: ("contract/test_joining.py", "test_a_stolen_token_is_refused"),
}
"""Those that need real daemons, keys or stores, and were there before they had numbers."""


def numbered() -> dict[int, list[str]]:
    """Number → the tests that bear it."""
    found: dict[int, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for name, number in NAMED.findall(path.read_text()):
            found.setdefault(int(number), []).append(name)
    return found


@pytest.mark.parametrize("number", [number for number in range(1, 25) if number not in ELSEWHERE])
def test_an_invariant_has_a_test_of_its_number(number):
    """By the name of the function."""
    assert numbered().get(number), f"no test is called test_i{number:02}_..."


@pytest.mark.parametrize("number", ELSEWHERE)
def test_an_invariant_that_is_tested_under_another_name_still_is(number):
    """The test is where this file says it is."""
    path, name = ELSEWHERE[number]
    assert re.search(rf"^def {name}\(", (TESTS / path).read_text(), re.MULTILINE)
