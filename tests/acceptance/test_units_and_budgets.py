"""Money that a researcher understands: jobs paid by the simulation unit, budgets that refuse and stop, and reports.

One gateway with process nodes for all of them; the metered program is the Ising example as it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from faults import kill
from gateway_site import Site, eventually

from gateway.accounting.ledger import REVENUE
from gateway.engines.run import Place
from gateway.route import Ports, billing
from gateway.staging.stage_out import merged
from gateway.wire import JobView, Receipt

ISING = Path(__file__).resolve().parents[2] / "examples/ising-array"
SWEEP_UCR = 10
LONG = """#SBATCH --time=5 --output=long.out
#BURST --stage-in=ising.py --units=mc.sweep@v1:{order}
export OPENBLAS_NUM_THREADS=1
python3 ising.py 2.1 1946 long.json {sweeps}
"""


@pytest.fixture(scope="module")
def site(module_site: Callable[..., Site]) -> Site:
    """Process nodes that stay for the next job."""
    return module_site(nodes="process", idle_s=60)


def receipt_of(site: Site, job: JobView, user: str = "demo") -> Receipt:
    """A settled job's bill."""
    with site.login(user) as gateway:
        return gateway.receipt(job.burst_id)


def credits_of(amount_ucr: int) -> str:
    """As the command takes them."""
    return f"{amount_ucr // 10**6}.{amount_ucr % 10**6:06d}"


def printed(site: Site, job: JobView, user: str = "demo") -> int:
    """The last number of sweeps that the job's staged-out stdout has."""
    with site.login(user) as gateway:
        return int(([0, *re.findall(r"^sweeps (\d+)", gateway.logs(job.burst_id), re.MULTILINE)])[-1])


def begin_long(site: Site, user: str, *, order: int = 500_000, sweeps: int = 500_000) -> JobView:
    """Minutes of sweeps, seen to be under way."""
    job = site.submit(LONG.format(order=order, sweeps=sweeps), user=user, directory=ISING)
    eventually(lambda: printed(site, job, user) > 0, "sweeps printed")
    return job


def test_sweeps_are_quoted_delivered_and_charged_at_their_price(site: Site) -> None:
    """Given the example that orders 10000 sweeps, the quote is its price, and the receipt shows what was metered."""
    quote = site.burst("quote", "--json", "by-sweep.sh", cwd=ISING)
    shown = site.burst("quote", "by-sweep.sh", cwd=ISING)
    wider = site.burst("quote", "--json", "--mem=3000", "by-sweep.sh", cwd=ISING)

    answer = site.burst("submit", "--parsable", "by-sweep.sh", cwd=ISING)
    assert answer.code == 0, answer.err
    with site.login() as gateway:
        job = site.finish(gateway.job(answer.out.strip()))
    bill = receipt_of(site, job)

    assert quote.json["total_ucr"] == wider.json["total_ucr"] == 10_000 * SWEEP_UCR
    assert (quote.json["offer"], wider.json["offer"]) == ("small", "large")
    assert "10000 Monte Carlo sweeps at most, 0.00001 credits each" in shown.out
    assert (job.state, printed(site, job)) == ("COMPLETED", 10_000)
    ((line,), held, charged) = bill.lines, bill.held_ucr, bill.charged_ucr
    assert (line.quantity, line.unit, held, charged) == (10_000, "mc.sweep@v1", 100_000, 100_000)
    assert "mc.sweep@v1" in site.burst("receipt", str(job.id)).out


def test_a_cancelled_job_pays_for_what_it_delivered(site: Site) -> None:
    """Given a job that was ended half-way, the charge is the sweeps in its own staged-out output times their price."""
    user = site.add_user("half")
    job = begin_long(site, user)

    with site.login(user) as gateway:
        gateway.cancel(job.burst_id)
    ended = site.finish(job, user)
    bill = receipt_of(site, job, user)

    delivered = printed(site, ended, user)
    assert ended.state == "CANCELLED"
    assert 0 < delivered < 500_000
    assert bill.charged_ucr == delivered * SWEEP_UCR
    assert bill.refunded_ucr == bill.held_ucr - bill.charged_ucr


