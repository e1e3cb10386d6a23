"""A site's database: a whole gateway on PostgreSQL, by one setting."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from faults import GATE, at_gate, finish, kill
from gateway_site import Site, eventually
from postgresql_server import PostgresqlServer, postgresql_server

from gateway.accounting.units import format_credits

NewSite = Callable[..., Site]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server."""
    with postgresql_server() as running:
        yield running


@pytest.mark.slow
def test_a_job_reaches_its_receipt_though_gateway_and_database_die(server: PostgresqlServer, new_site: NewSite) -> None:
    """Gateway and database are killed while the job runs; it ends once, is charged once, and no SQLite was made."""
    site = new_site(nodes="process", idle_s=5, database=server.create())
    job = site.submit('echo "$SLURM_JOB_ID" >> ran\n' + GATE)
    at_gate(site, job)

    kill(site, "gateway")
    site.up()
    server.stop()
    eventually(lambda: readiness(site)["database"].startswith("The database does not answer"), "it is not ready")
    server.start()
    eventually(lambda: readiness(site)["database"] == "ok", "it is ready again")

    done = finish(site, job)
    receipt = site.burst("receipt", str(job.id), "--json").json
    with site.work() as work:
        charged = work.receipts.of(done.burst_id).charged_ucr
        left_ucr = work.ledger.balance("demo").available_ucr
    assert done.state == "COMPLETED", done
    assert receipt["charged_ucr"] == charged > 0, receipt
    assert left_ucr == 100_000_000 - charged, format_credits(left_ucr)
    assert not (site.directory / "state.db").exists()
    assert "Traceback" not in (site.directory / "log/gateway.log").read_text()


def test_up_with_a_database_that_is_down_says_where_it_looked(tmp_path) -> None:
    """One line, before anything is fetched or started."""
    site = Site(tmp_path / "d", tmp_path / "cache")
    url = f"postgresql+psycopg://burst:secret@/gateway?host={tmp_path}"

    answer = site.burst("up", "--dir", str(site.directory), f"--set=database={url}", user=None)

    assert answer.code == 1
    said = answer.err.splitlines()[-1]
    assert f"host={tmp_path}" in said.replace("%2F", "/")
    assert "cannot be used" in said
    assert "start it, or correct the setting database" in said
    assert "secret" not in answer.err
    assert not (tmp_path / "cache").exists()


def readiness(site: Site) -> dict[str, str]:
    """What /readyz says of each thing that the gateway needs."""
    try:
        with urllib.request.urlopen(f"{site.url}/readyz", timeout=60) as answer:  # noqa: S310 - http
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    return json.loads(text)
