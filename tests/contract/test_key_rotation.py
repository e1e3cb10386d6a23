"""Rotation of a whole directory's keys: files, database and audit log, also when it is killed half way."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.bootstrap import keys
from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.presence import only_one
from gateway.bootstrap.rings import credential_keys, signing_keys
from gateway.bootstrap.sealing_key import keeper, sealer_of
from gateway.errors import SetupError
from gateway.identity.sealed_file import is_sealed
from gateway.identity.sealing import Sealer
from gateway.settings import Settings
from gateway.ssh.authority import make_private_key
from gateway.storage.database import Database
from gateway.storage.group_tables import audit_records
from gateway.storage.nodes import SqlFleet
from gateway.storage.tables import nodes

SECRETS = {"a-1": b"the secret of one", "a-2": b"the secret of two"}
"""What the database keeps sealed: the column is any text column, as another module may have one."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A gateway's directory with everything that is sealed in one."""
    return made(tmp_path_factory.mktemp("template") / "d")


@pytest.fixture
def directory(template, tmp_path):
    return shutil.copytree(template, tmp_path / "d")


def made(folder: Path) -> Path:
    settings = Settings(directory=folder)
    settings.run_dir.mkdir(parents=True)
    sealer = sealer_of(settings)
    keeper(sealer)(settings.secrets_dir / "site.key", lambda: b"s" * 32)
    keeper(sealer)(settings.secrets_dir / "ssh-ca.key", make_private_key)
    signing_keys(settings, sealer)
    credential_keys(settings, sealer)
    with begun(settings) as connection:
        for name, secret in SECRETS.items():
            SqlFleet(connection).add(name, "a", utc_now())
            sealed = sealer.seal(secret, f"node {name}")
            connection.execute(update(nodes).where(nodes.c.name == name).values(reason=sealed))
    return folder


@contextmanager
def begun(settings: Settings):
    database = Database(settings.database_url)
    try:
        database.migrate()
        with database.begin() as connection:
            yield connection
    finally:
        database.close()


def opened(folder: Path) -> dict[str, bytes]:
    """Every secret of the directory, as a gateway that starts now would find it."""
    settings = Settings(directory=folder)
    sealer = sealer_of(settings)
    names = ("site.key", "ssh-ca.key", "signing-keys.json", "credential-keys.json")
    found = {name: keeper(sealer)(settings.secrets_dir / name, never) for name in names}
    with begun(settings) as connection:
        for name, sealed in connection.execute(select(nodes.c.name, nodes.c.reason)):
            found[name] = sealer.open(sealed, f"node {name}")
    return found


def never() -> bytes:
    raise AssertionError("a secret was lost")


