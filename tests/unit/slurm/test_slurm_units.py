"""Times, memory, node ranges and arrays, against plain restatements of sbatch(1)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.slurm import hostlists, units
from gateway.slurm.moments import moment

NUMBER = st.integers(0, 500)


@settings(deadline=None)
@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))
def test_every_form_of_a_time_limit_is_its_parts_added_up(parts: tuple[int, int, int, int]) -> None:
    """Days, hours, minutes and seconds count the same however they are written, and a started minute is a whole one."""
    d, h, m, s = parts
    forms = {
        f"{m}": m * 60,
        f"{m}:{s}": m * 60 + s,
        f"{h}:{m}:{s}": h * 3600 + m * 60 + s,
        f"{d}-": d * 86400,
        f"{d}-{h}": d * 86400 + h * 3600,
        f"{d}-{h}:{m}": d * 86400 + h * 3600 + m * 60,
        f"{d}-{h}:{m}:{s}": d * 86400 + h * 3600 + m * 60 + s,
    }
    for text, expected in forms.items():
        assert units.seconds(text) == expected
        assert units.minutes(text) == ((expected + 59) // 60 or units.UNLIMITED)


@settings(deadline=None)
@given(st.text(max_size=12) | st.from_regex(r"[0-9:\-]{0,10}", fullmatch=True))
def test_a_time_is_read_or_refused(text: str) -> None:
    """No text does anything but give minutes or a ValueError."""
    with contextlib.suppress(ValueError):
        assert units.minutes(text) > 0 or units.minutes(text) == units.UNLIMITED


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["K", "M", "G", "T", ""]), st.sampled_from(["", "B", "b"]))
def test_memory_is_rounded_up_to_a_megabyte(amount: int, unit: str, suffix: str) -> None:
    """A unit says how many kilobytes; part of a megabyte counts as one."""
    text = f"{amount}{unit}{suffix if unit else ''}"
    kilobytes = amount * {"K": 1, "M": 1024, "": 1024, "G": 1024**2, "T": 1024**3}[unit]
    assert units.megabytes(text) == units.megabytes(text.lower()) == (kilobytes + 1023) // 1024


@pytest.mark.parametrize("text", ["1.5G", "2Gi", "1P", "-1", "MB", "", "2 G", "٣"])
def test_memory_of_another_form_is_refused(text: str) -> None:
    """Fractions, binary prefixes and signs are not sbatch's."""
    with pytest.raises(ValueError, match=r"|"):
        units.megabytes(text)


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 50))
def test_a_node_range_ends_where_its_step_reaches(low: int, more: int, step: int) -> None:
    """``low-high:step`` has the counts of that range."""
    found = units.node_range(f"{low}-{low + more}:{step}")
    counts = range(low, low + more + 1, step)
    assert (found.fewest, found.most) == (counts[0], counts[-1])


def test_a_node_range_that_ends_before_it_begins_says_so() -> None:
    """Both ends are in the error, for sbatch's sentence."""
    with pytest.raises(units.NodeOrderError) as refusal:
        units.node_range("4-2")
    assert refusal.value.args == (4, 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 9)), min_size=1, max_size=5))
def test_an_array_has_the_indices_of_all_its_parts_once(parts: list[tuple[int, int, int]]) -> None:
    """Parts may overlap; indices come once and ascending."""
    text = ",".join(f"{low}-{low + more}:{step}" for low, more, step in parts)
    expected = sorted({index for low, more, step in parts for index in range(low, low + more + 1, step)})
    assert units.array_spec(f"{text}%7") == units.ArraySpec(tuple(expected), 7)
    assert units.array_spec(f"[{text}]").indices == tuple(expected)


@pytest.mark.parametrize(
    "text", ["", "5-1", "1-5:0", "a", "1001", "0-1001", "1,", "-1", "1%", "1%x", "1--2", "0-99999999"]
)
def test_an_array_that_slurmctld_refuses_is_refused(text: str) -> None:
    """Backward ranges, no step, no number, and indices at or above MaxArraySize."""
    with pytest.raises(ValueError, match=r"|"):
        units.array_spec(text)


