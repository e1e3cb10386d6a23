"""What is taken in of a site's waiting jobs, what is moved, what is left alone, and how often slurmctld is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.engines.site_jobs import SiteJob, Waiting
from gateway.engines.site_policy import BurstPolicy
from gateway.errors import Refused, SchedulerUnavailable
from gateway.jobs.job import Resources
from gateway.runner.arrivals import AGAIN_S, LATER_S, Arrivals

TOKEN = "0123456789abcdef0123456789abcdef"
NOW = 1_000_000.0


class Cluster:
    """What slurmctld would answer; counts what it was asked."""

    partition = "cloud"

    def __init__(self) -> None:
        self.jobs: dict[int, SiteJob] = {}
        self.start: dict[int, int | None] = {}
        self.asked: list[str] = []
        self.told: dict[int, str] = {}
        self.told_at_home: dict[int, str] = {}

    def add(self, number: int, partition: str, comment: str = "", start: int | None = None, **facts: object) -> None:
        """A pending job."""
        usual = SiteJob(number, "ann", 1000, "job", partition, "/home", Resources(), comment, "PENDING", False, False)
        self.jobs[number] = replace(usual, **facts)
        self.start[number] = start

    def pending(self) -> frozenset[int]:
        self.asked.append("pending")
        return frozenset(self.jobs)

    def waiting(self) -> tuple[Waiting, ...]:
        self.asked.append("waiting")
        return tuple(
            Waiting(number, tuple(job.partition.split(",")), "chem", self.start[number], int(NOW), "Resources")
            for number, job in self.jobs.items()
        )

    def look(self, number: int) -> SiteJob:
        self.asked.append(f"look {number}")
        return self.jobs[number]

    def tell(self, number: int, sentence: str) -> None:
        self.told[number] = sentence

    def tell_at_home(self, number: int, sentence: str) -> None:
        self.told_at_home[number] = sentence


class Host:
    """Takes in what it is given, unless it has something against it."""

    def __init__(self) -> None:
        self.took: list[tuple[int, int | None]] = []
        self.error: Exception | None = None
        self.busy = 0

    def welcome(self, found: SiteJob, most_ucr: int | None = None) -> None:
        if self.error:
            raise self.error
        self.took.append((found.id, most_ucr))

    def in_cloud(self) -> int:
        return self.busy


class Desk:
    def __init__(self, **policy: object) -> None:
        self.cluster, self.host, self.time = Cluster(), Host(), 0.0
        said = BurstPolicy("cloud", **policy)
        self.arrivals = Arrivals(self.cluster, self.host, said, clock=lambda: self.time, now=lambda: NOW)

    def tick(self, after_s: float = 0.0) -> None:
        self.time += after_s
        self.arrivals.tick()


@pytest.fixture
def desk() -> Desk:
    return Desk(partitions=frozenset({"main"}), accounts=frozenset({"chem"}), after_s=600, most_ucr=5)


def test_a_job_of_the_cloud_is_taken_in_at_once_and_asked_about_again(desk):
    """One that is refused says why; those that are known by a token are not taken in twice."""
    desk.cluster.add(1, "cloud", "burst: waits for the gateway")
    desk.cluster.add(2, "cloud", TOKEN)
    desk.host.error = Refused("no money", hint="ask for some")
    desk.tick()
    assert desk.cluster.told == {1: "no money; ask for some"}

    desk.host.error = None
    desk.tick(AGAIN_S)

    assert desk.host.took == [(1, None)]


def test_a_quiet_cluster_costs_one_cheap_question_a_tick(desk):
    """squeue is run when something is new, or every few seconds; a plain job is looked at once in its life."""
    desk.cluster.add(1, "other")
    desk.tick()
    for _ in range(5):
        desk.tick(0.5)

    assert desk.cluster.asked == ["pending", "waiting", "look 1", *["pending"] * 5]
    desk.tick(AGAIN_S)
    assert desk.cluster.asked[-2:] == ["pending", "waiting"]


def test_a_wish_is_granted_when_there_was_no_room_at_home(desk):
    """sbatch -p other,cloud: also where the policy has neither its partition nor an estimate."""
    desk.cluster.add(1, "other", "burst: may go to the cloud")

    desk.tick()

    assert desk.host.took == [(1, 5)]


def test_a_wish_that_cannot_be_granted_says_why_and_waits_on_at_home(desk):
    """It is not held, and asked about again a minute later."""
    desk.cluster.add(1, "main", "burst: may go to the cloud")
    desk.host.error = Refused("no money", hint="ask for some")

    desk.tick()
    desk.tick(AGAIN_S)
    assert desk.cluster.told_at_home == {1: "no money; ask for some"}
    assert desk.cluster.told == {}

    desk.host.error = None
    desk.tick(LATER_S)
    assert [number for number, _ in desk.host.took] == [1]


def test_the_policy_moves_what_slurm_expects_too_late(desk):
    """And says nothing to owners who asked for nothing; a comment of the site's own is not overwritten."""
    desk.cluster.add(1, "main", start=int(NOW) + 3600)
    desk.cluster.add(2, "main", start=int(NOW) + 60)
    desk.cluster.add(3, "main", "seen by Petra", start=int(NOW) + 3600)
    desk.cluster.add(4, "main", start=int(NOW) + 3600, held=True)

    desk.tick()

    assert desk.host.took == [(1, 5)]
    assert desk.cluster.told_at_home == {}


def test_none_is_moved_while_the_cloud_is_full(desk):
    """max_jobs counts all that the gateway has in hand."""
    desk.cluster.add(1, "main", start=int(NOW) + 3600)
    desk.host.busy = 20

    desk.tick()

    assert desk.host.took == []


def test_a_slurmctld_that_is_away_leaves_every_job_where_it_is(desk):
    """The next tick begins anew."""
    desk.cluster.add(1, "main", start=int(NOW) + 3600)
    desk.host.error = SchedulerUnavailable("away")

    with pytest.raises(SchedulerUnavailable):
        desk.tick()

    assert desk.cluster.told == desk.cluster.told_at_home == {}
    desk.host.error = None
    desk.tick(0.5)
    assert desk.host.took == [(1, 5)]
