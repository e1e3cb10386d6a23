"""Prices: what can be had and what it costs, as the settings and the price book say."""

from __future__ import annotations

from functools import partial

from gateway.accounting.catalogue import Catalogue, MeterKind, SimulationUnit
from gateway.accounting.tariff import Tariff
from gateway.bootstrap.clock import utc_now
from gateway.errors import BurstError, NotFound
from gateway.jobs.job import JobRequest
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.price_book import BOOK_FILE, BookFile
from gateway.provisioning.prices import Prices
from gateway.provisioning.supply import Supplies
from gateway.route import Ports
from gateway.service.placing import Placing
from gateway.service.submission import Limits
from gateway.settings import CREDIT, Settings


def placing_of(settings: Settings, ports: Ports) -> Placing:
    """Who knows what machines cost and where jobs go."""
    book = BookFile(settings.directory / BOOK_FILE)
    prices = Prices(settings, book.read, utc_now)
    return Placing(settings, Supplies.of(settings), prices, Breakers(), partial(_request_of, ports), utc_now)


def _request_of(ports: Ports, job_id: int) -> JobRequest | None:
    """Of Slurm's job; a task of an array has an id of its own, and Slurm knows whose it is."""
    try:
        with ports.reads() as work:
            return work.jobs.by_scheduler_id(job_id).request
    except NotFound:
        pass
    try:
        token = next((task.token for task in ports.engine.job(job_id)), "")
        with ports.reads() as work:
            return work.jobs.get(token).request
    except BurstError:
        return None


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
