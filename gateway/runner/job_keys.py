"""JobKeyRunner: withdraws a job's keys to the store as soon as its attempt has ended, was cancelled or superseded.

Invariant: an attempt's keys are looked after until the store has confirmed that they are dead, across restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from gateway.errors import BurstError
from gateway.jobs.running import running
from gateway.route import Ports, withdraw
from gateway.runner.periodic import Periodic
from gateway.staging.job_keys import KeyRecord
from gateway.work import Work

log = structlog.get_logger(__name__)

_TICK_S = 1.0


@dataclass
class JobKeyRunner:
    """One thread; it does nothing where the store gives jobs no keys."""

    ports: Ports

    def __post_init__(self) -> None:
        self._thread = Periodic("job-keys", "look after keys", self.tick, _TICK_S)

    def start(self) -> None:
        """Begin."""
        if self.ports.job_keys is not None:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._thread.stop()

    def tick(self) -> None:
        """Withdraw what is due; one store that is away keeps no other attempt's keys alive."""
        with self.ports.reads() as work:
            due = [record for record in work.key_records.not_withdrawn() if record.ended_at or not _runs(work, record)]
        for record in due:
            try:
                withdraw([record], self.ports)
            except BurstError as error:
                log.warning("keys not withdrawn", job=record.job, error=error.detail)


def _runs(work: Work, record: KeyRecord) -> bool:
    return running(work.jobs.get(record.job), work.jobs.latest_attempts(record.job), record.attempt) is not None
