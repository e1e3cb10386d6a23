"""The price book and what it comes to in credits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Price, PriceUnknown, SetupError
from gateway.jobs.terms import Rates
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import BookFile, EgressPrice, MachinePrice, PriceBook
from gateway.provisioning.prices import Prices
from gateway.provisioning.supply import Supply
from gateway.settings import CloudSettings, CloudSizeSettings, Settings, SizeSettings

DAY = datetime(2026, 1, 1, tzinfo=UTC)
ON, SPOT = Market.ON_DEMAND, Market.SPOT


def price(amount="0.1", *, zone="", market=ON, size="big", as_of=DAY, currency="USD"):
    return MachinePrice("far", "r", size, market, Decimal(amount), currency, "a list", as_of, zone)


prices = st.builds(
    price,
    st.decimals(0, 10**6, places=10).map(str),
    zone=st.sampled_from(["", "a", "b"]),
    market=st.sampled_from(Market),
    size=st.sampled_from(["big", "small"]),
    as_of=st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(prices))
def test_a_book_is_read_as_it_was_written(tmp_path_factory, found):
    """To the last decimal; what is not positive is not in it."""
    file = BookFile(tmp_path_factory.mktemp("book") / "price-book.json")
    book = PriceBook.of(found)
    file.write(book)

    assert file.read() == book
    assert all(each.price > 0 for each in book.machines.values())


def test_a_price_is_one_line_of_the_file(tmp_path):
    """People read it, and compare it with the one before."""
    file = BookFile(tmp_path / "price-book.json")
    file.write(
        PriceBook.of(
            [price(), price(zone="a", market=SPOT)], [EgressPrice("far", "r", Decimal("0.09"), "USD", "x", DAY)]
        )
    )
    lines = [line for line in (tmp_path / "price-book.json").read_text().splitlines() if "price" in line]

    assert len(lines) == 3
    assert json.loads(lines[0].strip().rstrip(","))["as_of"] == "2026-01-01T00:00:00+00:00"


def test_an_update_is_seen_and_no_book_is_an_empty_one(tmp_path):
    """Without a restart."""
    file = BookFile(tmp_path / "price-book.json")
    assert file.read() == PriceBook()
    BookFile(tmp_path / "price-book.json").write(PriceBook.of([price()]))

    assert file.read().machine("far", "r", "big", "", ON) == price()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"machines": [{"cloud": "x"}], "egress": []}', "\x00"])
def test_what_is_no_book_is_refused_by_its_name(tmp_path, text):
    """With what to do."""
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(SetupError, match=r"b\.json") as refused:
        BookFile(tmp_path / "b.json").read()

    assert "offers update" in refused.value.hint


def test_a_zone_has_its_own_price_or_that_of_the_region():
    """Where the cloud chooses the zone, the dearest counts."""
    book = PriceBook.of([price("0.3"), price("0.1", zone="a", market=SPOT), price("0.2", zone="b", market=SPOT)])

    def of(zone, market):
        found = book.machine("far", "r", "big", zone, market)
        return found and str(found.price)

    assert (of("a", ON), of("", ON), of("a", SPOT), of("", SPOT), of("c", SPOT)) == ("0.3", "0.3", "0.1", "0.2", None)


def test_of_two_prices_the_later_counts_and_an_update_replaces_the_rest():
    """A newer book wins even where it is dated earlier: somebody asked for it."""
    older, newer = price("0.1"), price("0.2", as_of=DAY + timedelta(days=1))
    assert PriceBook.of([newer, older]).machine("far", "r", "big", "", ON) == newer

    book = PriceBook.of([newer, price(size="small")]).with_(PriceBook.of([older]))
    assert book.machine("far", "r", "big", "", ON) == older
    assert book.machine("far", "r", "small", "", ON) is not None


BIG = CloudSizeSettings(name="big", cores=2, memory_mb=2048, credits_per_hour="book", max_nodes=9)
DEAR = BIG.model_copy(update={"name": "dear", "credits_per_hour": 7.0, "spot_credits_per_hour": 2.5})
SIZE = SizeSettings(name="small", cores=2, memory_mb=1024, credits_per_hour=9, max_nodes=9)


def known(tmp_path, *machines, egress=(), now=DAY, **settings):
    clouds = (
        CloudSettings(name="far", kind="ec2", region="r", sizes=(BIG, DEAR)),
        CloudSettings(name="twin", kind="ec2", region="r", location="far", sizes=(BIG,), egress_credits_per_gb=4),
        CloudSettings(name="free", kind="ec2", region="r", sizes=(BIG,), egress_credits_per_gb=0),
    )
    facts = {"currencies": {"USD": 12.5}, "clouds": clouds, "sizes": (SIZE,), **settings}
    book = PriceBook.of(machines, egress)
    return Prices(Settings(directory=tmp_path, **facts), lambda: book, lambda: now)


def test_prices_come_from_the_settings_or_from_the_book_at_the_sites_rate(tmp_path):
    """A fraction of a micro-credit counts as a whole one."""
    found = known(tmp_path, price("0.12345678"), price("0.04", market=SPOT))
    names = (
        "local/small",
        "far/dear",
        "far/dear+spot",
        "far/big@z",
        "far/big+spot",
        "twin/big",
        "gone/big",
        "far/gone",
    )

    assert [found.machine(Supply(name)).ucr for name in names] == [
        9_000_000,
        7_000_000,
        2_500_000,
        1_543_210,
        500_000,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(("cap", "error"), [(1_250_000, None), (1_249_999, Price), (None, None)])
def test_a_cap_is_the_most_that_is_paid(tmp_path, cap, error):
    """At the cap it is paid."""
    refusal = known(tmp_path, price("0.1")).refusal(Supply("far/big", cap_ucr=cap))

    assert type(refusal) is (error or type(None))
    assert isinstance(known(tmp_path).refusal(Supply("far/big", cap_ucr=cap)), PriceUnknown)


def test_an_old_price_is_warned_of_and_still_counts(tmp_path):
    """How old it may be is a setting."""
    found = known(tmp_path, price(), now=DAY + timedelta(days=31))
    tag = found.machine(Supply("far/big"))

    assert tag.ucr
    assert tag.warning == "its price is 31 days old; burst offers update --cloud far"
    assert not known(tmp_path, price(), now=DAY + timedelta(days=30)).machine(Supply("far/big")).warning


@pytest.mark.parametrize(
    ("store", "supply", "rates"),
    [
        ("local", "local/small", Rates()),
        ("local", "far/big", Rates(0, 1_000_000)),
        ("local", "free/big", Rates()),
        ("far", "far/big", Rates()),
        ("far", "twin/big", Rates()),
        ("far", "free/big", Rates(4_000_000, 0)),
        ("far", "local/small", Rates(4_000_000, 0)),
        ("free", "far/big", Rates(0, 1_000_000)),
    ],
)
def test_data_costs_where_it_leaves_a_cloud(tmp_path, store, supply, rates):
    """Inputs leave the store's place, outputs the machine's; within one place they are free, as is the site's own."""
    egress = [EgressPrice("far", "r", Decimal("0.08"), "USD", "a list", DAY)]

    assert known(tmp_path, egress=egress, store_location=store).rates(Supply(supply)) == rates
