"""Submissions per second, through the gateway and to the same slurmrestd directly, by turns.

The job is the same, and held, so that nothing runs. Clients are processes of their own, each with one connection that
is open before the clock starts; a rate is jobs over the time from the first client's start to the last one's end.
"""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from bench.site import Site
from gateway.client import gateway as client
from gateway.client.session import Session
from gateway.engines.engine import Submission

SCRIPT = "#!/bin/sh\n#SBATCH --hold --time=1 --job-name=bench\ntrue\n"
JOBS = 64
"""In one leg, by all clients together."""
CLIENTS = (1, 8)

Submit = Callable[[], object]
Road = Callable[[Site], Submit]


@dataclass(frozen=True)
class Rates:
    """Medians over all rounds: jobs per second and a client's wait for one answer, by road and number of clients."""

    rounds: int
    per_second: dict[tuple[str, int], float]
    wait_s: dict[tuple[str, int], float]

    def ratio(self, clients: int) -> float:
        """The gateway's rate as a part of slurmrestd's."""
        return self.per_second["gateway", clients] / self.per_second["slurmrestd", clients]


def through_gateway(site: Site) -> Submit:
    """Submit as a user does, signed."""
    gateway = client.Gateway(Session(site.profile))
    return lambda: gateway.submit(client.Submission(SCRIPT, "bench"))


def to_slurmrestd(site: Site) -> Submit:
    """Submit the same job with the client and the token that the gateway itself uses."""
    engine = site.machine.slurm.engine()
    return lambda: engine.submit(direct(site))


def direct(site: Site) -> Submission:
    """What the gateway makes of ``SCRIPT``."""
    token = uuid.uuid4().hex
    home = f"{site.machine.job_directory}/{token}"
    options = {"job-name": "bench", "hold": "", "time": "1", "constraint": site.settings.sizes[0].name}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": f"{home}/home"}
    return Submission(token, SCRIPT, options, environment, f"{home}/work", user=site.machine.job_user)


ROADS: dict[str, Road] = {"slurmrestd": to_slurmrestd, "gateway": through_gateway}


def measure(site: Site, rounds: int) -> Rates:
    """Take every leg once a round, in an order that turns round each time."""
    legs = [(road, clients) for clients in CLIENTS for road in ROADS]
    rates: dict[tuple[str, int], list[float]] = {leg: [] for leg in legs}
    waits: dict[tuple[str, int], list[float]] = {leg: [] for leg in legs}
    for number in range(rounds):
        for leg in legs if number % 2 else reversed(legs):
            rate, wait = _leg(site, ROADS[leg[0]], leg[1])
            rates[leg].append(rate)
            waits[leg].append(wait)
    return Rates(rounds, {leg: median(rates[leg]) for leg in legs}, {leg: median(waits[leg]) for leg in legs})


def _leg(site: Site, road: Road, clients: int) -> tuple[float, float]:
    fork = multiprocessing.get_context("fork")
    gate, answers = fork.Barrier(clients), fork.SimpleQueue()
    each = JOBS // clients
    workers = [fork.Process(target=_client, args=(site, road, each, gate, answers)) for _ in range(clients)]
    for worker in workers:
        worker.start()
    told: list[list[float]] = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    if not all(told):
        raise RuntimeError("a client failed")
    spent = max(times[-1] for times in told) - min(times[0] for times in told)
    waits = [after - before for times in told for before, after in pairwise(times)]
    return each * clients / spent, median(waits)


def _client(site: Site, road: Road, jobs: int, gate: Any, answers: Any) -> None:
    """Tell the moments between submissions (CLOCK_MONOTONIC is the same in all processes); nothing after a failure."""
    times: list[float] = []
    try:
        submit = road(site)
        submit()
        gate.wait()
        times = [time.monotonic()]
        for _ in range(jobs):
            submit()
            times.append(time.monotonic())
    except BaseException:
        gate.abort()
        times = []
        raise
    finally:
        answers.put(times)
