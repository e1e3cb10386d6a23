"""Throttle: how often somebody may fail at a password or a code.

Invariant: a try for one name is counted before it is judged, so many at once are not more than one after the other.
Counts are in memory: a gateway that starts again has forgotten them.
"""

from __future__ import annotations

import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from gateway.errors import TooManyTries

PASSWORDS = RateLimitItemPerMinute(5, 10, namespace="password")
"""For one name from one address: five wrong ones in ten minutes."""
PASSWORDS_OF_ADDRESS = RateLimitItemPerMinute(100, 10, namespace="password-address")
"""Wrong ones for all names together: the people of a whole site may come from one address."""
CODES = RateLimitItemPerMinute(5, 10, namespace="code")
"""Device codes that do not exist, by one user."""
SECOND_FACTORS = RateLimitItemPerMinute(10, 10, namespace="second-factor")
"""Wrong codes of one user, wherever they come from: a stranger, without the password, cannot use them up."""
REGISTRATIONS_OF_ADDRESS = RateLimitItemPerMinute(30, 10, namespace="registration-address")
"""Tries to become a user, good and bad ones, from one address."""
LOGINS_OF_ADDRESS = RateLimitItemPerMinute(60, 10, namespace="device-address")
"""Device logins that one address begins."""
REFUSED_JOINS = RateLimitItemPerMinute(30, namespace="join-address")
"""Machines of one address that were refused. A short window: jobs on a site's nodes share the nodes' address."""

LINKS = RateLimitItemPerMinute(10, 10, namespace="link")
"""Secrets for one link from one address."""
LINKS_OF_ADDRESS = RateLimitItemPerMinute(100, 10, namespace="link-address")
"""Wrong ones for all links together."""
NAMES = RateLimitItemPerMinute(20, 10, namespace="name")
"""Names of users and groups that there are not, by one user who shares something."""

PASSKEYS_OF_ADDRESS = RateLimitItemPerMinute(100, 10, namespace="passkey-address")
"""Challenges for a sign-in with a passkey that one address asks for."""
FLOWS_OF_ADDRESS = RateLimitItemPerMinute(100, 10, namespace="institution-address")
"""Sign-ins through an institution that one address begins."""


class Throttle:
    """Counts tries in moving windows."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, limit: RateLimitItem, *who: str) -> None:
        """Raise TooManyTries if there were too many; counts nothing."""
        if not self._limiter.test(limit, *who):
            raise self._too_many(limit, who)

    def count(self, limit: RateLimitItem, *who: str) -> None:
        """Count a try. Raises TooManyTries, with the time to wait, when there were too many."""
        if not self._limiter.hit(limit, *who):
            raise self._too_many(limit, who)

    def forgive(self, limit: RateLimitItem, *who: str) -> None:
        """Forget the tries: the last one was right."""
        self._limiter.clear(limit, *who)

    def _too_many(self, limit: RateLimitItem, who: tuple[str, ...]) -> TooManyTries:
        reset = self._limiter.get_window_stats(limit, *who).reset_time
        return TooManyTries(retry_after_s=max(1, round(reset - time.time())))
