"""Gang: machines that one job needs together, ordered at once.

Invariant: all of them or none. A gang's token is made of its orders' tokens, so the same try has the same token and a
try with one other generation, node or supply has another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gateway.provisioning.node import TAG_CLUSTER, TAG_GANG, TAG_JOB, TAG_LEASE, TAG_OWNER, TAG_TOKEN, NodeOrder

_COMMON = (TAG_CLUSTER, TAG_JOB, TAG_OWNER, TAG_LEASE)


@dataclass(frozen=True)
class GangOrder:
    """Orders of one size, zone, market and job; machine number i of the gang, from 0, is that of ``orders[i]``.

    ``user_data`` is for a cloud that makes them with one call and so gives all the same: each machine learns its
    number from its cloud. Raises ValueError if there is no order, or if they differ in what must be the same.
    """

    orders: tuple[NodeOrder, ...]
    user_data: str

    def __post_init__(self) -> None:
        alike = {(each.cluster, each.size, each.supply, each.zone, each.market, each.job) for each in self.orders}
        if len(alike) != 1:
            raise ValueError("a gang has at least one order, and all are of one size, place and job")

    @cached_property
    def token(self) -> str:
        """Idempotency token of the whole, 32 hex digits."""
        return hashlib.sha256("\0".join(each.token for each in self.orders).encode()).hexdigest()[:32]

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags that all its machines get in the create call; whose machine is whose, their numbers tell."""
        tags = self.orders[0].tags
        return {TAG_GANG: self.token, TAG_TOKEN: self.token} | {name: tags[name] for name in _COMMON if name in tags}