def test_each_task_of_an_array_is_metered_by_itself(site: Site) -> None:
    """Given tasks that deliver 0, 1, 2 and 9 of 4, each pays its own, and the last no more than was ordered."""
    script = """#SBATCH --array=0-3 --time=1
#BURST --units=mc.sweep@v1:4
case $SLURM_ARRAY_TASK_ID in 0) echo none;; 3) echo sweeps 9;; *) echo "sweeps $SLURM_ARRAY_TASK_ID.9";; esac
"""
    job = site.finish(site.submit(script))
    bill = receipt_of(site, job)

    assert bill.held_ucr == 4 * 4 * SWEEP_UCR
    assert [int(line.quantity) for line in bill.lines] == [0, 1, 2, 4]
    assert bill.charged_ucr == 7 * SWEEP_UCR


def test_a_run_that_fails_is_not_charged(site: Site) -> None:
    """A unit for a good end: exit code 3 delivers none, 0 one."""
    jobs = [site.submit(f"#SBATCH --time=1\n#BURST --units=run@v1:1\nexit {code}") for code in (3, 0)]

    charged = [receipt_of(site, site.finish(job)).charged_ucr for job in jobs]

    assert charged == [0, 50_000]


def test_output_that_was_changed_in_the_store_counts_for_nothing(site: Site) -> None:
    """Given stdout that is longer in the store than what was staged out, the meter believes none of it, and says so."""
    job = site.finish(site.submit("#SBATCH --time=1\n#BURST --units=mc.sweep@v1:1000\necho sweeps 7"))
    with site.work() as work:
        (attempt,) = work.jobs.attempts(job.burst_id)
        ((entry,),) = [merged(attempt, work.jobs.parts(attempt)).entries]
        kept = work.jobs.get(job.burst_id)
    ports = cast(
        "Ports", SimpleNamespace(reads=site.work, store=site.store, place=Place(site.machine.job_directory, None))
    )

    before = billing(kept, ports, datetime.now(UTC))
    site.store.put_bytes(attempt.prefix + entry.key, b"sweeps 7\nsweeps 900\n")
    after = billing(kept, ports, datetime.now(UTC))

    assert before.charged_ucr == receipt_of(site, job).charged_ucr == 7 * SWEEP_UCR
    assert after.charged_ucr == 0
    assert "is not what was staged out" in after.lines[0].text


def test_a_budget_refuses_what_does_not_fit(site: Site) -> None:
    """Given a budget of a tenth of a credit, a job that may cost more is refused with the figures and holds nothing."""
    user = site.add_user("frugal")
    script = "#SBATCH --time=1\n#BURST --units=mc.sweep@v1:{}\necho sweeps 1"
    assert site.burst("budget", "set", user, "--limit", "0.1", user=user).code == 0

    first = site.submit(script.format(6_000), "--hold", user=user)
    refused = site.burst("submit", stdin="#!/bin/sh\n" + script.format(6_000), user=user)
    with site.login(user) as gateway:
        gateway.cancel(first.burst_id)
    site.finish(first, user)
    again = site.submit(script.format(9_000), user=user)

    assert refused.code == 1
    assert f"The budget of account {user} is 0.1 credits: 0 credits spent, 0.06 credits held" in refused.complaint
    assert "burst budget set" in refused.complaint
    site.finish(again, user)
    assert site.rows("SELECT count(*) FROM holds WHERE account = ?", user) == [(2,)]
    (view,) = site.burst("budget", "--json", user=user).json
    assert (view["charged_ucr"], view["held_ucr"]) == (SWEEP_UCR, 0)


def test_a_user_does_not_change_the_budget_that_an_administrator_set(site: Site) -> None:
    """Their own they may; that of another account nobody but an administrator may."""
    user = site.add_user("tied")
    assert site.burst("budget", "set", user, "--limit", "5", user="admin").code == 0

    raised = site.burst("budget", "set", user, "--limit", "500", user=user)
    removed = site.burst("budget", "remove", user, user=user)
    foreign = site.burst("budget", "set", "demo", "--limit", "1", user=user)

    assert [answer.code for answer in (raised, removed, foreign)] == [1, 1, 1]
    assert "set by an administrator" in raised.complaint
    assert "may not set the budget" in foreign.complaint
    assert [one["account"] for one in site.burst("budget", "--json", user=user).json] == [user]


