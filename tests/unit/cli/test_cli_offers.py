"""burst offers and quote: every supply with its price and date, what is shut and why, and what was considered."""

from __future__ import annotations

import json

import pytest
from stub_gateway import quote_view

from gateway.cli import offers

SUPPLY = {
    "name": "aws/c7i.large@eu-2a+spot",
    "cloud": "aws",
    "size": "c7i.large",
    "zone": "eu-2a",
    "market": "spot",
    "bare_metal": False,
    "price_ucr_per_hour": 400_000,
    "price_source": "EC2 spot price history eu-2",
    "price_as_of": "2026-01-05T12:00:00Z",
    "warning": "its price is 40 days old; burst offers update --cloud aws",
    "open": False,
    "why": "no room",
    "until": "2026-02-14T12:00:00Z",
    "in_use": 1,
    "max_nodes": 5,
    "in_ucr_per_gb": 0,
    "out_ucr_per_gb": 900_000,
}
UNKNOWN = {**SUPPLY, "name": "aws/c7i.metal", "market": "on-demand", "bare_metal": True, "price_ucr_per_hour": None}
UNKNOWN |= {"price_as_of": None, "price_source": "settings", "warning": "", "until": None, "why": "no price"}
OFFER = {
    "name": "small",
    "provider": "aws",
    "cores": 2,
    "memory_mb": 1024,
    "gpus": 1,
    "gpu_type": "a100",
    "max_nodes": 9,
    "in_use": 1,
    "price_ucr_per_hour": 2_000_000,
    "supplies": [SUPPLY, UNKNOWN],
}
CHOICE = {
    "offer": "small",
    "supply": "aws/c7i.large+spot",
    "cloud": "aws",
    "zone": "",
    "market": "spot",
    "nodes": 2,
    "price_ucr_per_hour": 400_000,
    "compute_ucr": 800_000,
    "egress_ucr": 90_000,
    "total_ucr": 890_000,
    "chosen": True,
    "why": "asked first",
}
TOO_SMALL = {**CHOICE, "supply": "local/tiny", "nodes": 0, "chosen": False, "why": "the job does not fit"}


def test_offers_show_each_supply_with_its_price_date_and_breaker(burst, stub):
    """One line each; the size is named once; an old price is warned of on stderr."""
    stub.on("GET /api/v1/offers", (200, [OFFER]))
    ran = burst("offers")
    head, first, second = ran.out.splitlines()

    assert head.split()[:2] == ["OFFER", "NODES"]
    assert first.startswith("small  2 cores, 1024 MiB, 1 a100 GPUs  2.000000 cr  aws/c7i.large@eu-2a  ")
    assert "spot       0.400000 cr  2026-01-05       1        5  shut until 2026-02-14" in first
    assert first.endswith(": no room")
    words = "aws/c7i.metal (bare metal) on-demand not known settings 1 5 shut: no price"
    assert second.split() == words.split()
    assert ran.err.count("\n") == 1
    assert "40 days old" in ran.err


def test_offers_are_json_for_programs(burst, stub):
    """All that the gateway said."""
    stub.on("GET /api/v1/offers", (200, [OFFER]))
    (offer,) = json.loads(burst("offers", "--json").out)

    assert offer["supplies"][1]["price_ucr_per_hour"] is None
    assert offer["supplies"][0]["zone"] == "eu-2a"


def test_a_size_that_is_not_sold_says_so(burst, stub):
    """Nothing of it may be ordered now."""
    stub.on("GET /api/v1/offers", (200, [{**OFFER, "price_ucr_per_hour": 0}]))

    assert "not sold now" in burst("offers").out


def test_quote_shows_what_was_considered(burst, stub, here):
    """Machines and data apart, the chosen one marked, and why each other one is not."""
    (here / "job.sh").write_text("#!/bin/sh\ntrue\n")
    stub.on("POST /api/v1/quotes", (200, {**quote_view(), "choices": [CHOICE, TOO_SMALL]}))
    chosen, other = burst("quote", "job.sh").out.splitlines()[-2:]

    words = "* small aws/c7i.large spot 2 0.400000 cr 0.800000 cr 0.090000 cr 0.890000 cr asked first"
    assert chosen.split() == words.split()
    assert other.split() == ["small", "local/tiny", "spot", "0.400000", "cr", "the", "job", "does", "not", "fit"]
    assert json.loads(burst("quote", "--json", "job.sh").out)["choices"][0]["egress_ucr"] == 90_000


@pytest.mark.parametrize(
    ("cloud", "code", "words"),
    [
        ({"missing": [], "trouble": ""}, 0, ""),
        ({"missing": ["i3.metal"], "trouble": ""}, 1, "no price of i3.metal: never ordered"),
        ({"missing": [], "trouble": "it cannot be asked"}, 1, "aws: it cannot be asked"),
    ],
)
def test_an_update_says_what_it_found_and_what_is_missing(burst, monkeypatch, tmp_path, cloud, code, words):
    """The exit code tells whether all is known."""
    called = []
    facts = {"cloud": "aws", "machines": 3, "egress": 1, "sources": ["AWS price list"], "oldest": None, **cloud}

    def bootstrap(verb, directory, more, *, progress):
        called.append((verb, str(directory), tuple(more)))
        progress("asking")
        return {"book": "price-book.json", "clouds": [facts]}

    monkeypatch.setattr(offers, "bootstrap", bootstrap)
    ran = burst("offers", "update", "--cloud", "aws", "--dir", str(tmp_path))

    assert called == [("offers-update", str(tmp_path), ("--cloud", "aws"))]
    assert ran.code == code
    assert "aws: 3 prices of machines, 1 of data (AWS price list)" in ran.out
    assert words in ran.err
    assert json.loads(burst("offers", "update", "--json", "--dir", str(tmp_path)).out)["clouds"] == [facts]
