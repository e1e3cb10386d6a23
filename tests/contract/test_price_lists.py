"""Price lists in their providers' forms, from files and over HTTP; spot prices from an API server that speaks EC2."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from gateway.errors import CloudInvalid, InvalidRequest
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import BookFile, PriceBook
from gateway.provisioning.price_lists import members
from gateway.provisioning.price_update import PriceUpdate
from gateway.settings import CloudSettings, CloudSizeSettings, Settings

FORMS = Path(__file__).parents[1] / "forms/prices"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
ON, SPOT = Market.ON_DEMAND, Market.SPOT


def cloud(kind, region, *sizes, **other):
    """Sizes are (name, cores, GiB, GPUs); their prices come from the book."""
    known = [
        CloudSizeSettings(name=name, cores=cores, memory_mb=gib * 1024, gpus=gpus, credits_per_hour="book", max_nodes=3)
        for name, cores, gib, gpus in sizes
    ]
    return CloudSettings(name=kind, kind=kind, region=region, sizes=known, **other)


def ec2(**other):
    sizes = ("c7i.large", 2, 4, 0), ("c7i.metal-24xl", 96, 192, 0), ("i3.metal", 72, 512, 0), ("x9.new", 2, 4, 0)
    return cloud("ec2", "eu-west-2", *sizes, **other)


def azure(**other):
    return cloud("azure", "uksouth", ("Standard_D2s_v3", 2, 8, 0), ("Standard_HB120rs_v3", 120, 448, 0), **other)


def gce(**other):
    sizes = ("n2-standard-4", 4, 16, 0), ("c2-standard-8", 8, 32, 0), ("n1-standard-8", 8, 30, 1), ("n2d-x", 2, 4, 0)
    return cloud("gce", "europe-west2", *sizes, **other)


def told(book: PriceBook) -> dict[tuple[str, str, str], str]:
    """Size, zone and market → price."""
    return {(each.size, each.zone, each.market.value): str(each.price) for each in book.machines.values()}


EC2_TOLD = {("c7i.large", "", "on-demand"): "0.1060500000", ("c7i.metal-24xl", "", "on-demand"): "5.0904000000"}
AZURE_TOLD = {
    ("Standard_D2s_v3", "", "on-demand"): "0.116",
    ("Standard_D2s_v3", "", "spot"): "0.0232",
    ("Standard_HB120rs_v3", "", "on-demand"): "4.68",
}
GCE_TOLD = {
    ("n2-standard-4", "", "on-demand"): 4 * Decimal("0.040709") + 16 * Decimal("0.005458"),
    ("n2-standard-4", "", "spot"): 4 * Decimal("0.00986") + 16 * Decimal("0.001321"),
    ("c2-standard-8", "", "on-demand"): 8 * Decimal("0.04377") + 32 * Decimal("0.00586"),
}


class Shop(BaseHTTPRequestHandler):
    """Serves the lists where their providers do, page by page."""

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        self.server.asked.append((url.path, query, self.headers.get("X-Goog-Api-Key")))
        body = self._body(url.path, query)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def _body(self, path, query):
        if path.startswith("/offers/v1.0/aws/"):
            service, region = path.split("/")[4], path.split("/")[6]
            file = FORMS / f"{service}-{region}.json"
            return file.read_bytes() if file.exists() else None
        if path == "/api/retail/prices":
            first, second, third = json.loads((FORMS / "azure-retail-uksouth.json").read_text())
            if "Bandwidth" in query.get("$filter", [""])[0]:
                return json.dumps(third).encode()
            if "$skip" in query:
                return json.dumps(second).encode()
            return json.dumps({**first, "NextPageLink": f"{self.server.url}{path}?$skip=1000"}).encode()
        if path.endswith("/skus"):
            pages = json.loads((FORMS / "gce-skus-europe-west2.json").read_text())
            return json.dumps(pages[1 if query.get("pageToken") == ["two"] else 0]).encode()
        return None

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def shop() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def keys(tmp_path):
    """A gateway's directory with the credentials of all three clouds."""
    (tmp_path / "secrets").mkdir()
    facts = {"ec2": {"key": "AK", "secret": "SK"}, "gce": {"api_key": "G-KEY"}, "azure": {}}
    for name, secret in facts.items():
        (tmp_path / f"secrets/{name}.json").write_text(json.dumps(secret))
        (tmp_path / f"secrets/{name}.json").chmod(0o600)
    return tmp_path


def update(directory, one, file=None, known=None):
    asker = PriceUpdate(Settings(directory=directory, clouds=(one,)), lambda: NOW)
    return asker.of(one, known or PriceBook(), file)


def test_an_offer_file_of_ec2_is_read_from_a_file(tmp_path):
    """Linux, shared, on demand, without licences, as published; what is 0 or not in it stays unknown."""
    result = update(tmp_path, ec2(), FORMS / "AmazonEC2-eu-west-2.json")

    assert told(result.found) == EC2_TOLD
    assert result.missing == ("i3.metal", "x9.new")
    price = result.found.machine("ec2", "eu-west-2", "c7i.large", "", ON)
    assert (price.currency, price.source) == ("USD", "AWS price list AmazonEC2 20261112173005")
    assert price.as_of == datetime(2026, 11, 12, 17, 30, 5, tzinfo=UTC)


