"""HostPower: the port to what switches a host's power, and how a switch is confirmed.

Invariant: a request that was accepted is not yet true; only a reading says that the power has changed. Asking for what
is already so changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from gateway.errors import BurstError

SWITCH_S = 120.0
"""Seconds within which a reading must show that the power is on, or was cut."""
SHUTDOWN_S = 180.0
"""Seconds that a system may take to shut down before its power is cut."""
_LOOK_S = 2.0


class PowerState(StrEnum):
    """What is known of a host's power."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"
    """On its way from one to the other, or there is nothing that could tell."""


class PowerError(BurstError):
    """A host's power could not be read or switched."""

    code = "power_error"


class PowerUnreachable(PowerError):
    """What switches the host's power does not answer, or has no time; nothing was done."""

    code = "power_unreachable"
    retryable = True


class PowerSilent(PowerError):
    """What switches the host's power was asked and gave no answer; it may have acted."""

    code = "power_silent"


class PowerRefused(PowerError):
    """What switches the host's power refuses the login or the request."""

    code = "power_refused"


class PowerStuck(PowerError):
    """The request was accepted, and the power did not change."""

    code = "power_stuck"


class HostPower(Protocol):
    """One host's power. Methods raise PowerError, answer within half a minute and try nothing twice."""

    @property
    def name(self) -> str:
        """What messages call it; no secret is in it."""

    @property
    def tells(self) -> bool:
        """Whether ``state`` can ever be known, and so whether off can be confirmed."""

    def state(self) -> PowerState:
        """Read it."""

    def on(self) -> None:
        """Ask for power; returns when that is accepted."""

    def off(self) -> None:
        """Ask the system to shut down and switch itself off; returns when that is accepted."""

    def cut(self) -> None:
        """Take the power away, whatever the system does; returns when that is accepted."""


class NoPower:
    """A host whose power nobody switches."""

    name = "none"
    tells = False

    def state(self) -> PowerState:
        """Nobody knows."""
        return PowerState.UNKNOWN

    def on(self) -> None:
        """Raises PowerRefused."""
        raise PowerRefused("its power is not switched", hint="give the host a `power` in the settings")

    def off(self) -> None:
        """Raises PowerRefused."""
        self.on()

    def cut(self) -> None:
        """Raises PowerRefused."""
        self.on()


def confirm(
    power: HostPower,
    wanted: PowerState,
    within_s: float,
    *,
    look_s: float = _LOOK_S,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Read the power until it is as wanted. Raises PowerStuck, PowerRefused, or why it could not be read to the end."""
    left_s = within_s
    trouble: PowerError | None = None
    while True:
        try:
            found = power.state()
        except PowerUnreachable as error:
            found, trouble = PowerState.UNKNOWN, error
        else:
            trouble = None
        if found is wanted:
            return
        if left_s <= 0:
            raise trouble or PowerStuck(
                f"{power.name}: the power is {found}, not {wanted}, {within_s:g} s after it was asked for"
            )
        pause(min(look_s, left_s))
        left_s -= look_s
