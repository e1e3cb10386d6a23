"""F46, the way to nodes and hosts over SSH: an unknown host key is refused, and nothing ever adds one by itself."""

from __future__ import annotations

import ast
import getpass
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paramiko
import pytest
from real_sshd import Sshd, sshd_in

import gateway
import slurm_plugins
from gateway.client.node_shell import NodeShell, node_shell
from gateway.errors import HostKeyChanged, HostUnreachable, InvalidRequest, LoginRefused
from gateway.ssh.authority import Authority, make_private_key
from gateway.ssh.principals import principal
from gateway.ssh.session import connect
from gateway.wire import NodeLogin

AUTHORITY = Authority(make_private_key())
GOOD = principal("small-1", 3, "root")
OTHER_KEY = " ".join(AUTHORITY.public_line.split()[:2])


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A node's door: it trusts the authority, for the principals that its user-data named."""
    folder = tmp_path_factory.mktemp("node")
    with sshd_in(folder, trusted=AUTHORITY.public_line) as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """The same with principals, as nodes have them."""
    folder = tmp_path_factory.mktemp("node-with-principals")
    (folder / "principals").write_text(GOOD)
    with sshd_in(folder, trusted=AUTHORITY.public_line, principals=str(folder / "principals")) as running:
        yield running


def login(
    node: Sshd,
    shell: NodeShell,
    *,
    said: str = GOOD,
    pin: str | None = None,
    life_s: int = 600,
    authority: Authority = AUTHORITY,
) -> NodeLogin:
    """As the gateway answers it."""
    certificate = authority.certify(
        shell.make_key(), said, name="burst/ada/small-1", now=datetime.now(UTC), life=timedelta(seconds=life_s)
    )
    pin = " ".join((pin or node.door.host_key).split()[:2])
    expires = datetime.now(UTC) + timedelta(seconds=life_s)
    return NodeLogin(
        node="small-1",
        user=getpass.getuser(),
        address="127.0.0.1",
        port=node.port,
        host_keys=(pin,),
        certificate=certificate,
        expires_at=expires,
    )


def test_f46_an_unknown_host_key_is_refused_and_the_naive_way_takes_it(sshd: Sshd) -> None:
    """A host that shows another key than the pinned one gets a login from AutoAddPolicy and none from us."""
    identity = AUTHORITY.identity(getpass.getuser(), "burst/test", datetime.now(UTC))
    key = paramiko.Ed25519Key(file_obj=io.StringIO(identity.private_key))
    key.load_certificate(identity.certificate)
    naive = paramiko.SSHClient()
    naive.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507 - it is what is shown
    naive.connect("127.0.0.1", sshd.port, getpass.getuser(), pkey=key, allow_agent=False, look_for_keys=False)
    naive.close()
    before = sshd.log.count("Accepted")
    door = replace(sshd.door, host_key=OTHER_KEY)

    with pytest.raises(HostKeyChanged):
        connect(door, AUTHORITY.identity(getpass.getuser(), "burst/test", datetime.now(UTC)))

    assert before > 0
    assert sshd.log.count("Accepted") == before


def test_f46_no_module_takes_an_unknown_host_key() -> None:
    """No policy but paramiko's RejectPolicy is named anywhere, and ssh is never told to look away."""
    files = [path for package in (gateway, slurm_plugins) for path in Path(package.__path__[0]).rglob("*.py")]
    named = {word for file in files for word in _words(file) if word.endswith("Policy")}
    loose = [
        file for file in files if "StrictHostKeyChecking=no" in file.read_text() or "accept-new" in file.read_text()
    ]

    assert len(files) > 100
    assert "RejectPolicy" in named
    assert not named & {"AutoAddPolicy", "WarningPolicy", "MissingHostKeyPolicy"}
    assert loose == []


def test_a_login_runs_a_command_and_passes_its_exit_code_on(node: Sshd, capfd) -> None:
    """With a key that is gone afterwards, and without the user's own agent, keys and configuration."""
    with node_shell() as shell:
        folder = shell.folder
        said = login(node, shell)
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert (modes, folder.stat().st_mode & 0o777) == ({"key": 0o600}, 0o700)

        code = shell.run(said, ("echo", "here;", "exit", "7"))

    assert code == 7
    assert capfd.readouterr().out == "here\n"
    assert not folder.exists()
    assert "ID burst/ada/small-1" in node.log


