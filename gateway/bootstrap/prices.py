"""Prices: what can be had and what it costs, as the settings say."""

from __future__ import annotations

from gateway.accounting.catalogue import Catalogue, MeterKind, SimulationUnit
from gateway.bootstrap.machine import Machine
from gateway.placement.offers import Offer
from gateway.provisioning.supply import Supplies
from gateway.service.submission import Limits
from gateway.settings import CREDIT, Settings


def offers_of(settings: Settings, machine: Machine) -> tuple[Offer, ...]:
    """What nodes can be had, from which clouds, at what price."""
    most = {size.name: size.max_nodes for size in settings.sizes}
    supplies = Supplies.of(settings)
    return tuple(
        Offer(
            name=size.name,
            provider=", ".join(supplies.clouds(size.name)),
            cores=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            max_nodes=most[size.name],
            price_ucr_per_hour=size.price_ucr_per_hour,
        )
        for size in machine.provider.sizes()
    )


def catalogue_of(settings: Settings) -> Catalogue:
    """The simulation units that jobs can be paid in."""
    units = (
        SimulationUnit(
            code=unit.code,
            title=unit.title,
            price_ucr=int(unit.credits_per_unit * CREDIT),
            meter=MeterKind(unit.meter),
            file=unit.file,
            pattern=unit.pattern,
            most_node_seconds=None if unit.node_seconds is None else int(unit.node_seconds),
        )
        for unit in settings.units
    )
    return Catalogue({unit.code: unit for unit in units})


def limits_of(settings: Settings) -> Limits:
    """How long a job may be, and is when it does not say."""
    return Limits(settings.default_time_limit_min * 60, settings.max_time_limit_min * 60)
