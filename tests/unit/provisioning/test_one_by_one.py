"""A gang at a cloud without a bulk call: what is raised, and what is ended before, when some orders fail."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.errors import Ambiguous, Capacity, CloudTransient, Quota, Throttled
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import Machine, MachineState, NodeOrder
from gateway.provisioning.one_by_one import AT_ONCE, one_by_one


@dataclass
class Cloud:
    """Meets each order, by its node, with an error or a machine."""

    errors: dict[str, Exception] = field(default_factory=dict)
    stuck: frozenset[str] = frozenset()
    live: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def create(self, order: NodeOrder) -> Machine:
        self.asked.append(order.node)
        if error := self.errors.get(order.node):
            raise error
        self.live[order.node] = order.user_data
        return Machine(order.node, order.node, order.generation, order.token, MachineState.PENDING, None)

    def end(self, machine_id: str) -> None:
        if machine_id in self.stuck:
            raise CloudTransient("not now")
        del self.live[machine_id]


def gang(count: int = 3, user_data: str = "of all") -> GangOrder:
    return GangOrder(tuple(NodeOrder("c", f"n-{i}", 1, "small", "") for i in range(count)), user_data)


def test_machine_i_is_that_of_order_i() -> None:
    """However many are under way at a time."""
    cloud = Cloud()

    made = one_by_one(gang(3 * AT_ONCE), cloud.create, cloud.end)

    assert [machine.node for machine in made] == [f"n-{i}" for i in range(3 * AT_ONCE)]
    assert set(cloud.live.values()) == {"of all"}


@pytest.mark.parametrize("error", [Capacity("full"), Quota("used up")])
def test_a_refusal_ends_the_others(error: Exception) -> None:
    """None is left."""
    cloud = Cloud({"n-1": error})

    with pytest.raises(type(error)):
        one_by_one(gang(), cloud.create, cloud.end)

    assert cloud.live == {}


def test_after_the_first_refusal_no_more_is_ordered() -> None:
    """What is ordered is only to be ended again."""
    cloud = Cloud({"n-0": Capacity("full")})

    with pytest.raises(Capacity):
        one_by_one(gang(20 * AT_ONCE), cloud.create, cloud.end)

    assert len(cloud.asked) < 20 * AT_ONCE
    assert cloud.live == {}


@pytest.mark.parametrize("error", [Ambiguous("no reply"), Throttled("slow down"), CloudTransient("503")])
def test_what_is_not_refused_is_kept_for_the_next_try(error: Exception) -> None:
    """Nothing is ended on a guess."""
    cloud = Cloud({"n-2": error})

    with pytest.raises(type(error)):
        one_by_one(gang(), cloud.create, cloud.end)

    assert set(cloud.live) == {"n-0", "n-1"}


def test_a_refusal_beside_an_unknown_outcome_is_unknown() -> None:
    """The one machine may be there: another supply may not be asked yet; what is known to be there is ended."""
    cloud = Cloud({"n-0": Ambiguous("no reply"), "n-1": Capacity("full")})

    with pytest.raises(Ambiguous, match="no reply"):
        one_by_one(gang(), cloud.create, cloud.end)

    assert cloud.live == {}


def test_one_that_cannot_be_ended_is_an_unknown_outcome() -> None:
    """It costs money."""
    cloud = Cloud({"n-2": Capacity("full")}, stuck=frozenset({"n-0"}))

    with pytest.raises(Ambiguous, match="n-0 could not be ended: not now"):
        one_by_one(gang(), cloud.create, cloud.end)

    assert set(cloud.live) == {"n-0"}
