"""Tables, lengths of time, sizes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.display import ago, duration, plain_table, size

CELLS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_lengths_of_time(seconds, text):
    """Two units at most, tenths below ten seconds."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 1024**3, "20.0 GiB")]
)
def test_sizes(count, text):
    """Powers of 1024, named so."""
    assert size(count) == text


def test_past_and_future():
    """Both directions have words of their own."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert ago(now - timedelta(seconds=12), now) == "12 s ago"
    assert ago(now + timedelta(hours=1), now) == "in 1 h 00 min"
    assert ago(None) == ""


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_columns_start_at_the_same_place(rows):
    """A left-aligned column begins at one offset in every line, and no line ends in a blank."""
    lines = plain_table(("First", ">Second", "Third"), rows)
    assert len(lines) == len(rows) + 1
    starts = {len(line) - len(row[2]) for line, row in zip(lines[1:], rows, strict=True)}
    assert len(starts) <= 1
    assert all(line == line.rstrip() for line in lines)
