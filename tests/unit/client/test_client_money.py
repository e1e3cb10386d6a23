"""Credits: exact both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.money import from_credits, in_credits
from gateway.errors import OptionError


@given(st.integers(1, 10**18))
def test_what_is_shown_reads_back_exactly(amount_ucr):
    """No amount loses a micro-credit on its way to people and back."""
    assert from_credits(in_credits(amount_ucr)) == amount_ucr


@pytest.mark.parametrize(
    ("amount_ucr", "text"),
    [(0, "0.000000 cr"), (1, "0.000001 cr"), (1_234_567, "1.234567 cr"), (-1_500_000, "-1.500000 cr")],
)
def test_amounts_for_people(amount_ucr, text):
    """Six decimals always, the sign in front."""
    assert in_credits(amount_ucr) == text


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "1e-7", "1.0000001", "1e400"])
def test_what_is_no_amount_is_refused(text):
    """Only a positive amount of whole micro-credits is one."""
    with pytest.raises(OptionError):
        from_credits(text)
