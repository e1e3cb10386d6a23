"""Ipmi: a host's power by IPMI 2.0 over LAN (RMCP+), spoken by ipmitool(1).

Invariant: the password is in the environment of one short process of root's, never in a command's words.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

from gateway.provisioning.host_power import PowerRefused, PowerSilent, PowerState, PowerUnreachable

TIMEOUT_S = 25.0
CIPHER = 17
"""RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128 (IPMI 2.0, table 22-20)."""
_TRIES_S = 1
_TRIES = 3

_ABSENT = (
    "Get Auth Capabilities error",
    "Address lookup",
    "no route",
    "Network is unreachable",
    "Could not open socket",
)
_LOGIN = (
    "RAKP",
    "unauthorized name",
    "Insufficient privilege",
    "invalid authentication",
    "invalid role",
    "Invalid user",
)


@dataclass(frozen=True)
class Ipmi:
    """The chassis power of one controller. ``cipher``: a cipher suite that has encryption."""

    address: str
    user: str
    password: str = field(repr=False)
    port: int = 623
    cipher: int = CIPHER
    privilege: str = "OPERATOR"
    timeout_s: float = TIMEOUT_S
    tells = True

    @property
    def name(self) -> str:
        """The controller's address."""
        return f"ipmi {self.address}:{self.port}"

    def state(self) -> PowerState:
        """Whether the chassis has power."""
        said = self._say("status", changes=False)
        if said.endswith(" is on"):
            return PowerState.ON
        return PowerState.OFF if said.endswith(" is off") else PowerState.UNKNOWN

    def on(self) -> None:
        """See ``HostPower.on``."""
        self._say("on")

    def off(self) -> None:
        """See ``HostPower.off``; the system hears it as its power button (ACPI)."""
        if self.state() is not PowerState.OFF:
            self._say("soft")

    def cut(self) -> None:
        """See ``HostPower.cut``."""
        self._say("off")

    def _say(self, word: str, *, changes: bool = True) -> str:
        """The last line of what ``chassis power WORD`` prints. Raises PowerError."""
        command = ["ipmitool", "-v", "-I", "lanplus", "-H", self.address, "-p", str(self.port), "-U", self.user, "-E"]
        command += ["-C", str(self.cipher), "-L", self.privilege, "-N", str(_TRIES_S), "-R", str(_TRIES)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "IPMI_PASSWORD": self.password}
        try:
            done = subprocess.run(
                [*command, "chassis", "power", word],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment,
                timeout=self.timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise PowerRefused("ipmitool is not installed", hint="run: apt-get install ipmitool") from None
        except subprocess.TimeoutExpired:
            kind = PowerSilent if changes else PowerUnreachable
            raise kind(f"{self.name} did not answer within {self.timeout_s:g} s") from None
        if done.returncode == 0:
            return (done.stdout.strip().splitlines() or [""])[-1]
        raise self._trouble(f"{done.stdout}\n{done.stderr}", word, changes=changes)

    def _trouble(self, text: str, word: str, *, changes: bool) -> PowerRefused | PowerSilent | PowerUnreachable:
        lines = [line.strip(" >") for line in text.splitlines() if line.strip()]
        if any(each in text for each in _LOGIN):
            why = next(line for line in lines if any(each in line for each in _LOGIN))
            hint = "check user, password and cipher suite of the controller"
            return PowerRefused(f"{self.name} refuses the login of {self.user}: {why}", hint=hint)
        why = next((line for line in lines if "failed:" in line), "")
        if why:
            return PowerRefused(f"{self.name} refuses `chassis power {word}`: {why}")
        if not changes or any(each in text for each in _ABSENT) or "Unable to establish" in text:
            return PowerUnreachable(f"{self.name} does not answer")
        return PowerSilent(f"{self.name} gave no answer to `chassis power {word}`")
