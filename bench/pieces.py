"""Where the gateway's time goes in one submission: the same code in this process, with a clock at each port.

The gateway's own process is stopped meanwhile; Slurm, database and disk are those that it used.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any, cast

from joserfc.jwk import OKPKey

from bench.site import Site
from bench.submissions import SCRIPT
from gateway import wire
from gateway.bootstrap.assemble import Assembled, assemble
from gateway.bootstrap.presence import only_one
from gateway.daemons import Daemon
from gateway.engines.engine import Engine, Submission
from gateway.identity.authenticate import Request
from gateway.identity.signature import sign_request, token_of, verify_request
from gateway.work import Work, Works

PATH = "/api/v1/jobs"


@dataclass(frozen=True)
class Pieces:
    """Medians in seconds, of one submission without HTTP."""

    total_s: float
    parts: dict[str, float]
    commits: int


class Clock:
    """Seconds and calls by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time a block."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begun
            self.calls[name] += 1


class _TimedEngine:
    """An engine whose submissions are timed."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, submission: Submission) -> int:
        with self._clock.of("slurmrestd"):
            return self._engine.submit(submission)


def measure(site: Site, jobs: int) -> Pieces:
    """Stop the gateway's process and submit ``jobs`` jobs with its parts."""
    Daemon("gateway", site.settings.run_dir, site.settings.log_dir / "gateway.log").stop()
    with only_one(site.settings.run_dir, within_s=10):
        parts = assemble(site.settings, site.machine)
        try:
            clocks = [_submit(site, parts) for _ in range(jobs)][jobs // 10 :]
        finally:
            parts.site.server_close()
            parts.database.close()
    names = ("signature", "commit", "slurmrestd")
    medians = {name: median(clock.seconds[name] for clock in clocks) for name in names}
    return Pieces(median(clock.seconds["total"] for clock in clocks), medians, clocks[0].calls["commit"])


def _submit(site: Site, parts: Assembled) -> Clock:
    clock = Clock()
    request, received = _signed(site)
    submission, people = parts.gateway.submission, parts.gateway.people
    ports = replace(
        submission.ports,
        works=_timed(submission.ports.works, clock),
        engine=cast("Engine", _TimedEngine(submission.ports.engine, clock)),
    )
    submission, people = replace(submission, ports=ports), replace(people, works=_timed(people.works, clock))
    _verify(site, received, clock)
    with clock.of("total"):
        caller = people.user(received)
        parts.gateway.jobs.view(submission.submit(caller, request, None))
    return clock


def _timed(works: Works, clock: Clock) -> Works:
    """Times the ends of transactions: the commit, which is on disk when it returns."""

    @contextmanager
    def timed() -> Iterator[Work]:
        with ExitStack() as stack:
            yield stack.enter_context(works())
            with clock.of("commit"):
                stack.close()

    return timed


def _signed(site: Site) -> tuple[wire.SubmitRequest, Request]:
    request = wire.SubmitRequest(script=SCRIPT, script_name="bench", submit_directory="/")
    body = request.model_dump_json().encode()
    profile = site.profile
    key = OKPKey.import_key(dict(profile.key))
    token = sign_request(key, profile.session, "POST", PATH, body, profile.audience, datetime.now(UTC))
    return request, Request("POST", PATH, body, f"Burst {token}")


def _verify(site: Site, received: Request, clock: Clock) -> None:
    key = OKPKey.import_key({name: site.profile.key[name] for name in ("kty", "crv", "x")})
    token, audience, now = token_of(received.authorization), site.profile.audience, datetime.now(UTC)
    with clock.of("signature"):
        verify_request(token, key, method="POST", path=PATH, body=received.body, audience=audience, now=now)
