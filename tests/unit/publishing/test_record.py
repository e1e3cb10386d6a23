"""Records and their metadata: what is refused, what always validates, and what a page may never hold."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from datacite import schema45
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.publishing import landing, record
from gateway.publishing.datacite import attributes
from gateway.publishing.record import (
    Access,
    Creator,
    Publication,
    PublicationState,
    PublishedFile,
    Record,
    Related,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGE = "https://gate.example.org/doi/10.12345/abc"

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
records = st.builds(
    Record,
    title=text,
    creators=st.lists(st.builds(Creator, text, st.none() | st.just("0000-0002-1825-0097")), min_size=1, max_size=3).map(
        tuple
    ),
    description=st.just("") | text,
    publisher=text,
    year=st.integers(2020, 2100),
    access=st.sampled_from(list(Access)),
    licence=st.none() | st.just("CC-BY-4.0"),
    related=st.lists(
        st.builds(
            Related, st.sampled_from(sorted(record.RELATIONS)), st.sampled_from(["10.1234/x", "https://x.org/y"])
        ),
        max_size=3,
    ).map(tuple),
    files=st.lists(st.builds(PublishedFile, text, st.integers(0, 2**50), st.just("a" * 64), text), max_size=4).map(
        tuple
    ),
    manifest_sha256=st.just("b" * 64),
    job=st.just("c" * 32),
    computed_at=st.integers(0, 10**9).map(lambda second: NOW + timedelta(seconds=second)),
    software=text,
)


def publication(said: Record) -> Publication:
    """Of the user ada."""
    return Publication("abc", "10.12345/abc", "c" * 32, "ada", PublicationState.INTENT, said, "d" * 64, NOW)


@settings(max_examples=40, deadline=None)
@given(records)
def test_metadata_always_validates(said):
    """Whatever the words, files and licences are."""
    assert schema45.validate(attributes(publication(said), PAGE))


@given(records)
def test_a_record_comes_back_from_json(said):
    """As it is stored."""
    assert Record.read(json.loads(json.dumps(said.document()))) == said


class _Reader(HTMLParser):
    """Collects tags, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""

    def handle_starttag(self, tag, _attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.data += data if self.tags[-1:] == ["script"] else ""


@settings(max_examples=40, deadline=None)
@given(records, st.sampled_from(["<script>alert(1)</script>", "</script><b>", "<img src=x onerror=y>", '"><i>']))
def test_no_word_of_a_user_becomes_markup(said, attack):
    """In any place where a user's text is shown; and what robots read is whole."""
    hostile = Record(**{**vars(said), "title": attack, "description": attack, "creators": (Creator(attack),)})
    reader = _Reader()
    reader.feed(landing.html(publication(hostile), PAGE))

    assert reader.tags.count("script") == 1
    assert not {"b", "i", "img"} & set(reader.tags)
    assert json.loads(reader.data)["name"] == attack


@given(st.text(st.sampled_from("0123456789"), min_size=15, max_size=15), st.data())
def test_one_last_digit_of_eleven_is_an_orcid_ids(digits, data):
    """A mistyped one is refused."""
    grouped = "-".join(re.findall("....", digits + "?"))
    good = []
    for check in "0123456789X":
        try:
            good.append(record.creator(f"A <{grouped.replace('?', check)}>").orcid)
        except InvalidRequest:
            continue
    assert len(good) == 1


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Lovelace, Ada <0000-0002-1825-0097>", Creator("Lovelace, Ada", "0000-0002-1825-0097")),
        ("Lovelace, Ada <https://orcid.org/0000-0002-1694-233X>", Creator("Lovelace, Ada", "0000-0002-1694-233X")),
        ("  Byron & Sons ", Creator("Byron & Sons")),
    ],
)
def test_creators_are_read_as_typed(typed, expected):
    """With or without an ORCID iD."""
    assert record.creator(typed) == expected


@pytest.mark.parametrize("typed", ["", "<0000-0002-1825-0097>", "A <b>", "A <0000-0002-1825-0098>"])
def test_what_is_no_creator_is_refused(typed):
    """No name, no iD, or one that cannot be."""
    with pytest.raises(InvalidRequest):
        record.creator(typed)


def test_a_suffix_is_always_the_same_and_nobody_elses():
    """Of gateway, job and manifest."""
    names = {record.suffix(gateway, job, "f" * 64) for gateway in ("a", "b") for job in ("1", "2")}

    assert record.suffix("a", "1", "f" * 64) in names
    assert len(names) == 4
    assert all(re.fullmatch(r"[a-z2-7]{16}", name) for name in names)
