"""Breakers: what a cloud's refusal means for the next orders, one rule for each class of error.

Invariant: that a cloud asks for fewer calls, fails before it acts, or does not answer says nothing about room, and
keeps nobody from asking; a breaker closes by itself with time, or with the next order that is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from gateway.errors import BootstrapFailed, Capacity, CloudAuth, CloudError, CloudInvalid, Price, Quota
from gateway.provisioning.supply import Supply
from gateway.settings import LOCAL_CLOUD

Scope = Callable[[Supply], str]


def _of_the_supply(supply: Supply) -> str:
    return supply.name


def _of_the_family(supply: Supply) -> str:
    """A quota is for a family of sizes, whatever the zone: "m5" of m5.large, "n2" of n2-standard-4."""
    market = f"+{supply.market}"
    return f"{supply.cloud}/{re.split(r'[.-]', supply.size)[0]}{market}"


def _of_the_cloud(supply: Supply) -> str:
    return supply.cloud


@dataclass(frozen=True)
class Rule:
    """For what an error opens the breaker, and how long; ``first`` doubles with each further one up to ``most``."""

    scope: Scope
    first: timedelta
    most: timedelta
    after: int = 1
    """So many in a row open it."""


HOUR: Final = timedelta(hours=1)
FOR_EVER: Final = timedelta(days=3650)

RULES: Final[Mapping[type[CloudError], Rule]] = {
    Capacity: Rule(_of_the_supply, timedelta(minutes=2), HOUR),
    Quota: Rule(_of_the_family, timedelta(minutes=10), HOUR),
    CloudAuth: Rule(_of_the_cloud, timedelta(minutes=1), timedelta(minutes=10)),
    # Until somebody corrects the settings, which takes a restart.
    CloudInvalid: Rule(_of_the_supply, FOR_EVER, FOR_EVER),
    # Protected mode: machines come, and none becomes a node, so something is wrong with what they are made of.
    BootstrapFailed: Rule(_of_the_supply, timedelta(minutes=10), HOUR, after=3),
    # A cloud that asks more than it was offered, as spot markets do; what our own book says is looked up each time.
    Price: Rule(_of_the_supply, timedelta(minutes=10), HOUR),
}
"""Of Throttled, CloudTransient and Ambiguous there is none; nor of LimitReached, which is our own."""


@dataclass(frozen=True)
class Breaker:
    """An open one: ``error`` is the last refusal, ``trips`` how many there were in a row."""

    error: CloudError
    until: datetime
    trips: int


@dataclass
class Breakers:
    """Those that are open, by what they are for."""

    _open: dict[str, Breaker] = field(default_factory=dict)

    def trip(self, supply: Supply, error: CloudError, now: datetime) -> None:
        """Learn of a refusal."""
        # Of this computer it is known at once when it has room again.
        here = supply.cloud == LOCAL_CLOUD and not supply.zone
        if (rule := RULES.get(type(error))) is None or (here and isinstance(error, Capacity)):
            return
        key = _key(type(error), supply)
        before = self._open.get(key)
        trips = before.trips + 1 if before else 1
        # 2**20 minutes are years: the sum must not overflow however often it is refused.
        span = min(rule.first * 2 ** min(max(trips - rule.after, 0), 20), rule.most)
        self._open[key] = Breaker(error, now + span, trips)

    def refusal(self, supply: Supply, now: datetime) -> CloudError | None:
        """The error for which it is not to be asked now."""
        found = self.shut(supply, now)
        return found.error if found else None

    def shut(self, supply: Supply, now: datetime) -> Breaker | None:
        """The breaker that keeps it from being asked now."""
        found = ((rule, self._open.get(_key(kind, supply))) for kind, rule in RULES.items())
        return next(
            (each for rule, each in found if each is not None and each.trips >= rule.after and now < each.until), None
        )

    def close(self, supply: Supply) -> None:
        """It took an order; whether its machines become nodes is another question."""
        for kind in RULES.keys() - {BootstrapFailed}:
            self._open.pop(_key(kind, supply), None)

    def booted(self, supply: Supply) -> None:
        """A machine of it became a node."""
        self._open.pop(_key(BootstrapFailed, supply), None)


def _key(kind: type[CloudError], supply: Supply) -> str:
    rule = RULES[kind]
    return f"{'boot ' if rule.after > 1 else ''}{rule.scope.__name__} {rule.scope(supply)}"
