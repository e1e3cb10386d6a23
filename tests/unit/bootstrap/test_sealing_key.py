"""Where the sealing key is looked for, and what happens when it is wrong, open to others or not there."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime

import pytest

from gateway.bootstrap.sealing_key import keeper, place_of, sealer_of
from gateway.errors import SetupError
from gateway.identity.key_ring import KeyRing
from gateway.identity.sealing import Sealer, make_sealing_key
from gateway.settings import Settings
from gateway.ssh.authority import Authority

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = [make_sealing_key() for _ in range(3)]
NONE: dict[str, str] = {}


@pytest.fixture
def settings(tmp_path):
    settings = Settings(directory=tmp_path / "d", sealing_key_file=tmp_path / "mine.key")
    settings.secrets_dir.mkdir(parents=True, mode=0o700)
    return settings


@pytest.fixture
def credentials(tmp_path):
    """As systemd gives them: a folder of its own, read only, closed to strangers."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    put(folder / "burst-sealing-key", KEYS[0], 0o440)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def put(path, content, mode=0o600):
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)


def test_the_key_is_taken_from_the_first_place_that_has_one(settings, credentials):
    """systemd's credential, then the setting's file, then the directory's own."""
    put(settings.sealing_key_file, base64.b64encode(KEYS[1]) + b"\n")
    put(settings.secrets_dir / "sealing.key", KEYS[2])
    plain = settings.model_copy(update={"sealing_key_file": None})

    assert sealer_of(settings, credentials).key == KEYS[0]
    assert sealer_of(settings, NONE).key == KEYS[1]
    assert sealer_of(settings, {"CREDENTIALS_DIRECTORY": str(settings.run_dir)}).key == KEYS[1]
    assert sealer_of(plain, NONE).key == KEYS[2]
    assert [place_of(settings, where).writable for where in (credentials, NONE)] == [False, True]


def test_a_first_key_is_made_once_and_for_its_owner_only(settings):
    """Base64, mode 0600, whatever the umask is; the second start has the same."""
    before = os.umask(0)
    try:
        first = sealer_of(settings, NONE).key
    finally:
        os.umask(before)

    assert sealer_of(settings, NONE).key == first == base64.b64decode(settings.sealing_key_file.read_bytes())
    assert settings.sealing_key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(settings, mode):
    """The hint is the command that puts it right."""
    put(settings.sealing_key_file, KEYS[0], mode)
    with pytest.raises(SetupError, match="Others can read") as refused:
        sealer_of(settings, NONE)
    assert refused.value.hint == f"chmod 600 {settings.sealing_key_file}"


def test_a_credential_that_strangers_can_read_is_refused(settings, credentials, tmp_path):
    """The group's bits are systemd's way to let the service's user in; the world's are not."""
    (tmp_path / "credentials/burst-sealing-key").chmod(0o444)
    with pytest.raises(SetupError, match="Others can read"):
        sealer_of(settings, credentials)


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"x" * 33, base64.b64encode(b"x" * 31), b"\xff" * 44])
def test_what_is_no_key_is_said_to_be_none(settings, content):
    """And nothing is written in its place."""
    put(settings.sealing_key_file, content)
    with pytest.raises(SetupError, match="no sealing key") as refused:
        sealer_of(settings, NONE)
    assert "base64" in str(refused.value.hint)
    assert settings.sealing_key_file.read_bytes() == content


def test_no_new_key_where_something_is_sealed(settings):
    """A lost key is told of, with the place and the file; a new one would leave the old ring shut for ever."""
    KeyRing.open(settings.secrets_dir / "signing-keys.json", NOW, sealer=sealer_of(settings, NONE))
    settings.sealing_key_file.unlink()

    with pytest.raises(SetupError, match=r"signing-keys\.json is sealed") as refused:
        sealer_of(settings, NONE)
    assert str(settings.sealing_key_file) in refused.value.detail
    assert "restore" in str(refused.value.hint)
    assert not settings.sealing_key_file.exists()


def test_another_key_opens_nothing_and_changes_nothing(settings):
    """One sentence that says so, and every file as it was."""
    ring = settings.secrets_dir / "signing-keys.json"
    KeyRing.open(ring, NOW, sealer=sealer_of(settings, NONE))
    text = ring.read_text()
    put(settings.sealing_key_file, KEYS[0])

    with pytest.raises(SetupError, match="sealed with another key") as refused:
        KeyRing.open(ring, NOW, sealer=sealer_of(settings, NONE))
    assert "restore" in str(refused.value.hint)
    assert ring.read_text() == text


def test_a_replaced_key_is_taken_up(settings):
    """A gateway that runs seals with the new key at once and still opens what the old one sealed."""
    put(settings.sealing_key_file, base64.b64encode(KEYS[0]))
    sealer = sealer_of(settings, NONE)
    old = sealer.seal(b"x", "test")
    put(settings.sealing_key_file.with_name("new"), b"\n".join(map(base64.b64encode, (KEYS[1], KEYS[0]))))
    settings.sealing_key_file.with_name("new").replace(settings.sealing_key_file)

    assert sealer.open(old, "test") == b"x"
    assert Sealer(KEYS[1]).open(sealer.seal(b"y", "test"), "test") == b"y"


def test_the_ssh_authority_is_sealed(settings, tmp_path):
    """Its private key lies nowhere in the clear; its public line does, for the hosts."""
    file = settings.secrets_dir / "ssh-ca.key"
    keep = keeper(sealer_of(settings, NONE))
    authority = Authority.kept(file, tmp_path / "ssh-ca.pub", keep)

    assert Authority.kept(file, tmp_path / "ssh-ca.pub", keep).private_key == authority.private_key
    assert b"PRIVATE KEY" in authority.private_key
    assert b"PRIVATE KEY" not in file.read_bytes()
    assert (file.stat().st_mode & 0o777, (tmp_path / "ssh-ca.pub").read_text()) == (0o600, f"{authority.public_line}\n")
