"""Hands: of all who want a job or a node, one has it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from gateway.route import Hands


def test_what_is_taken_is_nobody_elses_until_it_is_given_back():
    """Other names are free all the while."""
    hands = Hands()

    assert hands.take("a")
    assert not hands.take("a")
    assert hands.take("b")
    hands.give_back("a")
    assert hands.take("a")


def test_giving_back_what_nobody_has_is_no_error():
    """An ending that happens twice harms nobody."""
    Hands().give_back("a")


def test_of_many_takers_one_has_it():
    """At the same moment, too."""
    hands, start = Hands(), threading.Barrier(8)

    def take(_: int) -> bool:
        start.wait()
        return hands.take("a")

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == [False] * 7 + [True]
