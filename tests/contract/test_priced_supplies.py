"""What a machine costs and what data costs decide where a node is ordered; what has no price is never ordered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from test_provision import Cloud, Site

from gateway.errors import Capacity, Price
from gateway.jobs.job import BurstOptions, JobRequest, Resources, StageIn
from gateway.provisioning.breakers import RULES, Breakers
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import BookFile, EgressPrice, MachinePrice, PriceBook
from gateway.provisioning.prices import Prices
from gateway.provisioning.supply import Supplies
from gateway.service.placing import Placing
from gateway.settings import CloudSettings, CloudSizeSettings, Settings, SizeSettings

DAY = datetime(2026, 1, 1, tzinfo=UTC)
BIG = CloudSizeSettings(name="big", cores=2, memory_mb=2048, credits_per_hour="book", max_nodes=9)
FAR = CloudSettings(name="far", kind="ec2", region="r", location="there", sizes=(BIG,))
NEAR = CloudSettings(name="near", kind="ec2", region="r", location="here", sizes=(BIG,))
GB = 10**9


def priced(cloud="far", price="0.1", market=Market.ON_DEMAND, zone="", **other):
    """A line of the price book."""
    facts = {"currency": "USD", "source": "a list", "as_of": DAY, **other}
    return MachinePrice(cloud, "r", "big", market, Decimal(price), zone=zone, **facts)


def egress(cloud="far", price="0.09"):
    return EgressPrice(cloud, "r", Decimal(price), "USD", "a list", DAY)


def request(*, input_bytes=0, output_bytes=0, **options):
    """A job of an hour."""
    files = (StageIn("x", "x", size=input_bytes),) if input_bytes else ()
    burst = BurstOptions(stage_in=files, output_bytes=output_bytes)
    return JobRequest("j", "#!/bin/sh\n", (), options, Resources(), burst)


class Market2(Site):
    """Nodes of one size that may come from two clouds, at the prices of a price book."""

    def __init__(self, url, directory, *offers, **settings):
        super().__init__(url)
        self.far, self.near = Cloud("far"), Cloud("near")
        self.book = BookFile(directory / "price-book.json")
        size = {"name": "small", "cores": 2, "memory_mb": 1024, "credits_per_hour": 9, "max_nodes": 9}
        size |= {key: settings.pop(key) for key in ("max_credits_per_hour",) if key in settings}
        facts = {"currencies": {"USD": 10}, "order": "cheapest", "clouds": (FAR, NEAR), **settings}
        self.settings = Settings(directory=directory, sizes=(SizeSettings(**size, offers=offers),), **facts)
        self.jobs = {}
        prices = Prices(self.settings, self.book.read, lambda: self.now)
        breakers = Breakers()
        self.placing = Placing(
            self.settings,
            Supplies.of(self.settings),
            prices,
            breakers,
            self.jobs.get,
            lambda: self.now,
        )
        self.router = CloudRouter(self.cloud, {"far": self.far, "near": self.near})
        self.provisioner = replace(
            self.provisioner,
            provider=self.router,
            supplies=Supplies.of(self.settings, self.placing),
            breakers=breakers,
        )

    def order(self, name="small-1", job=None):
        """Slurm asks for a node, for this job."""
        if job is not None:
            with self.fleet() as fleet:
                fleet.note(fleet.get(name), job=job)
        self.provisioner.want([name])
        for _ in range(2):
            listing = Listing({cloud: self.router.machines_at(cloud, "c") for cloud in self.router.clouds})
            for node in self.nodes():
                self.provisioner.step(node, listing.of(node), frozenset({"IDLE", "CLOUD", "POWERED_DOWN"}))
        return self.node(name)

    def write(self, *machines, egress=()):
        self.book.write(PriceBook.of(machines, egress))


@pytest.fixture
def market(sqlite_url, tmp_path):
    """Makes a market and closes it."""
    opened = []

    def make(*offers, **settings):
        opened.append(Market2(sqlite_url(), tmp_path, *offers, **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.database.close()


@pytest.mark.parametrize(
    ("book", "why"),
    [
        ((), "the price book does not have it; burst offers update --cloud far"),
        ((priced(price="0"),), "the price book does not have it"),
        ((priced(currency="EUR"),), "it is in EUR, and the setting currencies does not say"),
        ((priced(market=Market.SPOT),), "the price book does not have it"),
        ((priced(cloud="near"),), "the price book does not have it"),
    ],
)
def test_what_has_no_price_is_never_ordered(market, book, why):
    """Unknown, zero, in another currency, of another market or cloud: no call, and the node says what is missing."""
    site = market("far/big")
    site.write(*book)
    node = site.order()
    for _ in range(3):
        site.now += timedelta(seconds=11)
        node = site.order()

    assert site.far.live == {}
    assert next(site.far.ids) == 0
    assert node.state is NodeState.CAPACITY_BLOCKED
    assert node.reason.startswith(f"far/big: its price is not known: {why}")
    assert not site.slurm.failed_nodes


def test_a_broken_book_orders_nothing(market, tmp_path):
    """A file that cannot be read is as good as none, and the node says so."""
    site = market("far/big")
    (tmp_path / "price-book.json").write_text("{")

    assert "cannot be read" in site.order().reason
    assert site.far.live == {}


def test_a_price_that_is_learnt_later_lets_the_node_start(market):
    """An update of the book needs no restart."""
    site = market("far/big")
    site.order()
    site.write(priced())
    site.now += timedelta(seconds=11)

    assert site.order().supply == "far/big"


def test_what_is_dearer_than_its_cap_is_never_ordered(market):
    """The next supply is asked; at the cap itself it may be."""
    site = market("far/big", "near/big", max_credits_per_hour=1, order="listed")
    site.write(priced(price="0.11"), priced("near", "0.10"))
    node = site.order()

    assert node.supply == "near/big"
    assert site.far.live == {}


def test_an_order_of_unknown_outcome_is_repeated_though_its_price_is_gone(market):
    """It may have made a machine: to ask elsewhere might make a second one."""
    site = market("far/big", "near/big")
    site.write(priced(), priced("near", "0.2"))
    site.far.fault = "lost reply"
    assert site.order().supply == "far/big"
    site.write(priced("near", "0.2"))
    for _ in range(3):
        site.now += timedelta(seconds=11)
        node = site.order()

    assert (len(site.far.live), len(site.near.live)) == (1, 0)
    assert node.supply == "far/big"


def test_a_dearer_zone_is_taken_only_after_the_cheaper_one_refused(market):
    """Whatever the order of the list; and again while the cheaper one's breaker is open, not any more afterwards."""
    site = market({"cloud": "far", "size": "big", "zones": ("a", "b")})
    site.write(priced(price="0.3", zone="a"), priced(price="0.2", zone="b"))
    taken = [site.order("small-1").supply]
    site.far.fault = "capacity"
    taken.append(site.order("small-2").supply)
    site.now += RULES[Capacity].first
    taken.append(site.order("small-3").supply)

    assert taken == ["far/big@b", "far/big@a", "far/big@b"]
    with site.fleet() as fleet:
        told = [event.text for event in fleet.timeline("small-2") if event.kind == "requested"]
    assert told == ["asking for far/big@b", "asking for far/big@a"]


