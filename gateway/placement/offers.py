"""Offer: one kind of machine that can be had, from whom and for how much.

Invariant: names are unique among the offers of a gateway; a price of 0 means that it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """A size of one provider. Memory in MiB a node, price in micro-credits for one node for one hour."""

    name: str
    provider: str
    cores: int
    memory_mb: int
    gpus: int
    max_nodes: int
    price_ucr_per_hour: int
    gpu_type: str = ""
