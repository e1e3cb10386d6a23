"""The commands of people, as they are typed, against a real gateway: F01, F06 and the weakness W20."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import secrets
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from http_door import API, Door, problem_of

from gateway.client import remembered
from gateway.identity import totp
from gateway.identity.device_keys import make_proof
from gateway.identity.keys import make_key, public_jwk

PATIENCE_S = 120
PASSWORD = "a password to look for"


@dataclass(frozen=True)
class Shell:
    """Somebody's terminal, with a configuration directory of its own."""

    door: Door
    config: Path
    files: Path

    def burst(self, *words: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", *words]
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def burst_json(self, *words: str, stdin: str = "") -> object:
        return json.loads(self.burst(*words, "--json", stdin=stdin).stdout)

    def file(self, text: str) -> str:
        """A file with one secret in it."""
        path = self.files / secrets.token_hex(4)
        path.write_text(text + "\n")
        return str(path)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("BURST_")}
        return {**kept, "BURST_CONFIG": str(self.config), "BURST_URL": self.door.url, "COLUMNS": "200"}


def shell_of(door: Door, folder: Path, name: str) -> Shell:
    (folder / name).mkdir()
    files = folder / f"{name}-files"
    files.mkdir()
    return Shell(door, folder / name, files)


def enrol_on_a_terminal(shell: Shell) -> tuple[str, list[str]]:
    """Type as a person does: scan, or here read, the secret; type its first code; note the recovery codes."""
    ours, theirs = pty.openpty()
    words = ["totp", "enrol", "--password-file", shell.file(PASSWORD)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words],
        env=shell.environment,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    screen, deadline = "", time.monotonic() + PATIENCE_S
    while "Code of your authenticator app" not in screen and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            screen += os.read(ours, 65536).decode(errors="replace")
    secret = re.search(r"type it in: ([A-Z2-7]{32})\s", screen)[1]
    assert "otpauth://totp/" in screen
    assert sum(screen.count(block) for block in "█▀▄") > 100, "the QR code"
    os.write(ours, f"{code_of(secret)}\n".encode())
    codes = process.communicate(timeout=PATIENCE_S)[0].split()
    os.close(ours)
    assert process.returncode == 0
    assert len(codes) == 10
    return secret, codes


def code_of(secret: str, steps: int = 0) -> str:
    return totp.code_at(base64.b32decode(secret), totp.step_of(datetime.now(UTC)) + steps)


@pytest.fixture(scope="module")
def ada(door, tmp_path_factory):
    """Ada, who was invited, has registered, logged in and enrolled an app; all of it typed."""
    folder = tmp_path_factory.mktemp("shells")
    boss, shell = shell_of(door, folder, "boss"), shell_of(door, folder, "ada")
    name = f"ada-{secrets.token_hex(3)}"
    boss.burst("login", "--user", "admin", "--password-file", str(door.settings.secrets_dir / "admin.password"))
    invitation = boss.burst("users", "invite", name, "--credits", "5").stdout.strip()
    register = ("register", door.url, "--user", name, "--invitation-file", "-", "--new-password-file", "-")
    shell.burst(*register, stdin=f"{invitation}\n{PASSWORD}\n")
    shell.burst("login", "--user", name, "--password-file", "-", stdin=PASSWORD)
    secret, codes = enrol_on_a_terminal(shell)
    return name, shell, boss, secret, codes


def test_w20_the_client_keeps_no_password_and_no_shared_secret(ada, door):
    """W20: whoever copies a naive wallet logs in for ever; whoever copies ours has a key that alone opens nothing."""
    name, shell, _, secret, codes = ada
    naive = json.dumps({"password": PASSWORD, "otp_secret": secret})
    stolen = json.loads(naive)
    assert code_of(stolen["otp_secret"]) == code_of(secret), "the attack: both factors from one file"

    login = ("login", "--user", name, "--password-file", "-")
    said = shell.burst(*login, stdin=PASSWORD, code=2).stderr
    assert "--code-file" in said
    shell.burst(*login, "--remember", "--code-file", "-", stdin=f"{PASSWORD}\n{code_of(secret, 1)}\n")
    shell.burst(*login, stdin=PASSWORD)  # no code any more

    raw = base64.b32decode(secret)
    forms = {PASSWORD, secret, raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    kept = [path for path in shell.config.rglob("*") if path.is_file()]
    places = sorted(path.relative_to(shell.config).parts[0] for path in kept)
    assert places == ["devices", "known_gateways", "profiles"]
    for path in kept:
        assert path.stat().st_mode & 0o077 == 0
        assert not [form for form in (*forms, *codes) if form in path.read_text()]

    (copied,) = [
        remembered.Remembered(**json.loads(path.read_text())) for path in kept if path.parent.name == "devices"
    ]
    key = make_key()
    facts = {
        "user": name,
        "password": "what the thief guesses",
        "public_key": public_jwk(key),
        "device": make_proof(copied.device, name, key, copied.audience, datetime.now(UTC)),
    }
    problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "not_allowed")

    (device,) = shell.burst_json("devices")
    assert device["id"] == copied.id
    shell.burst("devices", "revoke", device["id"][:8])
    facts |= {"password": PASSWORD, "device": make_proof(copied.device, name, key, copied.audience, datetime.now(UTC))}
    problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "code_needed")
    shell.burst(*login, stdin=PASSWORD, code=2)


def test_a_lost_app_is_replaced_by_a_recovery_code(ada):
    """Typed as a person does; then the password alone logs in."""
    name, shell, _, _, codes = ada
    recover = ("totp", "recover", shell.door.url, "--user", name, "--password-file", "-", "--recovery-code-file", "-")

    shell.burst(*recover, stdin=f"{PASSWORD}\nAAAAAA-AAAAAA-AAAAAA-AAAAAA\n", code=1)
    assert shell.burst_json(*recover, stdin=f"{PASSWORD}\n{codes[3]}\n") == {"recovered": True}

    shell.burst("login", "--user", name, "--password-file", "-", stdin=PASSWORD)
    assert shell.burst_json("totp") == {"totp": False, "recovery_codes": 0, "devices": 0}
    changed = ("password", "--password-file", "-", "--new-password-file", "-")
    shell.burst(*changed, stdin=f"{PASSWORD}\nyet another password\n")
    shell.burst("login", "--user", name, "--password-file", "-", stdin=PASSWORD, code=1)


def test_groups_and_users_are_looked_after_by_commands(ada):
    """An administrator's, with tables for people and JSON for programs."""
    name, _, boss, _, _ = ada
    project = f"ice-{secrets.token_hex(3)}"

    boss.burst("groups", "create", project, "--project", "--title", "Ice", "--leader", "admin")
    assert name in boss.burst("groups", "add", project, name).stdout
    shown = boss.burst_json("groups", "show", project)
    boss.burst("groups", "remove", project, name)
    second = boss.burst_json("users", "add", f"bob-{secrets.token_hex(3)}", "--role", "admin")
    bob = second[0]["user"]
    boss.burst("users", "role", bob, "user")
    disabled = boss.burst_json("users", "disable", bob)
    boss.burst("users", "enable", bob)
    boss.burst("users", "reset", bob, "--password")

    assert {one["user"]: one["role"] for one in shown["members"]} == {"admin": "leader", name: "member"}
    assert (disabled["disabled"], disabled["role"]) == (True, "user")
    assert {name, bob, "admin"} <= {one["user"] for one in boss.burst_json("users", "list")}
    assert "administrator" in boss.burst("users", "disable", "admin", code=1).stderr
