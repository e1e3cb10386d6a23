"""Settings: from code, environment and file, in this order; what is no setting is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.bootstrap.lifecycle import configure
from gateway.errors import InvalidRequest
from gateway.settings import Settings, SizeSettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.delenv("BURST_CACHE", raising=False)


def toml(directory: Path, text: str) -> Path:
    """A directory with this burst.toml."""
    (directory / "burst.toml").write_text(text)
    return directory


def test_a_directory_without_a_file_has_the_defaults(tmp_path):
    """Nothing needs to be set."""
    settings = Settings.load(tmp_path)

    assert (settings.name, settings.nodes, settings.port) == ("burst", "auto", 0)
    assert settings.database_url == f"sqlite:///{tmp_path}/state.db"
    assert settings.cache_dir == tmp_path / "cache"


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    """The file says one thing, a variable another."""
    toml(tmp_path, 'name = "filed"\nidle_s = 7\n')
    monkeypatch.setenv("BURST_SERVER_NAME", "told")

    settings = Settings.load(tmp_path)

    assert (settings.name, settings.idle_s) == ("told", 7)


def test_sizes_are_read_from_tables(tmp_path):
    """A size is a table of its own."""
    toml(tmp_path, '[[sizes]]\nname = "tiny"\ncores = 1\nmemory_mb = 512\ncredits_per_hour = 0.5\nmax_nodes = 3\n')

    size = SizeSettings(name="tiny", cores=1, memory_mb=512, credits_per_hour=0.5, max_nodes=3)
    assert Settings.load(tmp_path).sizes == (size,)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("surprise = 1", "surprise"),
        ("idle_s = 0", "idle_s"),
        ('idle_s = "soon"', "idle_s"),
        ('nodes = "clouds"', "nodes"),
        ("port = 70000", "port"),
        ('name = "Not A Name"', "name"),
        ('[[sizes]]\nname = "x"\ncores = 0\nmemory_mb = 512\ncredits_per_hour = 1\nmax_nodes = 1', "sizes"),
        ('[[sizes]]\nname = "x"\ncores = 1\nmemory_mb = 512\ncredits_per_hour = 0\nmax_nodes = 1', "sizes"),
    ],
)
def test_what_is_no_setting_is_refused_by_name(tmp_path, text, key):
    """An unknown key or a value out of range is never ignored."""
    with pytest.raises(ValidationError) as refused:
        Settings.load(toml(tmp_path, text))

    assert refused.value.errors()[0]["loc"][0] == key


def test_an_unknown_variable_is_refused_too(tmp_path, monkeypatch):
    """A variable with our prefix that means nothing is a slip of the pen."""
    monkeypatch.setenv("BURST_SERVER_IDEL_S", "5")

    with pytest.raises(ValidationError, match="idel_s"):
        Settings.load(tmp_path)


def test_settings_do_not_change(tmp_path):
    """They are read once."""
    with pytest.raises(ValidationError):
        Settings.load(tmp_path).name = "other"


def test_assignments_are_kept_in_the_file(tmp_path):
    """``--set`` values are typed as TOML, and a later one replaces an earlier one."""
    configure(tmp_path, {"idle_s": "5", "nodes": "process"})
    configure(tmp_path, {"idle_s": "6", "image_packages": '["a", "b"]'})

    settings = Settings.load(tmp_path)

    assert (settings.idle_s, settings.nodes, settings.image_packages) == (6, "process", ("a", "b"))


def test_assignments_leave_tables_and_odd_strings_as_they_are(tmp_path):
    """What was in the file by hand is still the same afterwards."""
    text = 'cache = "/tmp/a \\"b\\" \U0001f600 \\u007f"\n[[sizes]]\nname = "x"\ncores = 1\nmemory_mb = 512\n'
    before = Settings.load(toml(tmp_path, text + "credits_per_hour = 1.5\nmax_nodes = 1\n"))

    configure(tmp_path, {"idle_s": "6"})

    after = Settings.load(tmp_path)
    assert (after.sizes, after.cache, after.idle_s) == (before.sizes, before.cache, 6)


def test_an_assignment_that_changes_nothing_leaves_the_file_alone(tmp_path):
    """Comments survive a repeated ``burst up --set``."""
    text = "# mine\nidle_s = 6\n"

    configure(toml(tmp_path, text), {"idle_s": "6"})

    assert (tmp_path / "burst.toml").read_text() == text


@pytest.mark.parametrize("assignment", [{"surprise": "1"}, {"idle_s": "soon"}, {"": "1"}])
def test_a_bad_assignment_changes_nothing(tmp_path, assignment):
    """It is refused with the key and where to look."""
    with pytest.raises(InvalidRequest) as refused:
        configure(tmp_path, assignment)

    assert refused.value.hint
    assert refused.value.field == next(iter(assignment))
    assert not (tmp_path / "burst.toml").exists()


LAB = {"name": "lab", "title": "Lab", "issuer": "https://id.lab.example", "client_id": "b", "client_secret_file": "s"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://id.lab.example"}, "https"),
        ({"issuer": "ftp://localhost"}, "https"),
        ({"auto_create": True}, "email_domains or subject_pattern"),
        ({"subject_pattern": "("}, "subject_pattern"),
        ({"client_secret": "in the file"}, "client_secret"),
        ({"name": "../lab"}, "name"),
    ],
)
def test_an_institution_that_could_let_in_anybody_is_refused(tmp_path, change, words):
    """An issuer in the clear, users made for everybody, a secret among the settings."""
    assert Settings(directory=tmp_path, institutions=[LAB]).institutions[0].name == "lab"
    with pytest.raises(ValidationError, match=words):
        Settings(directory=tmp_path, institutions=[LAB | change])


def test_two_institutions_are_two(tmp_path):
    """By name and by issuer: a person of one is none of the other's."""
    for other in (LAB | {"name": "other"}, LAB | {"issuer": "https://other.example"}):
        with pytest.raises(ValidationError, match="two institutions have one"):
            Settings(directory=tmp_path, institutions=[LAB, other])