def raw(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def rotate(folder: Path, *rings: str, **how: Any) -> dict[str, Any]:
    return keys.rotate(folder, rings or keys.RINGS, how.get("key_file"), lambda _: None)["rotated"]


def test_a_new_sealing_key_opens_everything_and_the_old_one_nothing(directory):
    """Files and database are sealed anew; the old key is gone from its file; the audit log has the rotation."""
    settings, before = Settings(directory=directory), opened(directory)
    old = Sealer(sealer_of(settings).key)
    said = rotate(directory, "sealing")["sealing"]

    assert opened(directory) == before
    assert (said["files"], said["values"], said["keeps_last"]) == (4, 2, False)
    assert len((settings.secrets_dir / "sealing.key").read_text().split()) == 1
    for name in ("site.key", "signing-keys.json"):
        with pytest.raises(SetupError, match="another key"):
            old.open((settings.secrets_dir / name).read_text(), f"file {name}")
    with begun(settings) as connection:
        last = connection.execute(select(audit_records).order_by(audit_records.c.seq.desc())).first()
        sealed = connection.execute(select(nodes.c.reason).where(nodes.c.name == "a-1")).scalar_one()
    assert (last.actor, last.action, last.subject) == ("gateway", "keys.rotate", "key:sealing")
    with pytest.raises(SetupError, match="another key"):
        old.open(sealed, "node a-1")


def _die_at(number: int, folder: Path) -> None:
    """Rotate and be killed at the so many-th point: before and after each file, and around the database's work."""
    count = 0

    def point() -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def between(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any) -> Any:
            point()
            result = real(*words)
            point()
            return result

        return called

    Path.replace = between(Path.replace)  # type: ignore[method-assign]
    keys.reseal_all = between(keys.reseal_all)
    rotate(folder, "sealing")


def test_a_rotation_that_is_killed_has_lost_nothing(template, tmp_path):
    """kill -9 at each of its points in turn; everything opens, and a second rotation brings it to its end."""
    before, forked = opened(template), multiprocessing.get_context("fork")
    for number in range(1, 100):
        folder = shutil.copytree(template, tmp_path / str(number))
        process = forked.Process(target=_die_at, args=(number, folder))
        process.start()
        process.join()
        assert opened(folder) == before, f"killed at point {number}"
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        said = rotate(folder, "sealing")["sealing"]
        assert (said["files"], said["values"]) == (4, 2)
        assert opened(folder) == before, f"killed at point {number}, then rotated"
        assert len((folder / "secrets/sealing.key").read_text().split()) == 1
        assert list(folder.glob("secrets/.*")) == []
    # The key file twice, four files, each before and after; before and after the database's work.
    assert number == 2 * 6 + 2 + 1


def test_while_the_gateway_runs_the_key_of_before_stays(directory):
    """It may seal something a moment after the rotation looked: that still opens, and is sealed anew later."""
    settings = Settings(directory=directory)
    key_file = settings.secrets_dir / "sealing.key"
    running = Sealer(sealer_of(settings).key)
    (settings.run_dir / "machine.json").write_text(f'{{"sealing_key": "{key_file}"}}')
    with only_one(settings.run_dir):
        assert rotate(directory, "sealing")["sealing"]["keeps_last"]
        late = running.seal(SECRETS["a-1"], "node a-1")
        with begun(settings) as connection:
            connection.execute(update(nodes).where(nodes.c.name == "a-1").values(reason=late))
        assert opened(directory)["a-1"] == SECRETS["a-1"]
        rotate(directory, "sealing")
        assert len(key_file.read_text().split()) == 2
    assert opened(directory)["a-1"] == SECRETS["a-1"]
    with pytest.raises(SetupError, match="another key"):
        Sealer(*sealer_of(settings)._keys()[1:]).open(sealer_of(settings).seal(b"", "x"), "x")
    rotate(directory, "sealing")
    assert len(key_file.read_text().split()) == 1


def test_a_gateway_with_a_copy_of_the_key_must_be_stopped(directory, tmp_path, monkeypatch):
    """systemd's credential is such a copy: it cannot be written, and the service would not see its file change."""
    settings = Settings(directory=directory)
    mine = tmp_path / "mine.key"
    (settings.secrets_dir / "sealing.key").rename(mine)
    before = raw(directory)
    with only_one(settings.run_dir), pytest.raises(SetupError, match="runs") as refused:
        rotate(directory, "sealing", key_file=mine)
    assert "stop it first" in str(refused.value.hint)
    assert raw(directory) == before

    (tmp_path / "credentials").mkdir()
    shutil.copy(mine, tmp_path / "credentials/burst-sealing-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    with pytest.raises(SetupError, match="credential of systemd") as refused:
        rotate(directory, "sealing")
    assert "--key-file" in str(refused.value.hint)
    secrets = opened(directory)

    rotate(directory, "sealing", key_file=mine)
    shutil.copy(mine, tmp_path / "credentials/burst-sealing-key")
    assert opened(directory) == secrets


def test_a_lost_key_is_not_replaced_because_of_the_database_either(directory):
    """The folder of secrets was lost, the database was not: what is sealed in it would be shut for ever."""
    shutil.rmtree(directory / "secrets")
    with pytest.raises(SetupError, match="a value of the database"):
        sealer_of(Settings(directory=directory))


def test_what_lies_open_is_sealed(directory):
    """A directory from before there was a sealing key: it does not start, and one rotation puts it right."""
    settings, before = Settings(directory=directory), opened(directory)
    for name in ("site.key", "ssh-ca.key", "signing-keys.json", "credential-keys.json"):
        (settings.secrets_dir / name).write_bytes(before[name])
    with pytest.raises(SetupError, match="not sealed"):
        opened(directory)
    rotate(directory, "sealing")
    assert opened(directory) == before
    assert is_sealed((settings.secrets_dir / "site.key").read_bytes())


def test_rings_are_rotated_and_listed(directory):
    """New keys that sign, old ones that do not; the list has no secret in it."""
    made = rotate(directory, "signing", "credentials")
    listed = keys.listed(directory)
    for ring in ("signing", "credentials"):
        assert [key["state"] for key in listed[ring]] == ["signs", "retired"]
        assert listed[ring][0]["key"] == made[ring]["key"]
    assert (listed["sealing"]["values"], len(listed["sealing"]["keys"])) == (2, 1)
    assert (directory / "secrets/sealing.key").read_text().strip() not in str(listed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_root_leaves_the_files_to_the_service(directory):
    """A rotation by the administrator locks the gateway's own user out of nothing."""
    for path in (directory / "secrets").iterdir():
        os.chown(path, 65534, 65534)
    rotate(directory)
    assert {path.stat().st_uid for path in (directory / "secrets").iterdir()} == {65534}


def test_a_directory_without_a_gateway_is_said_to_be_one(tmp_path):
    """Nothing is made there."""
    for act in (keys.listed, rotate):
        with pytest.raises(SetupError, match="holds no gateway yet"):
            act(tmp_path / "d")
    assert not (tmp_path / "d").exists()