def test_listed_order_is_kept_where_it_is_asked_for(market):
    """The dearer one is listed first."""
    site = market("far/big", "near/big", order="listed")
    site.write(priced(price="0.3"), priced("near", "0.2"))

    assert site.order().supply == "far/big"


@pytest.mark.parametrize(
    ("job", "supply"),
    [
        (request(), "far/big"),
        (request(input_bytes=GB), "far/big"),
        (request(input_bytes=2 * GB), "near/big"),
        (request(output_bytes=GB), "far/big"),
        (request(output_bytes=2 * GB), "near/big"),
    ],
)
def test_egress_flips_the_choice(market, job, supply):
    """An hour there costs 1 credit and here 2: 0.9 for a GB to or from there pays for one GB, and not for two."""
    site = market("near/big", "far/big", store_location="here")
    site.write(priced(), priced("near", "0.2"), egress=(egress("far"), egress("near")))
    site.jobs[7] = job

    assert site.order(job=7).supply == supply


def test_spot_comes_first_for_a_job_that_allows_it(market):
    """With on-demand after it; a job that may not run twice gets on-demand at once."""
    site = market({"cloud": "far", "size": "big", "market": "spot-first"}, order="listed")
    site.write(priced(price="0.3"), priced(price="0.1", market=Market.SPOT))
    site.jobs |= {1: request(), 2: request(**{"no-requeue": ""})}
    taken = [site.order("small-1", 1).supply, site.order("small-2", 2).supply]
    site.far.fault = "capacity"
    taken.append(site.order("small-3", 1).supply)

    assert taken == ["far/big+spot", "far/big", "far/big"]


def test_a_limit_counts_all_zones_and_markets_together(market):
    """Nine of the size may be used, wherever: the tenth is not ordered."""
    one = BIG.model_copy(update={"max_nodes": 1})
    clouds = (FAR.model_copy(update={"sizes": (one,)}),)
    site = market({"cloud": "far", "size": "big", "zones": ("a", "b")}, clouds=clouds)
    site.write(priced())
    site.order("small-1")

    assert site.order("small-2").state is NodeState.CAPACITY_BLOCKED
    assert len(site.far.live) == 1


def test_a_cloud_that_asks_for_more_than_was_offered_is_left_alone_for_a_while(market):
    """The class price has a breaker of its own, for the one supply."""
    site = market("far/big", "near/big")
    site.write(priced(), priced("near", "0.2"))
    (supply, other) = site.placing.listed.listed("small")
    site.placing.breakers.trip(supply, Price("the spot price is higher than offered"), site.now)

    assert site.order().supply == "near/big"
    assert site.placing.shut(other) is None
    site.now += RULES[Price].first
    assert site.placing.shut(supply) is None