def test_f46_the_users_ssh_refuses_another_host_key(node: Sshd, capfd) -> None:
    """In one line that says what it means; nothing was sent to that host."""
    before = node.log.count("Accepted")

    with node_shell() as shell, pytest.raises(HostKeyChanged, match="another host key") as refused:
        shell.run(login(node, shell, pin=OTHER_KEY), ("true",))

    assert "administrator" in (refused.value.hint or "")
    assert capfd.readouterr() == ("", "")
    assert node.log.count("Accepted") == before


def test_f46_a_host_that_the_user_knows_otherwise_is_not_trusted_for_that(node: Sshd, tmp_path, monkeypatch) -> None:
    """What is in the user's own known_hosts, or in their configuration, counts for nothing here."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/known_hosts").write_text(f"small-1 {node.door.host_key}\n")
    (tmp_path / ".ssh/config").write_text("Host *\n  StrictHostKeyChecking no\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    with node_shell() as shell, pytest.raises(HostKeyChanged):
        shell.run(login(node, shell, pin=OTHER_KEY), ("true",))


@pytest.mark.parametrize(
    ("said", "life_s"),
    [
        (principal("small-1", 2, "root"), 600),
        (principal("small-2", 3, "root"), 600),
        (principal("small-1", 3, "burst-job"), 600),
        (getpass.getuser(), 600),
        (GOOD, -5),
    ],
)
def test_a_certificate_for_anything_else_opens_nothing(node: Sshd, said: str, life_s: int) -> None:
    """Another machine of that name, another node, another account, a Unix name, or a time that is over."""
    with node_shell() as shell, pytest.raises(LoginRefused):
        shell.run(login(node, shell, said=said, life_s=life_s), ("true",))


def test_another_authoritys_certificate_opens_nothing(node: Sshd) -> None:
    """Though it says the right words."""
    with node_shell() as shell, pytest.raises(LoginRefused):
        shell.run(login(node, shell, authority=Authority(make_private_key())), ("true",))


def test_a_node_that_does_not_answer_is_said_so(node: Sshd) -> None:
    """With the address that there must be a way to."""
    with node_shell() as shell, pytest.raises(HostUnreachable, match=r"small-1 at 127\.0\.0\.1 cannot be reached"):
        shell.run(login(node, shell).model_copy(update={"port": 1}), ("true",))


def test_a_certificate_forwards_nothing_and_allows_a_terminal(tmp_path) -> None:
    """ssh-keygen shows what is in it: one principal, ten minutes at most, permit-pty and no other extension."""
    with node_shell() as shell:
        line = AUTHORITY.certify(
            shell.make_key(), GOOD, name="burst/ada/small-1", now=datetime.now(UTC), life=timedelta(minutes=10)
        )
    (tmp_path / "cert.pub").write_text(line)
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(tmp_path / "cert.pub")], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "user" in shown
    assert [word for word in shown if word.startswith("node:")] == [GOOD]
    assert [word for word in shown if word.startswith("permit-")] == ["permit-pty"]


@pytest.mark.parametrize("line", ["ssh-ed25519 AAAA", "ssh-rsa AAAA", "nonsense", ""])
def test_only_an_ed25519_key_is_certified(line: str) -> None:
    """Anything else is refused with the command that makes one."""
    with pytest.raises(InvalidRequest) as refused:
        AUTHORITY.certify(line, GOOD, name="x", now=datetime.now(UTC), life=timedelta(minutes=5))

    assert "ssh-keygen -t ed25519" in (refused.value.hint or "")


def test_key_and_certificate_go_when_the_command_is_told_to_end(node: Sshd, tmp_path) -> None:
    """SIGTERM, as batch systems send it, leaves no key behind."""
    program = (
        "import os, signal\n"
        "from gateway.client.node_shell import node_shell\n"
        "with node_shell() as shell:\n"
        "    shell.make_key()\n"
        "    print(len(list(shell.folder.iterdir())), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (143, "1\n")
    assert list(tmp_path.iterdir()) == []


def _words(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }
