"""What the pages say: lengths of time, money, sizes, a job's journey and an account's history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.accounting.ledger import Entry, EntryKind
from gateway.accounting.spending import Charge
from gateway.web.figures import between, commands, duration, in_credits, moment, size
from gateway.web.journey import journey
from gateway.web.money import history
from gateway.web.pages import if_changed, part
from gateway.wire import EventView, JobView

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def job(*events: tuple[str, float]) -> JobView:
    timeline = tuple(EventView(at=at(seconds), kind=kind, text="") for kind, seconds in events)
    facts = {"name": "j", "user": "ada", "account": "ada", "offer": "small", "stage": "queued", "state": "PENDING"}
    times = {"submitted_at": NOW, "ended_at": None, "timeline": timeline}
    return JobView(id=1, burst_id="0" * 32, reason="", exit_code=None, hold_ucr=0, finished=False, **facts, **times)


def states(view: JobView) -> list[str]:
    return [step.state for step in journey(view)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"),
     (273600, "3 d 4 h")],
)  # fmt: skip
def test_lengths_of_time(seconds, text):
    """Tenths where they tell something, two units where there are two."""
    assert duration(seconds) == text


def test_other_figures():
    """Money to the last micro-credit, sizes in powers of 1024, times with their zone."""
    assert [in_credits(n) for n in (0, 2_000, -1_500_000, 1_234_567_890_001)] == [
        "0.00", "0.002", "\N{MINUS SIGN}1.50", "1,234,567.890001",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 1536, 5 * 1024**4)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
    assert moment(NOW) == '<time datetime="2026-01-02T03:04:05.000+00:00">2026-01-02 03:04:05 UTC</time>'
    assert commands("Do `a <b>` now.") == "Do <code>a &lt;b&gt;</code> now."
    assert (moment(None), between(NOW, None), between(NOW, at(2))) == ("", "", "2.0 s")


def test_the_journey_of_a_job_that_waits():
    """What is done is done, one step is now, the rest is to come."""
    waits = job(("submitted", 0), ("funded", 1), ("staged-in", 3), ("queued", 3), ("waiting", 4))

    assert states(waits) == ["done", "done", "now", "todo", "todo", "todo"]
    assert [step.took_s for step in journey(waits)][:3] == [1, 2, None]


def test_the_journey_of_a_job_that_ended():
    """Every step has its time."""
    kinds = ("submitted", "funded", "staged-in", "queued", "running", "ran", "staged-out", "settled")
    ended = journey(job(*((kind, number) for number, kind in enumerate(kinds))))

    assert {step.state for step in ended} == {"done"}
    assert [step.took_s for step in ended] == [1, 1, 2, 1, 1, 1]


def test_the_journey_of_a_job_that_never_ran():
    """It was queued until it was over; running is left out, and it is settled all the same."""
    cancelled = job(("submitted", 0), ("funded", 0), ("staged-in", 0), ("ran", 9), ("staged-out", 9), ("settled", 9))

    assert states(cancelled) == ["done", "done", "done", "skipped", "done", "done"]
    assert journey(cancelled)[2].took_s == 9


def test_the_history_of_an_account_adds_up():
    """Deposits and settled jobs in their order; what is free counts holds of jobs that still ran, too."""
    entries = [
        entry(100, EntryKind.DEPOSIT, 0),
        entry(-30, EntryKind.HOLD, 1),
        entry(-10, EntryKind.HOLD, 2),
        entry(25, EntryKind.REFUND, 5),
        entry(50, EntryKind.DEPOSIT, 6),
    ]
    charges = [Charge("0" * 32, 7, "sim", 30, 5, at(5))]

    lines = history(charges, entries)

    assert [(line.job, line.amount_ucr, line.spent_ucr, line.available_ucr) for line in lines] == [
        (None, 100, 0, 100),
        (7, -5, 5, 85),
        (None, 50, 5, 135),
    ]


def test_a_part_is_sent_again_only_when_it_changed():
    """The browser names what it has by its digest; a job's name is text, never markup."""
    facts = {"text": "<script>alert(1)</script>", "cut": False}
    first = part("job_output.html", "/web/x?y=1", 3, **facts)
    digest = first.split('data-digest="')[1].split('"')[0]

    assert f'hx-get="/web/x?y=1&amp;since={digest}"' in first
    assert "<script>" not in first
    assert if_changed(first, digest).status_code == 204
    assert if_changed(part("job_output.html", "/web/x", 3, text="more", cut=False), digest).status_code == 200
    assert "hx-get" not in part("job_output.html", "/web/x", None, **facts)


def entry(amount: int, kind: EntryKind, seconds: float) -> Entry:
    return Entry(1, "t", "ada", amount, kind, "memo", None, None, at(seconds), "0" * 64)
