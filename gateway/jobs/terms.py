"""Terms: at which prices a job was quoted, so that none of them changes under it.

Invariant: what data costs is one formula, for the quote, the hold, the bill and the choice of a place alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

GB: Final = 10**9


@dataclass(frozen=True)
class Rates:
    """What a GB costs on its way, in micro-credits: an input to a node, an output back to the store."""

    in_ucr_per_gb: int = 0
    out_ucr_per_gb: int = 0

    def cost_ucr(self, in_bytes: int, out_bytes: int) -> int:
        """Of so many bytes, inputs and outputs each rounded up.

        >>> Rates(out_ucr_per_gb=90_000).cost_ucr(10**12, 1)
        1
        """
        return -(-self.in_ucr_per_gb * in_bytes // GB) + -(-self.out_ucr_per_gb * out_bytes // GB)


@dataclass(frozen=True)
class Terms:
    """Of one node for one hour, and of data."""

    node_ucr_per_hour: int = 0
    """0: the tariff's, for jobs from before prices were kept with them."""
    rates: Rates = field(default_factory=Rates)
