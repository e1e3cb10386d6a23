"""The least nodes of a size: powered up when they are off, and left alone when somebody took them out of service."""

from __future__ import annotations

import pytest

from gateway.engines.engine import SchedulerNode
from gateway.runner.minimum import MinimumRunner


class Slurm:
    """Nodes with their states, and what was asked of them."""

    def __init__(self, **states):
        self.states = {name.replace("_", "-"): frozenset(words.split()) for name, words in states.items()}
        self.asked = []

    def nodes(self):
        return tuple(SchedulerNode(name, frozenset(on), "", name, 1, 512, None) for name, on in self.states.items())

    def update_nodes(self, names, state):
        self.asked.append((tuple(names), state))


def test_the_first_nodes_of_a_size_are_powered_up_if_they_are_off():
    """In one call; those beyond the least, and other sizes, stay off."""
    off = "IDLE CLOUD POWERED_DOWN"
    slurm = Slurm(small_1=off, small_2="IDLE CLOUD", small_3=off, small_4=off, large_1=off)
    MinimumRunner(slurm, {"small": 3, "large": 0}).tick()

    assert slurm.asked == [(("small-1", "small-3"), "POWER_UP")]


@pytest.mark.parametrize("word", ["POWERING_UP", "POWERING_DOWN", "POWER_DOWN", "DOWN", "DRAIN", "FAIL"])
def test_a_node_that_is_on_its_way_or_out_of_service_is_left_alone(word):
    """An operator's word stands."""
    slurm = Slurm(small_1=f"IDLE CLOUD POWERED_DOWN {word}")
    MinimumRunner(slurm, {"small": 1}).tick()

    assert slurm.asked == []