def test_the_retail_prices_of_azure_are_read_from_a_file(tmp_path):
    """Of two that fit, the dearer; Windows, reservations and low priority are not what is ordered."""
    result = update(tmp_path, azure(), FORMS / "azure-retail-uksouth.json")

    assert told(result.found) == AZURE_TOLD
    assert str(result.found.egress_of("azure", "uksouth").price) == "0.087"
    assert result.missing == ()


def test_the_catalogue_of_google_is_put_together(tmp_path):
    """Cores and memory each by their own price; a size with GPUs, or of which a part is missing, has none."""
    result = update(tmp_path, gce(), FORMS / "gce-skus-europe-west2.json")
    found = {key: Decimal(price) for key, price in told(result.found).items()}

    assert found == GCE_TOLD
    assert result.found.egress_of("gce", "europe-west2").price == Decimal("0.12")
    assert result.missing == ("n1-standard-8", "n2d-x")


def test_the_lists_are_fetched_where_their_providers_serve_them(keys):
    """All pages, machines and data; nothing secret in a URL."""
    with shop() as server:
        lists = {"price_list": server.url}
        dead = {"endpoint": "http://127.0.0.1:9"}  # spot prices: nobody there
        results = [update(keys, one) for one in (ec2(**lists, **dead), azure(**lists), gce(**lists))]

    machines = [told(result.found) for result in results]
    assert machines[0].items() >= EC2_TOLD.items()
    assert machines[1] == AZURE_TOLD
    assert {key: Decimal(price) for key, price in machines[2].items()}.items() >= GCE_TOLD.items()
    assert [str(each.price) for result in results for each in result.found.egress.values()] == [
        "0.0900000000",
        "0.087",
        "0.120000000",
    ]
    assert "it cannot be asked" in results[0].trouble
    assert [result.trouble for result in results[1:]] == ["", ""]
    assert "G-KEY" not in str([(path, query) for path, query, _ in server.asked])
    assert {key for path, _, key in server.asked if path.endswith("/skus")} == {"G-KEY"}


def test_what_cannot_be_asked_keeps_its_lines_and_libcloud_fills_in(keys):
    """An old price of libcloud's never replaces one that is known; its zeros are no prices."""
    one = cloud("ec2", "us-east-1", ("t3.small", 2, 2, 0), ("m5.large", 2, 8, 0), ("i3.metal", 72, 512, 0))
    known = BookFile(keys / "book.json")
    with shop() as server:
        one = one.model_copy(update={"price_list": server.url, "endpoint": "http://127.0.0.1:9"})
        first = update(keys, one)
        m5 = first.found.machine("ec2", "us-east-1", "m5.large", "", ON)
        known.write(PriceBook.of([m5]))
        second = update(keys, one, known=known.read())

    assert "127.0.0.1 answered 404 for its prices" in first.trouble
    assert m5.source == "libcloud's price file"
    assert m5.as_of.year >= 2025
    assert {size for size, _, _ in told(first.found)} == {"t3.small", "m5.large"}
    assert {size for size, _, _ in told(second.found)} == {"t3.small"}
    assert second.missing == ("i3.metal",)


def test_spot_prices_come_from_the_clouds_own_api(keys):
    """libcloud's EC2 driver against moto's server: a price for each zone, signed with the cloud's credential."""
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        one = cloud(
            "ec2",
            "us-east-1",
            ("m5.large", 2, 8, 0),
            endpoint=f"http://127.0.0.1:{port}",
            price_list="http://127.0.0.1:9",
        )
        result = update(keys, one)
    finally:
        server.stop()

    spot = [each for each in result.found.machines.values() if each.market is SPOT]
    assert {each.zone for each in spot} >= {"us-east-1a", "us-east-1b"}
    assert {(each.size, each.currency, str(each.price)) for each in spot} == {("m5.large", "USD", "0.00001")}
    assert result.found.machine("ec2", "us-east-1", "m5.large", "us-east-1a", SPOT).as_of.year == 2006


def test_a_book_of_the_gateways_own_form_fills_any_cloud(tmp_path):
    """For those whose prices nobody publishes; another cloud's lines in it are left alone."""
    one = cloud("openstack", "RegionOne", ("m1.large", 4, 8, 0))
    line = {"region": "RegionOne", "size": "m1.large", "market": "on-demand", "price": "0.2", "currency": "EUR"}
    line |= {"source": "the contract", "as_of": "2026-01-01T00:00:00+00:00"}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"machines": [{"cloud": c, **line} for c in ("openstack", "other")], "egress": []}))

    assert told(update(tmp_path, one, file).found) == {("m1.large", "", "on-demand"): "0.2"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"products": {}}', '{"offerCode": "x" "y"}', "nonsense"])
@pytest.mark.parametrize("one", [ec2(), azure(), gce()], ids=["ec2", "azure", "gce"])
def test_a_file_that_is_no_price_list_is_refused(tmp_path, one, text):
    """In one sentence, and the book stays as it is."""
    file = tmp_path / "list.json"
    file.write_text(text)
    with pytest.raises((CloudInvalid, InvalidRequest)) as refused:
        update(tmp_path, one, file)

    assert "\n" not in refused.value.detail


@given(
    st.dictionaries(st.text(max_size=4), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4)),
    st.integers(1, 7),
)
def test_a_stream_is_read_as_json_would_be(document, step):
    """Whatever pieces it arrives in, characters of several bytes cut through included."""
    text = json.dumps({"a": document, "b": 1}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if "\\ud" in json.dumps(document):
        return
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    found = dict(members(pieces, {("a",)}))

    assert {path[1]: value for path, value in found.items() if len(path) == 2} == document
    assert found[("b",)] == 1
