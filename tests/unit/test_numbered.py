"""The numbered promises of the identity model: each has a test of its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FEATURES = [*range(1, 19), 46, 57, 58, 59]
"""Identity, authorisations, access rules, SSH, set-up, secrets at rest and federation."""
WEAKNESSES = range(1, 23)
"""What went wrong in the model's first implementation."""

NAMED = {
    found
    for file in TESTS.rglob("test_*.py")
    for found in re.findall(r"^def test_([fw]\d\d)_", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize(
    "number", [*(f"f{number:02}" for number in FEATURES), *(f"w{number:02}" for number in WEAKNESSES)]
)
def test_it_has_a_test_of_its_number(number):
    """Whoever removes the last test of a promise is told here."""
    assert number in NAMED
