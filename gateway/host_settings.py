"""What an administrator says of a host that is already there: where it is, and what switches its power.

Invariant: an unknown key is an error, and no secret is a setting; the controllers' passwords are in the cloud's
credential file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

_THIS_COMPUTER = ("127.0.0.1", "::1", "localhost")
_NEEDED = {"redfish": "url", "ipmi": "address", "wol": "mac"}
_KNOWN = {
    "redfish": {"url", "system", "ca_file", "verify", "sessions"},
    "ipmi": {"address", "port", "cipher"},
    "wol": {"mac", "address", "port"},
}


class PowerSettings(BaseModel):
    """What switches a host on and off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["redfish", "ipmi", "wol"]
    url: str | None = Field(
        default=None, pattern=r"^https?://[^/]+/?$", description="redfish: https://CONTROLLER[:PORT]"
    )
    system: str | None = Field(default=None, description="redfish: Id of the system; default: the only one")
    ca_file: Path | None = Field(
        default=None, description="redfish: PEM file of the certificate's authority, or of the controller's own"
    )
    verify: bool = Field(default=True, description="redfish: false takes any certificate, and so any impostor")
    sessions: bool = Field(default=True, description="redfish: false sends the password with each request")
    address: str | None = Field(
        default=None, description="ipmi: the controller's; wol: the network's broadcast address"
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="ipmi: default 623; wol: default 9")
    cipher: int = Field(default=17, ge=1, le=17, description="ipmi: cipher suite; 3 for controllers of before 2013")
    mac: str | None = Field(default=None, description="wol: of the network card that sleeps")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if getattr(self, needed := _NEEDED[self.kind]) is None:
            raise ValueError(f"{self.kind} needs {needed}")
        strange = self.model_fields_set - {"kind"} - _KNOWN[self.kind]
        if said := sorted(each for each in strange if getattr(self, each) != type(self).model_fields[each].default):
            raise ValueError(f"{self.kind} has no {said[0]}")
        parts = urlsplit(self.url or "")
        if parts.scheme == "http" and parts.hostname not in _THIS_COMPUTER:
            raise ValueError("http is for this computer only: the password would be readable; use https")
        return self

    @property
    def has_login(self) -> bool:
        """Whether it asks for user and password."""
        return self.kind != "wol"


class HostSettings(BaseModel):
    """One host that is already there and that the gateway may use as a node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    address: str = Field(min_length=1, description="IP address or name")
    port: int = Field(default=22, ge=1, le=65535, description="of its sshd")
    user: str = Field(default="root", min_length=1, description="whom to log in as; another than root needs sudo")
    host_key: str = Field(
        min_length=1, description='"ssh-ed25519 AAAA…", as ssh-keyscan prints it; another key is refused'
    )
    size: str = Field(description="the name of one of the sizes: what the host counts as")
    power: PowerSettings | None = Field(default=None, description="what switches it; none: it is always on")
    boot_s: int = Field(default=1800, ge=10, le=7200, description="most seconds from power to an answer by SSH")
    switch_off: Literal["woken", "never"] = Field(
        default="woken", description="woken: off after a lease that it was switched on for; never: it stays on"
    )
