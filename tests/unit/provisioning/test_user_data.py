"""User-data: whatever goes in comes out again as the same value, and cloud-init takes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import CloudInvalid
from gateway.provisioning.node_image import NodeImage
from gateway.provisioning.user_data import JOIN_FILE, MAX_BYTES, UserData, file_in, render
from gateway.settings import Settings

CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA burst-gateway"
TOKEN = "6Zr1mTq3ZJ0Wb9sJYg3mZQ"
PLAIN = UserData(
    "small-1", "http://10.77.0.1:8080", TOKEN, "http://10.77.0.1:8080/node-agent.py", "a" * 64, "burst/x", 3, CA
)
TEXTS = st.text(max_size=200)


@settings(deadline=None)  # pure Python reads the YAML several times
@given(node=TEXTS, url=TEXTS, token=TEXTS, digest=TEXTS, fact=TEXTS)
@example(
    node='"\n- path: /etc/passwd\n  content: "', url="{{ 7*7 }}", token="{% raw %}", digest="#: &a *a !!x", fact="\\"
)
@example(node="a\u2028b\x85c", url="\U0001f600", token="'", digest="%", fact="\t\0")
def test_no_value_can_become_yaml(node: str, url: str, token: str, digest: str, fact: str) -> None:
    """The document keeps its shape, and each value is read back as it was given."""
    data = UserData(node, url, token, url, digest, url, 7, token, {"fact": fact})

    text = render(data)

    parsed = yaml.safe_load(text)
    assert text.startswith("#cloud-config\n")
    assert set(parsed) == set(yaml.safe_load(render(PLAIN)))
    assert [file["path"] for file in parsed["write_files"]] == [
        file["path"] for file in yaml.safe_load(render(PLAIN))["write_files"]
    ]
    assert json.loads(file_in(text, JOIN_FILE)) == {
        "node": node,
        "gateway_url": url,
        "token": token,
        "agent_url": url,
        "agent_sha256": digest,
        "audience": url,
        "generation": 7,
        "fact": fact,
    }


def test_the_token_is_the_only_secret_and_is_written_once() -> None:
    """It is in the invitation, which only root may read, and nowhere else; no key, no password is near it."""
    text = render(PLAIN)
    (invitation,) = (file for file in yaml.safe_load(text)["write_files"] if TOKEN in file["content"])

    assert (invitation["path"], invitation["permissions"], invitation["owner"]) == (JOIN_FILE, "0600", "root:root")
    assert text.count(TOKEN) == 1
    assert not [word for word in ("PRIVATE KEY", "munge.key", "passwd", "ssh_authorized_keys") if word in text]


def test_cloud_init_does_not_wait_for_the_agent() -> None:
    """Joining may take as long as the gateway does; the boot does not."""
    (start,) = yaml.safe_load(render(PLAIN))["runcmd"]

    assert {"systemctl", "--no-block", "burst-node.service"} <= set(start)


def test_what_runs_on_the_node_is_valid_python() -> None:
    """The starter compiles, and is short enough to be read in the user-data."""
    compile(file_in(render(PLAIN), "/usr/local/lib/burst/start.py"), "start.py", "exec")


def test_it_fits_into_every_cloud() -> None:
    """The ordinary case is far below the limit, and a case above it is refused before a cloud cuts it short."""
    assert len(render(PLAIN)) < 5120
    with pytest.raises(CloudInvalid, match="8192"):
        render(UserData("n", "u", "t", "a", "s", "b", 1, "c", {"long": "x" * MAX_BYTES}))


@pytest.mark.parametrize(
    "text", ["", "#!/bin/sh\nreboot\n", "#cloud-config\n[", "#cloud-config\n- a\n", "#cloud-config\n{}\n"]
)
def test_user_data_without_an_invitation_is_refused(text: str) -> None:
    """A process node takes its invitation out of the user-data, and says so if there is none."""
    with pytest.raises(ValueError, match="user-data"):
        file_in(text, JOIN_FILE)


def test_cloud_init_accepts_it(tmp_path: Path) -> None:
    """cloud-init's own schema check, of this machine or of the node image, finds no fault."""
    command = schema_check(tmp_path)
    file = tmp_path / "user-data"
    file.write_text(render(PLAIN))

    done = subprocess.run([*command], stdin=file.open(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def schema_check(directory: Path) -> list[str]:
    """A command that checks the user-data on its standard input."""
    check = ["cloud-init", "schema", "--config-file", "/dev/stdin"]
    if shutil.which("cloud-init"):
        return check
    settings = Settings(directory=directory)
    image = NodeImage(settings.cache_dir, settings.image_suite, settings.image_packages)
    if not image.ready or os.geteuid() != 0:
        pytest.skip("no cloud-init here, and no node image that has one")
    layers = f"lowerdir={image.path},upperdir=upper,workdir=work"
    copy = f"mkdir upper work root; mount -t overlay overlay -o {layers} root; cat > root/checked"
    script = f"set -e; cd {directory}; {copy}; chroot root cloud-init schema --config-file /checked"
    return ["unshare", "--mount", "sh", "-c", script]


def test_the_door_is_for_certificates_of_the_authority_alone(tmp_path: Path) -> None:
    """What sshd itself makes of the file: one authority, principals of this very machine, no password, no other key."""
    text = render(PLAIN)
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    config = tmp_path / "sshd_config"
    # sshd takes the first of two: what an image says afterwards changes nothing.
    loose = "PasswordAuthentication yes\nPermitRootLogin yes\nAuthorizedKeysFile .ssh/authorized_keys\n"
    config.write_text(file_in(text, "/etc/ssh/sshd_config.d/10-burst.conf") + loose)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)

    shown = subprocess.run(
        [sshd, "-T", "-f", str(config), "-h", str(tmp_path / "key")], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    for line in (
        "trustedusercakeys /etc/ssh/burst/ca.pub",
        "authorizedprincipalsfile /etc/ssh/burst/%u",
        "authorizedkeysfile none",
        "authenticationmethods publickey",
        "permitrootlogin without-password",
        "disableforwarding yes",
    ):
        assert line in shown
    assert file_in(text, "/etc/ssh/burst/ca.pub") == CA
    assert file_in(text, "/etc/ssh/burst/root") == "node:small-1:3:root"
    assert file_in(text, "/etc/ssh/burst/burst-job") == "node:small-1:3:burst-job"


@pytest.mark.parametrize(("age_s", "off"), [(10.0, False), (10_000.0, True)])
def test_a_machine_that_never_gets_its_agent_powers_off(tmp_path: Path, age_s: float, off: bool) -> None:
    """Its gateway died after ordering it: systemd starts the starter again and again, but not for ever."""
    join, began, said = tmp_path / "join.json", tmp_path / "began", tmp_path / "said"
    join.write_text(
        json.dumps({"agent_url": "http://127.0.0.1:9/agent", "agent_sha256": "0" * 64, "lease_seconds": 60})
    )
    began.write_text(str(time.monotonic() - age_s))
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    (tmp_path / "systemctl").chmod(0o755)
    text = file_in(render(PLAIN), "/usr/local/lib/burst/start.py")
    text = text.replace(JOIN_FILE, str(join)).replace("/run/burst-began", str(began))

    done = subprocess.run(
        [sys.executable, "-c", text],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (said.exists(), "no agent" in done.stderr) == (off, not off)
    assert not off or said.read_text() == "poweroff\n"
