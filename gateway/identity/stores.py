"""Stores: what identity keeps of how people log in and come to be users, as one part of a transaction."""

from __future__ import annotations

from typing import Protocol

from gateway.identity.device_keys import DeviceKeyStore
from gateway.identity.factors import FactorStore
from gateway.identity.invitations import InvitationStore


class FactorStores(Protocol):
    """The part of ``gateway.work.Work`` that logins and registrations use."""

    @property
    def factors(self) -> FactorStore:
        """Second factors."""

    @property
    def device_keys(self) -> DeviceKeyStore:
        """Devices that need no code."""

    @property
    def invitations(self) -> InvitationStore:
        """One-time codes of administrators."""
