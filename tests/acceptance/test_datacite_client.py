"""The DataCite client against a registry over real HTTP: lost replies, refusals, and events that are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from datacite_registry import DataCiteRegistry, datacite_registry

from gateway.errors import DoiRefused, DoiUnavailable
from gateway.publishing import publish
from gateway.publishing.datacite import DataCite
from gateway.publishing.record import Access, Creator, Publication, PublicationState, PublishedFile, Record

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGE = "https://gate.example.org/doi/10.12345/abc"
FILES = (PublishedFile("x", 1, "b" * 64, "k"),)
SAID = Record("T", (Creator("A"),), "", "P", 2026, Access.OPEN, None, (), FILES, "c" * 64, "1" * 32, NOW, "s")
MADE = Publication("abc", "10.12345/abc", "1" * 32, "ada", PublicationState.INTENT, SAID, "d" * 64, NOW)


@pytest.fixture
def registry() -> Iterator[DataCiteRegistry]:
    """An empty one."""
    with datacite_registry(LAB__GATE=("s3cret", ("10.12345",))) as running:
        yield running


@pytest.fixture
def client(registry: DataCiteRegistry) -> DataCite:
    """Of the repository that owns the prefix."""
    return DataCite(registry.url, "10.12345", "LAB.GATE", "s3cret")


def go_on(client: DataCite) -> None:
    """Take the publication as far as it goes, from wherever it is."""
    if publish.draft(client, MADE, PAGE) is PublicationState.DRAFT:
        publish.make_findable(client, MADE, PAGE)


def test_a_doi_goes_from_draft_to_findable(registry: DataCiteRegistry, client: DataCite) -> None:
    """In two calls, and asking again changes nothing."""
    assert publish.draft(client, MADE, PAGE) is PublicationState.DRAFT
    assert registry.state(MADE.doi) == "draft"
    publish.make_findable(client, MADE, PAGE)

    assert publish.draft(client, MADE, PAGE) is PublicationState.FINDABLE
    assert (registry.state(MADE.doi), registry.created) == ("findable", 1)


@pytest.mark.parametrize("heard", [0, 1])
def test_after_a_lost_reply_the_same_doi_is_found(registry: DataCiteRegistry, client: DataCite, heard: int) -> None:
    """Whether the draft's was lost or the event's: the registry acted, and a second road ends at the same DOI."""
    registry.heard_first, registry.lost_replies = heard, 1
    with pytest.raises(DoiUnavailable) as lost:
        go_on(client)

    go_on(client)

    assert lost.value.retryable
    assert (registry.state(MADE.doi), registry.created) == ("findable", 1)


def test_a_registry_that_passes_over_the_event_is_not_believed(registry: DataCiteRegistry, client: DataCite) -> None:
    """It answers 200 and leaves the DOI a draft: that is no publication."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datacite_registry.MOVES", {})
        with pytest.raises(DoiRefused, match=f"left {MADE.doi} draft"):
            publish.make_findable(client, MADE, PAGE)


def test_a_wrong_password_or_prefix_says_who_mends_it(registry: DataCiteRegistry, client: DataCite) -> None:
    """The settings are named; the password is not."""
    for wrong, made in (
        (replace(client, password="guess"), MADE),
        (client, replace(MADE, doi="10.54321/abc")),
    ):
        with pytest.raises(DoiRefused) as refused:
            publish.draft(wrong, made, PAGE)
        assert "datacite_prefix" in str(refused.value.hint)
        assert wrong.password not in refused.value.detail + repr(wrong)


def test_a_registry_that_is_away_may_be_asked_again(client: DataCite) -> None:
    """Nobody listens there."""
    with pytest.raises(DoiUnavailable):
        publish.draft(replace(client, url="http://127.0.0.1:9"), MADE, PAGE)
