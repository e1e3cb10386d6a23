"""Throttle: so many tries in a time, each one's apart, forgotten when one was right."""

from __future__ import annotations

import pytest
import time_machine

from gateway.errors import TooManyTries
from gateway.identity.throttle import PASSWORDS, PASSWORDS_OF_ADDRESS, Throttle


def test_the_sixth_try_is_one_too_many_until_the_first_is_old():
    """The error says how long to wait; after that there is one more."""
    with time_machine.travel(1_000_000.0, tick=False) as clock:
        throttle = Throttle()
        for _ in range(5):
            throttle.count(PASSWORDS, "ada", "192.0.2.7")
        clock.shift(60)
        with pytest.raises(TooManyTries) as refused:
            throttle.count(PASSWORDS, "ada", "192.0.2.7")
        assert 535 <= refused.value.retry_after_s <= 541

        clock.shift(refused.value.retry_after_s + 1)
        throttle.count(PASSWORDS, "ada", "192.0.2.7")


def test_names_and_addresses_are_counted_apart():
    """Who guesses at ada's password does not lock her out elsewhere, nor anybody else."""
    throttle = Throttle()
    for _ in range(5):
        throttle.count(PASSWORDS, "ada", "192.0.2.7")

    throttle.count(PASSWORDS, "ada", "192.0.2.8")
    throttle.count(PASSWORDS, "bob", "192.0.2.7")


def test_a_right_try_forgives_the_wrong_ones():
    """Four wrong, one right, and five more are free."""
    throttle = Throttle()
    for _ in range(4):
        throttle.count(PASSWORDS, "ada", "192.0.2.7")
    throttle.forgive(PASSWORDS, "ada", "192.0.2.7")
    for _ in range(5):
        throttle.count(PASSWORDS, "ada", "192.0.2.7")


def test_a_look_counts_nothing():
    """One may look as often as one likes while there is room."""
    throttle = Throttle()
    for _ in range(200):
        throttle.check(PASSWORDS_OF_ADDRESS, "192.0.2.7")
    for _ in range(100):
        throttle.count(PASSWORDS_OF_ADDRESS, "192.0.2.7")
    with pytest.raises(TooManyTries):
        throttle.check(PASSWORDS_OF_ADDRESS, "192.0.2.7")
