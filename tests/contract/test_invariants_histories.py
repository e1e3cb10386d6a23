"""Ten thousand random histories of clouds, Slurm, machines and a gateway that is killed: the invariants hold in all.

The production code runs in a virtual time (``gateway.testing``); Hypothesis makes the histories and cuts a failing one
to what it takes. ``python -m bench.soak --history HEX`` tells one again, event by event.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.testing.history import EVENT, HEADER, told
from gateway.testing.run import LEAST_EVENTS, MOST_EVENTS, Tally, run
from gateway.testing.world import Violation

HISTORIES = 10_000
ALL = st.binary(min_size=HEADER + EVENT * LEAST_EVENTS, max_size=HEADER + EVENT * MOST_EVENTS)


@dataclass
class Found:
    """What all histories together came to."""

    tally: Tally = field(default_factory=Tally)
    violation: Violation | None = None
    history: bytes = b""

    def require(self, number: int) -> None:
        """Fail with the shortest history that breaks this invariant."""
        if self.violation is not None and self.violation.number == number:
            pytest.fail(f"{self.violation}\nhistory {self.history.hex()}\n{told(self.history)}")


@pytest.fixture(scope="module")
def quiet():
    """The production code's log would be longer than all else."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()
    yield
    gc.unfreeze()
    structlog.configure(**before)


@pytest.fixture(scope="module")
def found(quiet):
    """All of them, once."""
    result = Found()

    @settings(
        max_examples=HISTORIES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(ALL)
    def histories(history):
        result.history = history
        run(history, result.tally)

    try:
        histories()
    except Violation as violation:
        result.violation = violation
    return result


@pytest.mark.timeout(1800)
def test_the_histories_are_as_many_and_as_rich_as_they_are_meant_to_be(found):
    """Every kind of refusal, end and restart happened many times."""
    tally = found.tally
    assert tally.runs >= HISTORIES or found.violation
    assert (
        min(tally.outcomes[each] for each in ("made", "Capacity", "Quota", "Throttled", "Ambiguous", "CloudAuth")) > 50
    )
    assert min(tally.states[each] for each in ("capacity-blocked", "ambiguous", "failed-boot", "busy", "off")) > 500
    assert min(tally.jobs[each] for each in ("COMPLETED", "CANCELLED", "requeued")) > 300
    assert tally.restarts > 500


def test_i01_every_machine_belongs_to_an_intent_or_is_gone_in_ten_minutes(found):
    """Whoever made it, and whatever became of the word about it."""
    found.require(1)
    assert found.tally.worst_orphan_s <= 600


def test_i02_a_generation_of_a_node_has_one_machine(found):
    """However often it was ordered; and of two generations one is alive, but for two loops."""
    found.require(2)


def test_i03_never_are_there_more_machines_than_may_be(found):
    """Of a cloud's size, at the moment that each is made, in-flight ones included."""
    found.require(3)


def test_i05_every_job_ends(found):
    """None is forgotten, whatever happened to its nodes."""
    found.require(5)


def test_i06_a_part_of_a_gang_is_not_left_alone(found):
    """The machines of a job of several are made together, or ended together once they were waited for."""
    found.require(6)


def test_i11_nothing_is_ended_on_a_listing_that_failed_or_shrank(found):
    """A machine with a job that Slurm hears is not ended, nor its node set down."""
    found.require(11)


def test_i13_without_more_faults_all_comes_to_rest_within_five_loops(found):
    """From wherever the history left it; loops in which somebody only waits for a clock are not counted."""
    found.require(13)
    assert max(found.tally.loops, default=0) <= 5


def test_i14_a_job_whose_machine_stopped_is_queued_again_within_a_minute(found):
    """Once the clouds and Slurm can be asked."""
    found.require(14)


def test_i15_nothing_is_ordered_that_nobody_asked_for(found):
    """Nor where nobody looks after what there is."""
    found.require(15)


def test_i18_an_expired_credential_downs_no_node(found):
    """Machines that work go on, and what was to be ended is, once there is a credential."""
    found.require(18)


def test_i19_a_word_of_slurms_that_nobody_knows_downs_no_node(found):
    """It counts as no answer."""
    found.require(19)


def test_i12_a_throttle_blocks_nothing_and_fails_nobody(found):
    """That a cloud asks for fewer calls says nothing about its room."""
    found.require(12)


def test_i21_no_job_runs_on_a_machine_that_has_less_than_promised(found):
    """Its node is quarantined from the moment that its agent says what it has."""
    found.require(21)


def test_i22_restarts_at_any_moment_change_none_of_this(found):
    """The gateway was ended between any two of its writes and calls, slurmctld too."""
    assert found.tally.restarts > 500
    assert found.violation is None


def test_i23_an_administrators_drain_is_left_alone(found):
    """Only they take it back."""
    found.require(23)


def test_i24_machines_whose_clocks_are_wrong_live_on(found):
    """By five minutes, either way."""
    found.require(24)
