"""Listing: what the clouds say there is, and Lister, which asks them.

Invariant: a cloud that was not asked, did not answer yet or could not be read is not in the listing; of its machines
nothing is known then, and the other clouds' nodes do not wait for it. That a machine is not there is known only from
an answer to a question that is younger than the node's state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import structlog

from gateway.errors import BurstError
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.node import Machine
from gateway.provisioning.sources import Seen, Source
from gateway.provisioning.strays import first
from gateway.provisioning.supply import cloud_of

log = structlog.get_logger(__name__)

_PATIENCE_S = 0.1
"""Enough for the local cloud; a slower answer is taken at a later look."""
_BLIND_S = 60.0
_BLIND_LOOKS = 3


@dataclass(frozen=True)
class Listing:
    """Cloud → its live machines, of the clouds that answered."""

    clouds: Mapping[str, tuple[Machine, ...]] = field(default_factory=dict)
    asked_at: Mapping[str, datetime] = field(default_factory=dict)
    """When each was asked; of one that is not in it, any moment."""

    def of(self, node: ElasticNode) -> Seen:
        """The machine of a node's present generation; None if its cloud has none, asked since the node's last move.

        Asked earlier, a machine may have been made after the answer, and that it is not in it tells nothing.
        """
        found = self._found.get((node.name, node.generation), [])
        if node.gang is not None and node.gang_number is not None:
            found = found + self._numbered.get((node.gang, node.gang_number), [])
        machine = next((each for each in found if each.id == node.machine_id), first(found))
        return Source.UNREAD if machine is None and self._unread(node) else machine

    def _unread(self, node: ElasticNode) -> bool:
        if node.supply is None:
            return False
        cloud = cloud_of(node.supply)
        return cloud not in self.clouds or self.asked_at.get(cloud, node.since) < node.since

    @cached_property
    def _found(self) -> Mapping[tuple[str, int], list[Machine]]:
        found: dict[tuple[str, int], list[Machine]] = {}
        for machine in (machine for each in self.clouds.values() for machine in each):
            found.setdefault((machine.node, machine.generation), []).append(machine)
        return found

    @cached_property
    def _numbered(self) -> Mapping[tuple[str, int], list[Machine]]:
        """Those that one call made for many, by their gang's token and their number."""
        found: dict[tuple[str, int], list[Machine]] = {}
        for machine in (machine for each in self.clouds.values() for machine in each):
            if not machine.node and machine.number is not None:
                found.setdefault((machine.gang, machine.number), []).append(machine)
        return found


class Lister:
    """Asks each cloud in a thread of its own, at most every ``poll_s[cloud]`` seconds. Used by one thread.

    ``clock``: seconds that only go forward; ``pool``: what asks in place of threads, and then nobody waits for it;
    ``now``: the clock of the nodes' records, None where listings are not compared with these.
    """

    def __init__(
        self,
        ask: Callable[[str], tuple[Machine, ...]],
        poll_s: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
        pool: Executor | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._ask = ask
        self._poll_s = poll_s
        self._clock = clock
        self._now = now
        self._asked_at: dict[str, datetime] = {}
        self._pool = pool or ThreadPoolExecutor(len(poll_s), thread_name_prefix="listing")
        self._patience_s = _PATIENCE_S if pool is None else 0.0
        self._asked: dict[str, Future[tuple[Machine, ...]]] = {}
        self._due_at = dict.fromkeys(poll_s, 0.0)
        self._read_at = dict.fromkeys(poll_s, clock())
        self._answered: dict[str, bool] = {}
        """Cloud → whether it was ever read; of those that were asked and gave an answer or an error."""

    @property
    def clouds(self) -> tuple[str, ...]:
        """Those that it asks."""
        return tuple(self._poll_s)

    def read(self) -> Listing:
        """What is news since the last call."""
        now = self._clock()
        for cloud in self._poll_s:
            if cloud not in self._asked and now >= self._due_at[cloud]:
                if self._now is not None:
                    self._asked_at[cloud] = self._now()
                self._asked[cloud] = self._pool.submit(self._ask, cloud)
        wait(self._asked.values(), timeout=self._patience_s)
        done = {cloud: future for cloud, future in self._asked.items() if future.done()}
        answers = {cloud: self._answer(cloud, self._asked.pop(cloud)) for cloud in done}
        read = {cloud: machines for cloud, machines in answers.items() if machines is not None}
        return Listing(read, {cloud: self._asked_at[cloud] for cloud in read if cloud in self._asked_at})

    def unread(self, cloud: str) -> bool:
        """Whether it was not asked since the start, or has not answered in any way yet. From any thread."""
        return cloud in self._poll_s and cloud not in self._answered and not self._overdue(cloud)

    def blind(self, cloud: str) -> bool:
        """Whether it was never read, or not for so long that machines might be lost from sight. From any thread."""
        if cloud not in self._poll_s:
            return False
        return (cloud in self._answered and not self._answered[cloud]) or self._overdue(cloud)

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _overdue(self, cloud: str) -> bool:
        return self._clock() - self._read_at[cloud] > max(_BLIND_S, _BLIND_LOOKS * self._poll_s[cloud])

    def _answer(self, cloud: str, future: Future[tuple[Machine, ...]]) -> tuple[Machine, ...] | None:
        self._due_at[cloud] = self._clock() + self._poll_s[cloud]
        self._answered.setdefault(cloud, False)
        try:
            machines = future.result()
        except BurstError as error:
            log.warning("cloud not read", cloud=cloud, error=error.detail)
        except Exception:
            log.exception("cloud not read", cloud=cloud)
        else:
            self._read_at[cloud] = self._clock()
            self._answered[cloud] = True
            return machines
        return None