@pytest.mark.parametrize("paid", ["units", "node-seconds"])
def test_a_budget_that_stops_ends_running_jobs(site: Site, paid: str) -> None:
    """Given a running job, when what it used reaches the budget, it is ended, keeps its outputs and pays for it."""
    user = site.add_user(f"stopped-{paid}")
    if paid == "units":
        job = begin_long(site, user)
        limit_ucr = (printed(site, job, user) + 500) * SWEEP_UCR
    else:
        job = site.submit("echo begun | tee kept.txt; exec sleep 300", "--time=10", user=user)
        site.reach(job, "RUNNING", user)
        limit_ucr = 2_000
    limit = credits_of(limit_ucr)
    # Also jobs that were submitted before the budget was set are its own.
    assert site.burst("budget", "set", user, "--limit", limit, "--stop", "--since", "2026-01-01", user=user).code == 0

    ended = site.finish(job, user)
    bill = receipt_of(site, job, user)
    shown = site.burst("job", str(job.id), user=user)
    # What Slurm's whole seconds left of it is taken back, so that nothing at all is left.
    assert site.burst("budget", "set", user, "--limit", credits_of(bill.charged_ucr), "--stop", user=user).code == 0
    refused = site.burst("submit", "--wrap", "true", user=user)

    assert ended.state == "CANCELLED"
    assert f"the budget of account {user}" in ended.reason
    assert "is used up" in shown.out
    # Slurm cuts its times to whole seconds: the bill may be a second shorter than what had run.
    assert limit_ucr - (0 if paid == "units" else 334) <= bill.charged_ucr < bill.held_ucr
    with site.login(user) as gateway:
        assert gateway.outputs(job.burst_id).files
    assert refused.code == 1
    assert "budget" in refused.complaint


def test_a_report_is_the_ledger(site: Site) -> None:
    """To the micro-credit: all of it for an administrator, an account's own for its user, however it is grouped."""
    eventually(lambda: site.rows("SELECT count(*) FROM holds WHERE state = 'open'") == [(0,)], "all settled")
    ((revenue,),) = site.rows("SELECT sum(amount_ucr) FROM ledger_entries WHERE account = ?", REVENUE)
    ((own,),) = site.rows(
        "SELECT sum(charged_ucr) FROM holds WHERE account = 'demo' AND state = 'settled'",
    )
    for by in (["month"], ["account", "user"], ["user", "month"]):
        words = [word for one in by for word in ("--by", one)]
        report = site.burst("report", *words, "--json", user="admin").json
        assert report["spend_ucr"] == revenue == sum(row["spend_ucr"] for row in report["rows"])
    mine = site.burst("report", "--by", "account", "--json").json
    rows = list(csv.DictReader(io.StringIO(site.burst("report", "--by", "user", "--csv", user="admin").out)))
    shown = site.burst("report", "--by", "account", user="admin").out

    assert ([row["keys"] for row in mine["rows"]], mine["spend_ucr"]) == ([["demo"]], own)
    assert sum(int(row["spend_ucr"]) for row in rows) == revenue
    assert any("mc.sweep@v1=" in row["units"] for row in rows)
    assert "█" in shown
    assert "Total" in shown


def test_a_new_price_does_not_change_what_was_quoted(site: Site) -> None:
    """Given a job under way, when the gateway comes back with sweeps ten times dearer, then it pays the old price."""
    user = site.add_user("early")
    job = begin_long(site, user)
    dearer = (
        '[{code = "mc.sweep@v1", title = "sweeps", credits_per_unit = "0.0001", meter = "last", '
        'pattern = "^sweeps ([0-9]+)"}]'
    )

    kill(site, "gateway")
    site.up(units=dearer)
    (unit,) = site.burst("units", "--json").json
    with site.login(user) as gateway:
        gateway.cancel(job.burst_id)
    ended = site.finish(job, user)

    assert unit["price_ucr"] == 10 * SWEEP_UCR
    delivered = printed(site, ended, user)
    assert delivered > 0
    assert receipt_of(site, job, user).charged_ucr == delivered * SWEEP_UCR
