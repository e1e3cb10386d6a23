"""Which waiting jobs go to the cloud too: by their owner's wish, by Slurm's estimate, within the caps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.site_jobs import Waiting
from gateway.engines.site_policy import BurstPolicy

NOW = 1_000_000.0
POLICY = BurstPolicy("cloud", frozenset({"main"}), frozenset({"chem"}), after_s=600, max_jobs=3)


def waiting(number: int = 1, **facts: object) -> Waiting:
    """A job that waits for nodes and will for long."""
    usual = {
        "partitions": ("main",), "account": "chem", "start": int(NOW) + 3600, "submitted": 10, "reason": "Resources",
    }  # fmt: skip
    return Waiting(**{"id": number, **usual, **facts})


def chosen(*jobs: Waiting, wishes=(), in_cloud: int = 0, policy: BurstPolicy = POLICY) -> list[int]:
    return [job.id for job in policy.chosen(jobs, wishes, NOW, in_cloud)]


@pytest.mark.parametrize(
    ("facts", "goes"),
    [
        ({}, True),
        ({"start": int(NOW) + 600}, False),
        ({"start": int(NOW) + 601}, True),
        ({"start": None, "submitted": int(NOW) - 601}, True),
        ({"start": None, "submitted": int(NOW) - 10}, False),
        ({"start": int(NOW) - 5, "submitted": int(NOW) - 601}, True),
        ({"start": int(NOW) - 5, "submitted": int(NOW) - 10}, False),
        ({"start": int(NOW) + 5, "submitted": int(NOW) - 601}, False),
        ({"account": "physics"}, False),
        ({"partitions": ("other",)}, False),
        ({"partitions": ("other", "main")}, True),
        ({"partitions": ("main", "cloud")}, False),
        ({"reason": "Priority"}, True),
        ({"reason": "Dependency"}, False),
        ({"reason": "JobHeldUser"}, False),
        ({"reason": "AssocGrpCpuLimit"}, False),
        ({"reason": "Nodes required for job are DOWN, DRAINED or reserved"}, True),
    ],
)
def test_the_estimate_decides_for_those_who_opted_in(facts, goes):
    """Their partition and account both, and only while nothing but nodes is missing."""
    assert chosen(waiting(**facts)) == ([1] if goes else [])


def test_who_asks_needs_no_account_and_no_estimate():
    """sbatch -p main,cloud: as soon as Slurm has found no room for it at home."""
    assert chosen(waiting(account="physics", start=int(NOW) + 5), wishes={1}) == [1]
    assert chosen(waiting(reason="Dependency"), wishes={1}) == []


def test_all_accounts_may_be_let_in():
    """["*"]; none at all is the default."""
    everybody = BurstPolicy("cloud", frozenset({"main"}), frozenset({"*"}), after_s=600)

    assert chosen(waiting(account=""), policy=everybody) == [1]
    assert chosen(waiting(), policy=BurstPolicy("cloud")) == []


@given(st.lists(st.integers(0, 50), max_size=9), st.integers(0, 5))
def test_no_more_go_than_there_is_room_for_the_oldest_first(times, in_cloud):
    """Whatever order squeue has them in."""
    jobs = [waiting(number, submitted=at) for number, at in enumerate(times)]

    went = chosen(*jobs, in_cloud=in_cloud)

    assert len(went) == min(len(jobs), max(0, 3 - in_cloud))
    assert went == [job.id for job in sorted(jobs, key=lambda job: (job.submitted, job.id))][: len(went)]
