"""The gateway that a command talks to.

Invariant: a command connects only when it runs, so help and completion need no login.
"""

from __future__ import annotations

from gateway.client.gateway import Gateway
from gateway.client.session import Session


def connected() -> Gateway:
    """The gateway of the kept login. Raises NotAllowed when there is none."""
    return Gateway(Session.saved())
