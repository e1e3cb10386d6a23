"""Codes of an authenticator app, and the step that each uses up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import recovery_codes, totp

SECRET = b"12345678901234567890"
"""RFC 6238 appendix B; its codes have eight digits, ours are their last six."""


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_the_codes_are_the_standards(seconds, code):
    """RFC 6238's own test vectors for SHA-1."""
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp.code_at(SECRET, totp.step_of(now)) == code
    assert totp.matching_step(SECRET, code, now) == totp.step_of(now)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "२८७०८२", "287082\n0", "-87082"])
def test_what_is_no_code_fits_no_step(code):
    """Whatever is typed."""
    assert totp.matching_step(SECRET, code, datetime.fromtimestamp(59, UTC)) is None


@given(
    secret=st.binary(min_size=20, max_size=20),
    start=st.integers(0, 4_000_000_000),
    ahead=st.integers(-5, 5),
    within=st.integers(0, 29),
)
def test_a_code_is_good_for_its_own_step_and_one_on_either_side(secret, start, ahead, within):
    """At any time, for a phone that is fast or slow by so many steps."""
    at = datetime.fromtimestamp(start * 1.0, UTC).replace(microsecond=0)
    at += timedelta(seconds=within - int(at.timestamp()) % totp.STEP_S + totp.STEP_S * 10)
    with time_machine.travel(at, tick=False):
        now = datetime.now(UTC)
        step = totp.step_of(now) + ahead
        found = totp.matching_step(secret, totp.code_at(secret, step), now)
    nearby = {totp.code_at(secret, totp.step_of(at) + drift) for drift in (-1, 0, 1)}
    if abs(ahead) <= 1:
        assert found is not None
        assert found >= step
        assert totp.code_at(secret, found) == totp.code_at(secret, step)
    else:
        assert (found is not None) is (totp.code_at(secret, step) in nearby)


@given(st.lists(st.tuples(st.integers(0, 45), st.integers(-2, 2)), max_size=30))
def test_no_step_is_used_twice_and_none_after_a_later_one(tries):
    """Whatever is tried, when: steps that are taken only rise, and each lies within one of the time it was given."""
    at, last, taken = datetime(2026, 3, 1, tzinfo=UTC), -1, list[int]()
    for seconds, drift in tries:
        at += timedelta(seconds=seconds)
        step = totp.matching_step(SECRET, totp.code_at(SECRET, totp.step_of(at) + drift), at)
        if step is not None and step > last:
            last = step
            taken.append(step)
            assert abs(step - totp.step_of(at)) <= 1
    assert taken == sorted(set(taken))


def test_recovery_codes_are_long_different_and_read_however_they_are_typed():
    """Twenty-four letters each; a user's digest is not another's."""
    codes = recovery_codes.make_codes()

    assert len({*codes, *recovery_codes.make_codes()}) == 20
    assert all(len(code.replace("-", "")) == 24 for code in codes)
    typed = codes[0].lower().replace("-", " ")
    assert recovery_codes.code_hash("ada", typed) == recovery_codes.code_hash("ada", codes[0])
    assert recovery_codes.code_hash("eve", codes[0]) != recovery_codes.code_hash("ada", codes[0])
