"""VirtualTime: a clock that only its owner moves, and tasks that sleep on it; one thread, the same order every time.

Invariant: nothing here reads the computer's clock, and of two things due at one moment the one planned first is first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class VirtualTime:
    """Seconds since the beginning, and what is planned for later."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.skew = timedelta()
        """What the wall clock is wrong by; ``monotonic`` is not."""
        self.sleepy = False
        """Whether anybody may sleep; else what is begun ends before anything else, and needs no task of its own."""
        self._order = count()
        self._planned: list[tuple[float, int, Callable[[], Any]]] = []
        self._hub = getcurrent()
        self._asleep: set[greenlet] = set()

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        return START + timedelta(seconds=self.seconds) + self.skew

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        return self.seconds

    def after(self, seconds: float, action: Callable[[], Any]) -> None:
        """Plan ``action``; it runs in nobody's task."""
        heapq.heappush(self._planned, (self.seconds + seconds, next(self._order), action))

    def sleep(self, seconds: float) -> None:
        """Let the task that calls this go on after ``seconds``, and everybody else meanwhile; for a task only."""
        if seconds <= 0:
            return
        task = getcurrent()
        if task is self._hub:
            raise RuntimeError("only a task can sleep")
        self._asleep.add(task)
        self.after(seconds, lambda: self._resume(task))
        assert task.parent is not None  # noqa: S101 - only the hub has none
        task.parent.switch()

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        until = self.seconds + seconds
        while self._planned and self._planned[0][0] <= until:
            at, _, action = heapq.heappop(self._planned)
            self.seconds = max(self.seconds, at)
            action()
        self.seconds = until

    def _resume(self, task: greenlet) -> None:
        if task in self._asleep:
            self._asleep.discard(task)
            task.parent = self._hub
            task.switch()

    def end(self, task: greenlet) -> None:
        """End a task that sleeps, where it stands."""
        if task in self._asleep:
            self._asleep.discard(task)
            task.parent = getcurrent()
            task.throw(GreenletExit)


class Tasks(Executor):
    """Runs each call at once, as a task that may sleep; ``end`` ends those that do, as the end of a process does."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._running: dict[greenlet, None] = {}
        self._ended = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``Executor.submit``."""
        if self._ended:
            return Future()
        if not self._time.sleepy:
            return _done(lambda: fn(*args, **kwargs))
        future: Future[T] = Future()
        task = greenlet(lambda: self._run(future, lambda: fn(*args, **kwargs)))
        self._running[task] = None
        task.switch()
        return future

    def _run(self, future: Future[T], call: Callable[[], T]) -> None:
        try:
            future.set_result(call())
        except GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001 - it is whoever waits for it that hears of it
            future.set_exception(error)
        finally:
            self._running.pop(getcurrent(), None)

    def end(self) -> None:
        """End all, and begin none."""
        self._ended = True
        for task in tuple(self._running):
            if task is not getcurrent():
                self._time.end(task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor.shutdown``; nobody waits here."""
        del wait, cancel_futures
        self._ended = True


def _done(call: Callable[[], T]) -> Future[T]:
    """What has happened already."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is whoever waits for it that hears of it
        future: Future[T] = Future()
        future.set_exception(error)
        return future
    if result is None:
        return _NOTHING
    future = Future()
    future.set_result(result)
    return future


_NOTHING: Future[Any] = Future()
_NOTHING.set_result(None)
"""A future costs more than most calls here."""
