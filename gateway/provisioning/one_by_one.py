"""One by one: a gang at a cloud that has no call for many machines.

Invariant: all or none. When one is refused, those that were made are ended before the refusal is raised; while the
outcome of one is not known, or one could not be ended, it is Ambiguous, and the same gang can be ordered again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from gateway.errors import Ambiguous, CloudError
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import numbered
from gateway.provisioning.node import Machine, NodeOrder

AT_ONCE = 8
"""Orders that are under way at a time."""


def one_by_one(
    gang: GangOrder, create: Callable[[NodeOrder], Machine], end: Callable[[str], None]
) -> tuple[Machine, ...]:
    """See ``NodeProvider.create_gang``; after the first error nothing more is ordered.

    ``create`` and ``end`` are called from several threads.
    """
    orders = [replace(o, user_data=numbered(o.user_data or gang.user_data, i)) for i, o in enumerate(gang.orders)]
    ask = partial(_ask, create, threading.Event())
    with ThreadPoolExecutor(min(AT_ONCE, len(orders)), thread_name_prefix="gang") as pool:
        outcomes = list(pool.map(ask, orders))
        made = tuple(each for each in outcomes if isinstance(each, Machine))
        errors = [each for each in outcomes if isinstance(each, CloudError)]
        if not errors:
            return made
        if any(map(is_refusal, errors)):
            errors += filter(None, pool.map(partial(_take_back, end), made))
    raise _weightiest(errors)


def is_refusal(error: CloudError) -> bool:
    """Whether it says for sure that nothing was made, and that to order the same again is of no use."""
    return not isinstance(error, Ambiguous) and not error.retryable


def _ask(
    create: Callable[[NodeOrder], Machine], failed: threading.Event, order: NodeOrder
) -> Machine | CloudError | None:
    if failed.is_set():
        return None
    try:
        return create(order)
    except CloudError as error:
        failed.set()
        return error


def _take_back(end: Callable[[str], None], machine: Machine) -> CloudError | None:
    try:
        end(machine.id)
    except CloudError as error:
        return Ambiguous(f"others of its gang were refused, and {machine.id} could not be ended: {error.detail}")
    return None


def _weightiest(errors: Sequence[CloudError]) -> CloudError:
    """What is not known comes before what is refused, and that before what passes by itself."""
    return min(errors, key=lambda error: 0 if isinstance(error, Ambiguous) else 1 if is_refusal(error) else 2)
