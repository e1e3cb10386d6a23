"""Quotes and offers of a whole gateway with several clouds: what was quoted is what is held, and why it was chosen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import httpx2
import pytest
from http_door import opened

from gateway import wire
from gateway.settings import CREDIT

TYPES = """\
order = "cheapest"
store_location = "campus"
currencies = { USD = 10.0 }

[[clouds]]
name = "near"
kind = "hosts"
location = "campus"
egress_credits_per_gb = 1000000.0    # a credit for 1000 bytes

[[clouds.sizes]]
name = "host"
cores = 2
memory_mb = 1024
credits_per_hour = 2.0
max_nodes = 3

[[clouds]]
name = "far"
kind = "hosts"

[[clouds.sizes]]
name = "host"
cores = 64
memory_mb = 65536
credits_per_hour = "book"
max_nodes = 3

[[sizes]]
name = "small"
cores = 2
memory_mb = 1024
credits_per_hour = 1.0
max_nodes = 2
min_nodes = 1

[[sizes]]
name = "here"
cores = 2
memory_mb = 1024
credits_per_hour = 2.0
max_nodes = 2
offers = ["near/host"]

[[sizes]]
name = "huge"
cores = 64
memory_mb = 2048
credits_per_hour = "book"
max_nodes = 2
offers = ["far/host", "far/host+spot"]
"""
SCRIPT = "#!/bin/sh\n#SBATCH --time=60\n#BURST --output-size=5M\n#BURST --stage-in=data\ncat data > copy\n"


@pytest.fixture(scope="module")
def market():
    """A gateway with those nodes; only those of this computer can be had."""
    with opened(TYPES) as door:
        yield door


@pytest.fixture(scope="module")
def demo(market):
    return market.log_in("demo")


def described(content):
    return {
        "source": "data",
        "destination": "data",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def quote(demo, content=b"", script=SCRIPT):
    """Of a job that reads so much."""
    answer = demo.send("POST", "/quotes", {"script": script, "inputs": [described(content)] if content else []})
    assert answer.status_code == 200, answer.text
    return wire.Quote.model_validate_json(answer.content)


def test_the_least_nodes_are_there_before_any_job(demo):
    """Nobody has submitted anything yet."""
    for _ in range(600):
        nodes = {node["name"]: node["state"] for node in demo.send("GET", "/nodes").json()}
        if nodes.get("small-1") == "idle":
            break
        time.sleep(0.2)

    assert nodes == {"small-1": "idle"}


def test_the_hold_is_what_the_quote_said(market, demo):
    """To the micro-credit, data included; the receipt charges what was used of both, and gives the rest back."""
    content = b"x" * 700
    facts = described(content)
    upload = demo.send("POST", "/uploads", {key: facts[key] for key in ("sha256", "size")}).json()
    httpx2.put(upload["url"], content=content).raise_for_status()
    said = quote(demo, content)
    before = demo.send("GET", "/balance").json()[0]["available_ucr"]
    job = demo.submit(SCRIPT, inputs=[facts]).json()

    assert (said.offer, said.total_ucr) == ("small", 1 * CREDIT + 700_000)
    assert (
        job["hold_ucr"] == said.total_ucr == said.balance_ucr - demo.send("GET", "/balance").json()[0]["available_ucr"]
    )
    assert before == said.balance_ucr
    assert [line.amount_ucr for line in said.lines] == [CREDIT, 700_000]

    receipt = settled(demo, job["burst_id"])
    assert receipt["held_ucr"] == said.total_ucr
    data = [line for line in receipt["lines"] if line["unit"] == "byte"]
    assert [line["amount_ucr"] for line in data] == [700_000]
    assert receipt["charged_ucr"] == sum(line["amount_ucr"] for line in receipt["lines"]) <= said.total_ucr
    assert receipt["refunded_ucr"] == said.total_ucr - receipt["charged_ucr"]


def settled(demo, job):
    """The receipt, once there is one."""
    for _ in range(600):
        answer = demo.send("GET", f"/jobs/{job}/receipt")
        if answer.status_code == 200:
            return answer.json()
        time.sleep(0.2)
    raise AssertionError(demo.send("GET", f"/jobs/{job}").text)


def test_egress_flips_the_choice_and_the_quote_says_why(demo):
    """Two credits an hour beside the data beat one credit an hour where the data must go."""
    little, much = quote(demo, b"x" * 900), quote(demo, b"x" * 1100)

    assert (little.offer, little.total_ucr) == ("small", 1_900_000)
    assert (much.offer, much.total_ucr) == ("here", 2_000_000)
    chosen, *others = much.choices
    assert (chosen.supply, chosen.chosen, chosen.compute_ucr, chosen.egress_ucr) == ("near/host", True, 2 * CREDIT, 0)
    assert chosen.why == "asked first"
    small = next(choice for choice in others if choice.supply == "local/small")
    assert (small.compute_ucr, small.egress_ucr, small.total_ucr) == (CREDIT, 1_100_000, 2_100_000)
    assert small.why.startswith("the job costs less on here")
    assert not any(choice.chosen for choice in others)


def test_what_has_no_price_is_not_sold_until_the_book_has_one(market, demo):
    """The quote and the offers say what is missing; an update by the command is seen at once."""
    big = "#!/bin/sh\n#SBATCH --time=60 --cpus-per-task=64\ntrue\n"
    refused = demo.send("POST", "/quotes", {"script": big})
    assert refused.status_code == 422
    assert "huge is left out: far/host: its price is not known: the price book does not have it" in refused.text

    line = {"cloud": "far", "region": "", "size": "host", "market": "on-demand", "price": "0.5", "currency": "USD"}
    book = market.settings.directory / "new.json"
    line |= {"source": "the contract", "as_of": datetime.now(UTC).isoformat()}
    book.write_text(json.dumps({"machines": [line], "egress": []}))
    facts = burst(
        "offers", "update", "--cloud", "far", "--from", str(book), "--json", "--dir", str(market.settings.directory)
    )
    assert json.loads(facts)["clouds"][0]["machines"] == 1

    assert quote(demo, script=big).total_ucr == 5 * CREDIT
    offers = {offer["name"]: offer for offer in demo.send("GET", "/offers").json()}
    assert offers["huge"]["price_ucr_per_hour"] == 5 * CREDIT
    known, spot = offers["huge"]["supplies"]
    assert (known["open"], known["price_source"], known["market"]) == (True, "the contract", "on-demand")
    assert (spot["open"], spot["price_ucr_per_hour"]) == (False, None)
    assert "price is not known" in spot["why"]
    log = market.log_in("admin").send("GET", "/audit?subject=cloud:far").text
    assert "offers.update" in log


def burst(*words):
    """What a command printed."""
    done = subprocess.run([sys.executable, "-m", "gateway.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
