"""States and reasons in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.slurm import states


@pytest.mark.parametrize(
    ("given_states", "word", "code"),
    [
        ({"RUNNING"}, "RUNNING", "R"),
        ({"RUNNING", "COMPLETING"}, "COMPLETING", "CG"),
        ({"RUNNING", "CONFIGURING"}, "CONFIGURING", "CF"),
        ({"PENDING", "REQUEUED"}, "REQUEUED", "RQ"),
        ({"OUT_OF_MEMORY"}, "OUT_OF_MEMORY", "OOM"),
    ],
)
def test_a_job_shows_the_flag_that_squeue_shows(given_states: set[str], word: str, code: str) -> None:
    """A flag such as COMPLETING stands for the base state."""
    assert states.shown(given_states) == word
    assert states.compact(word) == code


@pytest.mark.parametrize(
    ("given_states", "word"),
    [
        ({"IDLE", "CLOUD", "POWERED_DOWN"}, "idle~"),
        ({"ALLOCATED", "CLOUD", "POWERING_UP"}, "allocated#"),
        ({"IDLE", "CLOUD", "POWERING_DOWN"}, "idle%"),
        ({"DOWN", "NOT_RESPONDING"}, "down*"),
        ({"IDLE", "DRAIN"}, "drained"),
        ({"ALLOCATED", "DRAIN"}, "draining"),
    ],
)
def test_a_node_shows_what_sinfo_shows(given_states: set[str], word: str) -> None:
    """Elastic nodes are told by their suffix."""
    assert states.node_shown(given_states) == word


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("Resources", "still being made"),
        ("Priority", "higher priority"),
        ("JobHeldUser", "scontrol release"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "--nodelist"),
        ("PartitionTimeLimit", "--time"),
        ("QOSMaxJobsPerUserLimit", "max jobs per user limit"),
        ("AssocGrpCPUMinutesLimit", "grp cpu minutes limit"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED", "down or drained"),
        ("SomethingNew", "Slurm says: SomethingNew."),
    ],
)
def test_a_reason_is_a_sentence_that_one_can_act_on(reason: str, part: str) -> None:
    """Known reasons say what to do, unknown ones are Slurm's own words."""
    sentence = states.reason_sentence(reason)
    assert part in sentence
    assert sentence.endswith(".")


def test_no_reason_is_no_sentence() -> None:
    """Slurm's "None" is silence."""
    assert states.reason_sentence("None") == states.reason_sentence("") == ""


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_reason_breaks_the_sentence(reason: str) -> None:
    """Braces and percent signs in Slurm's words are just words."""
    assert isinstance(states.reason_sentence(reason), str)
