"""Profiles: where a login is kept, and who may read it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from gateway.client.profile import Profile, load, profile_path, remove, save
from gateway.errors import InvalidRequest, NotAllowed, SetupError

PROFILE = Profile(
    url="http://127.0.0.1:1",
    session="s1",
    audience="a",
    user="demo",
    expires_at=datetime(2026, 3, 1, tzinfo=UTC),
    key={"kty": "OKP", "d": "secret-part"},
)


def test_a_saved_profile_is_read_back(tmp_path):
    """What is saved is what is loaded."""
    save(PROFILE, tmp_path / "a" / "p.json")
    assert load(tmp_path / "a" / "p.json") == PROFILE


def test_only_its_owner_can_read_a_profile(tmp_path):
    """The file is 0600 and its new folder 0700, whatever the umask allows."""
    before = os.umask(0)
    try:
        save(PROFILE, tmp_path / "profiles" / "p.json")
    finally:
        os.umask(before)
    assert (tmp_path / "profiles" / "p.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "profiles").stat().st_mode & 0o777 == 0o700


def test_saving_replaces_the_whole_file(tmp_path):
    """A second save leaves one file, no temporary beside it."""
    save(PROFILE, tmp_path / "p.json")
    save(PROFILE, tmp_path / "p.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_the_key_is_not_in_its_repr():
    """A profile in a traceback or log does not show the private key."""
    assert "secret-part" not in repr(PROFILE)


def test_without_a_profile_the_next_step_is_said(tmp_path):
    """No file: the user is told to log in."""
    with pytest.raises(NotAllowed) as caught:
        load(tmp_path / "none.json")
    assert "burst login" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"url": 1}', "\x00"])
def test_a_broken_profile_is_no_traceback(tmp_path, text):
    """A damaged file is an error with a next step."""
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(SetupError) as caught:
        load(tmp_path / "p.json")
    assert "burst login" in caught.value.hint


def test_where_profiles_are(tmp_path, monkeypatch):
    """BURST_CONFIG moves them, BURST_PROFILE names one."""
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path))
    monkeypatch.delenv("BURST_PROFILE", raising=False)
    assert profile_path() == tmp_path / "profiles" / "default.json"
    monkeypatch.setenv("BURST_PROFILE", "lab")
    assert profile_path() == tmp_path / "profiles" / "lab.json"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", " "])
def test_a_profile_name_is_no_path(name, monkeypatch):
    """A name cannot leave the folder of profiles."""
    monkeypatch.setenv("BURST_PROFILE", name)
    if name:
        with pytest.raises(InvalidRequest):
            profile_path()
    else:
        assert profile_path().name == "default.json"


def test_removing_what_is_not_there_is_no_error(tmp_path):
    """Logging out twice is fine."""
    remove(tmp_path / "none.json")
