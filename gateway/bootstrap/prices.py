"""Prices: what can be had and what it costs, as the settings and the price book say."""

from __future__ import annotations

from gateway.accounting.catalogue import Catalogue, MeterKind, SimulationUnit
from gateway.accounting.tariff import Tariff
from gateway.bootstrap.clock import utc_now
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.price_book import BOOK_FILE, BookFile
from gateway.provisioning.prices import Prices
from gateway.provisioning.supply import Supplies
from gateway.service.placing import Placing
from gateway.service.submission import Limits
from gateway.settings import CREDIT, Settings
from gateway.work import Works


def placing_of(settings: Settings, reads: Works) -> Placing:
    """Who knows what machines cost and where jobs go."""
    book = BookFile(settings.directory / BOOK_FILE)
    prices = Prices(settings, book.read, utc_now)
    return Placing(settings, Supplies.of(settings), prices, Breakers(), reads, utc_now)


def tariff_of(settings: Settings) -> Tariff:
    """The prices of node time that are written in the settings."""
    return Tariff({size.name: size.price_ucr_per_hour for size in settings.sizes if size.price_ucr_per_hour})


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
