"""Sessions with a real sshd, under certificates of an authority of ours."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from real_sshd import Sshd, sshd_in

from gateway.errors import HostKeyChanged, HostSilent, HostUnreachable, InvalidRequest, LoginRefused, SshError
from gateway.ssh.authority import Authority, Identity, make_private_key
from gateway.ssh.session import Door, Session, connect

AUTHORITY = Authority(make_private_key())


def identity(door: Door, **more: timedelta) -> Identity:
    return AUTHORITY.identity(door.user, "burst/test", datetime.now(UTC), **more)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A host that trusts the authority."""
    with sshd_in(tmp_path_factory.mktemp("sshd"), trusted=AUTHORITY.public_line) as running:
        yield running


@pytest.fixture(scope="module")
def session(sshd: Sshd) -> Iterator[Session]:
    """An open session with it."""
    with connect(sshd.door, identity(sshd.door)) as opened:
        yield opened


def test_a_certificate_opens_a_session(sshd: Sshd, session: Session) -> None:
    """sshd writes under which name the gateway came; the command's end and both its outputs are told apart."""
    done = session.run(("sh", "-c", "echo out; echo err >&2; exit 3"))

    assert (done.code, done.out, done.err) == (3, b"out\n", b"err\n")
    assert "ID burst/test" in sshd.log


def test_words_reach_the_command_as_they_are(session: Session) -> None:
    """The host's shell reads nothing into them."""
    words = ["$HOME", "a b", "'", '"', ";id", "`id`", "\n", "*", "", "é"]

    done = session.run(("printf", "%s\\0", *words))

    assert done.text.split("\0")[:-1] == words


def test_much_goes_in_and_out_at_once(session: Session) -> None:
    """More than any buffer holds, in both directions, and by several commands of one session at the same time."""
    data = bytes(range(256)) * 3000

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: session.run(("cat",), data), range(3)))

    assert [done.out for done in answers] == [data] * 3


def test_input_that_nobody_reads_is_no_error(session: Session) -> None:
    """A command may end before it has read all."""
    assert session.run(("true",), b"x" * 5_000_000).code == 0


def test_too_much_output_is_cut_off(session: Session) -> None:
    """Also when it would never end."""
    with pytest.raises(SshError, match="more than 1000 bytes"):
        session.run(("yes",), most_bytes=1000)

    assert session.run(("echo", "on")).out == b"on\n"


def test_a_command_that_does_not_end_may_have_done_its_work(session: Session) -> None:
    """Nobody can say, so it is told apart from a host that was never reached."""
    begun = time.monotonic()

    with pytest.raises(HostSilent, match=r"sleep .* did not end within 0.5 s"):
        session.run(("sleep", "60"), timeout_s=0.5)

    assert time.monotonic() - begun < 30
    assert session.run(("echo", "on")).out == b"on\n"


def test_a_file_is_put_whole_and_private(session: Session, tmp_path: Path) -> None:
    """Its content is in no command's words; nothing half-made stays."""
    target = tmp_path / "a file"

    session.put_file(str(target), b"\0secret\n")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"\0secret\n", 0o600)
    session.put_file(str(target), b"#!/bin/sh\n", 0o755)
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"#!/bin/sh\n", 0o755)

    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
    with pytest.raises(SshError, match="could not be written"):
        session.put_file(str(tmp_path / "no" / "folder"), b"")


def test_another_host_key_is_refused(sshd: Sshd) -> None:
    """A host that was swapped, or somebody in between, gets no login and no command."""
    before = sshd.log.count("Accepted")
    other = replace(sshd.door, host_key=AUTHORITY.public_line)

    with pytest.raises(HostKeyChanged, match="another host key"):
        connect(other, identity(other))

    assert sshd.log.count("Accepted") == before


def test_a_pin_of_another_kind_of_key_is_no_reason_to_trust_this_one(sshd: Sshd) -> None:
    """The host's Ed25519 key is not taken where an RSA key is pinned."""
    import paramiko  # noqa: PLC0415 - only to make such a key

    rsa = replace(sshd.door, host_key=f"ssh-rsa {paramiko.RSAKey.generate(2048).get_base64()}")

    with pytest.raises(HostKeyChanged):
        connect(rsa, identity(rsa))


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-dss AAAA", "ssh-ed25519 AAAA"])
def test_a_pin_that_is_none_is_said_so(sshd: Sshd, text: str) -> None:
    """With the command that shows what it should be."""
    door = replace(sshd.door, host_key=text)

    with pytest.raises(InvalidRequest, match="host key") as refused:
        connect(door, identity(door))

    assert "ssh-keyscan" in (refused.value.hint or "")


def test_an_expired_certificate_is_refused(sshd: Sshd) -> None:
    """The host's own clock decides."""
    with pytest.raises(LoginRefused):
        connect(sshd.door, identity(sshd.door, life=timedelta(seconds=-5)))


def test_a_certificate_for_somebody_else_is_refused(sshd: Sshd) -> None:
    """It names whom it may log in as."""
    with pytest.raises(LoginRefused):
        connect(sshd.door, AUTHORITY.identity("somebody", "burst/test", datetime.now(UTC)))


def test_another_authority_is_refused(sshd: Sshd) -> None:
    """Also a key with no certificate at all."""
    other = Authority(make_private_key()).identity(sshd.door.user, "burst/test", datetime.now(UTC))

    with pytest.raises(LoginRefused):
        connect(sshd.door, other)
    with pytest.raises(LoginRefused):
        connect(sshd.door, Identity(other.private_key))


def test_a_plain_key_opens_a_session_where_the_host_knows_it(tmp_path: Path) -> None:
    """For login nodes of sites that sign no certificates."""
    key = make_private_key()
    line = Authority(key).public_line

    with sshd_in(tmp_path, authorized=line) as host, connect(host.door, Identity(key.decode())) as session:
        assert session.run(("echo", "in")).out == b"in\n"


def test_nobody_there_is_worth_another_try() -> None:
    """Nothing was done, so the caller may repeat it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    door = Door("127.0.0.1", "root", AUTHORITY.public_line, port)

    with pytest.raises(HostUnreachable) as refused:
        connect(door, identity(door), timeout_s=5)

    assert refused.value.retryable


def test_a_session_that_broke_says_so(tmp_path: Path) -> None:
    """It is not alive, and a command on it surely did not start."""
    with sshd_in(tmp_path, trusted=AUTHORITY.public_line) as host:
        session = connect(host.door, identity(host.door))
        assert session.alive
        session.close()

        assert not session.alive
        with pytest.raises(HostUnreachable):
            session.run(("true",))


def test_secrets_do_not_show_in_reprs() -> None:
    """An identity or an authority in a log is harmless."""
    shown = repr([AUTHORITY, AUTHORITY.identity("root", "x", datetime.now(UTC))])

    assert "PRIVATE" not in shown