@settings(deadline=None)
@given(st.text(max_size=20) | st.from_regex(r"[0-9,:%\[\]\-]{0,15}", fullmatch=True))
def test_an_array_is_read_or_refused(text: str) -> None:
    """No text does anything but give indices below the limit or a ValueError."""
    try:
        found = units.array_spec(text)
    except ValueError:
        return
    assert found.indices
    assert found.indices[-1] < units.MAX_ARRAY_SIZE


NOW = datetime(2030, 6, 15, 17, 31, 34, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("now+1hour", NOW + timedelta(hours=1)),
        ("now+60", NOW + timedelta(minutes=1)),
        ("now + 5", NOW + timedelta(seconds=5)),
        ("now-5", NOW - timedelta(seconds=5)),
        ("now+2weeks", NOW + timedelta(days=14)),
        ("16:00", datetime(2030, 6, 16, 16, tzinfo=UTC)),
        ("18:00:10", datetime(2030, 6, 15, 18, 0, 10, tzinfo=UTC)),
        ("6:30pm", datetime(2030, 6, 15, 18, 30, tzinfo=UTC)),
        ("fika", datetime(2030, 6, 16, 15, tzinfo=UTC)),
        ("midnight", datetime(2030, 6, 16, tzinfo=UTC)),
        ("today", datetime(2030, 6, 15, tzinfo=UTC)),
        ("noon tomorrow", datetime(2030, 6, 16, 12, tzinfo=UTC)),
        ("2031-01-02T03:04", datetime(2031, 1, 2, 3, 4, tzinfo=UTC)),
        ("2031-01-02 03:04:05", datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("010231", datetime(2031, 1, 2, tzinfo=UTC)),
        ("01/02/31", datetime(2031, 1, 2, tzinfo=UTC)),
        ("1/2", datetime(2031, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_moment_is_what_sbatch_says_it_is(text: str, expected: datetime) -> None:
    """A time of day that has passed is tomorrow's, a date without a year that has passed is next year's."""
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "junk", "3am", "25:00", "2030-13-01", "01/02/2030", "5days", "noon noon", "now+1fortnight"]
)
def test_a_moment_that_sbatch_refuses_is_refused(text: str) -> None:
    """Unknown words, impossible dates and two times of day."""
    with pytest.raises(ValueError, match=r"|"):
        moment(text, NOW)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_moment_is_read_or_refused(text: str) -> None:
    """No text does anything but give a time or a ValueError."""
    with contextlib.suppress(ValueError):
        assert moment(text, NOW).tzinfo is UTC


@settings(deadline=None)
@given(st.from_regex(r"[n0-9,\[\]\-]{0,20}", fullmatch=True))
def test_a_host_list_is_expanded_or_refused(text: str) -> None:
    """No text does anything but give names or a ValueError."""
    with contextlib.suppress(ValueError):
        assert len(hostlists.expand(text)) == len(set(hostlists.expand(text)))


@settings(deadline=None)
@given(st.sets(st.integers(1, 999), min_size=1, max_size=30), st.sampled_from(["n", "small-", "rack1-n"]))
def test_a_host_list_folds_and_expands_to_the_same_names(numbers: set[int], prefix: str) -> None:
    """Folding loses nothing."""
    names = {f"{prefix}{number}" for number in numbers}
    assert set(hostlists.expand(hostlists.fold(names))) == names


@pytest.mark.parametrize(
    "text", ["n[1-", "n[3-1]", "@group", "a b", "n1!n2", "n*", "n[1-99999999999]", "r[1-999]n[1-999]"]
)
def test_a_malformed_host_list_is_refused(text: str) -> None:
    """Nothing of ClusterShell's own language gets through."""
    with pytest.raises(ValueError, match=r"."):
        hostlists.expand(text)
