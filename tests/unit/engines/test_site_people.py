"""Who of a site's users is who at the gateway, from both sides, with and without entries in the table."""

from __future__ import annotations

import pytest

from gateway.engines.run import Place
from gateway.engines.site_people import BY_ADMINISTRATOR, Link, SitePeople
from gateway.errors import Conflict, InvalidRequest, NotFound, SchedulerRefused


@pytest.fixture
def people(tmp_path):
    """burst.toml says that asmith is alice."""
    return SitePeople(tmp_path / "site/people.json", {"asmith": "alice"}, same_names=True)


def linked(unix: str, user: str) -> Link:
    return Link(unix, user, BY_ADMINISTRATOR)


def test_a_link_holds_in_both_directions_and_at_once(people, tmp_path):
    """Also for another process that reads the same table."""
    people.link(linked("bjones", "bob"))

    other = SitePeople(tmp_path / "site/people.json", {"asmith": "alice"}, same_names=True)
    assert (other.user_of("bjones"), other.unix_of("bob")) == ("bob", "bjones")
    people.unlink("bjones")
    assert (other.user_of("bjones"), other.unix_of("bob")) == ("bjones", "bob")


def test_a_name_that_is_somebody_else_s_is_nobody(people):
    """alice is asmith: so the site's own alice is not the gateway's, and the gateway's asmith not the site's."""
    assert people.user_of("asmith") == "alice"
    assert people.user_of("alice") is None
    assert people.unix_of("asmith") is None
    assert people.unix_of("carol") == people.user_of("carol") == "carol"


def test_where_equal_names_mean_nothing_only_links_count(tmp_path):
    """same_names = false."""
    people = SitePeople(tmp_path / "people.json", {}, same_names=False)

    assert people.user_of("carol") is None
    people.link(linked("carol", "carol"))
    assert people.user_of("carol") == "carol"


def test_links_are_one_to_one_and_never_root(people):
    """What is said already is told, with who said it; the same again is no error."""
    people.link(linked("bjones", "bob"))
    people.link(linked("bjones", "bob"))

    for unix, user in (("bjones", "eve"), ("eve", "bob"), ("asmith", "eve"), ("eve", "alice")):
        with pytest.raises(Conflict, match="already, by"):
            people.link(linked(unix, user))
    with pytest.raises(InvalidRequest, match="root"):
        people.link(linked("root", "eve"))
    with pytest.raises(InvalidRequest, match=r"burst\.toml"):
        people.unlink("asmith")
    with pytest.raises(NotFound):
        people.unlink("nobody")
    assert [(one.unix, one.user) for one in people.links()] == [("asmith", "alice"), ("bjones", "bob")]


def test_a_job_of_somebody_without_a_unix_user_is_refused(people):
    """It would otherwise run as whoever has that name there."""

    class Job:
        user = "asmith"

    place = Place("/burst", None, unix_names=people.unix_names)

    with pytest.raises(SchedulerRefused, match="burst site claim"):
        place.user_of(Job())
    Job.user = "alice"
    assert place.user_of(Job()) == "asmith"
