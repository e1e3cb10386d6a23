"""A node and its keys: made on the node, pinned by the gateway, and used by people who log in while they may."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gateway_site import PATIENCE_S, Answer, Site, eventually
from joserfc.jwk import OKPKey

from gateway.identity.join import node_kid
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.signature import sign_request
from gateway.provisioning.user_data import JOIN_FILE, file_in
from gateway.wire import JobView

pytestmark = pytest.mark.root

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDCdz8aXqGkOHpQN5B4Eg4jcDbS0Jf3ZcVxJZ4M1Wm9X"


@dataclass(frozen=True)
class Occupied:
    """A container node with a job of demo's on it."""

    site: Site
    node: str
    job: JobView

    @property
    def disk(self) -> Path:
        """What the node wrote, seen from outside."""
        return self.site.directory / "cloud" / self.node / "upper"

    def ssh(self, *command: str, user: str = "demo") -> Answer:
        return self.site.burst("nodes", "ssh", self.node, "--", *command, user=user)

    def row(self, columns: str) -> tuple[Any, ...]:
        (row,) = self.site.rows(f"SELECT {columns} FROM nodes WHERE name = ?", self.node)  # noqa: S608 - ours
        return row


@pytest.fixture(scope="module")
def occupied(site: Site) -> Iterator[Occupied]:
    """demo's job runs until the tests are over, or one of them ends it."""
    site.add_user("carol")
    job = site.reach(site.submit("echo begun; exec sleep 600", "--time=10"), "RUNNING")
    attempt = eventually(lambda: next(iter(site.login().job(job.burst_id).attempts), None), "its attempt is known")
    yield Occupied(site, attempt.nodes[0], job)
    site.burst("cancel", str(job.id))
    site.finish(job)


def test_its_key_was_made_on_the_node(occupied: Occupied) -> None:
    """The private half is there alone, mode 0600; the gateway has the public half and nothing else of it."""
    file = occupied.disk / "var/lib/burst/node.key"
    key = OKPKey.import_key(load_pem_private_key(file.read_bytes(), None))

    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(occupied.row("public_key")[0]) == public_jwk(key)
    private = (key.as_dict(private=True)["d"], file.read_bytes().splitlines()[1].decode())
    kept = list(occupied.site.directory.glob("state.db*"))
    kept += [path for name in ("log", "secrets", "run") for path in (occupied.site.directory / name).rglob("*")]
    found = [path for path in kept if path.is_file() and any(each.encode() in path.read_bytes() for each in private)]
    assert len(kept) > 5
    assert found == []


def test_the_node_is_told_nothing_secret(occupied: Occupied) -> None:
    """Its identity, for which it traded its token, holds Slurm's key and no secret to sign with; the token is gone."""
    identity = json.loads((occupied.disk / "var/lib/burst/identity.json").read_text())
    invitation = json.loads((occupied.disk / "etc/burst/join.json").read_text())

    assert not {"secret", "token"} & {*identity, *invitation}


def test_f46_its_host_key_is_pinned_from_provisioning(occupied: Occupied) -> None:
    """What the node's own sshd has is what it reported in the join request that it signed, and what people are told."""
    line = (occupied.disk / "etc/ssh/ssh_host_ed25519_key.pub").read_text()

    answer = occupied.site.burst("nodes", "ssh", occupied.node, "--json")

    assert answer.code == 0, answer.err
    assert answer.json["host_keys"] == [" ".join(line.split()[:2])]
    assert "certificate" not in answer.json


def test_the_owner_of_a_job_logs_in(occupied: Occupied) -> None:
    """As whom jobs run as there, with the command's output and exit code; ssh asks nothing."""
    named = occupied.ssh("hostname")
    failed = occupied.ssh("id -un; exit 7")

    assert (named.code, named.out, named.err) == (0, f"{occupied.node}\n", "")
    assert (failed.code, failed.out) == (7, "nobody\n")


def test_an_administrator_logs_in_as_root(occupied: Occupied) -> None:
    """To any node; sshd's own journal says who it was."""
    answer = occupied.ssh("id -u; journalctl -b -o cat -u ssh", user="admin")

    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == "0"
    assert f"ID burst/admin/{occupied.node}" in answer.out


def test_a_user_without_a_job_there_is_refused(occupied: Occupied) -> None:
    """In one line; and the audit log knows of it."""
    answer = occupied.ssh("true", user="carol")

    assert answer.code == 1
    assert "carol may not log in to this node" in answer.complaint
    assert "job running there" in answer.complaint
    query = "SELECT outcome, subject FROM audit_records WHERE action = 'ssh' AND actor = 'carol'"
    assert occupied.site.rows(query) == [("refused", f"node:{occupied.node}")]


def test_each_certificate_is_in_the_audit_log(occupied: Occupied) -> None:
    """Under the signed request that asked for it, and for which job."""
    query = "SELECT authorisation, job FROM audit_records WHERE action = 'ssh' AND actor = 'demo' AND outcome = 'done'"

    found = occupied.site.rows(query)

    assert found
    for digest, job in found:
        assert job == occupied.job.burst_id
        assert occupied.site.rows("SELECT path FROM evidence WHERE digest = ?", digest) == [
            (f"/api/v1/nodes/{occupied.node}/ssh",)
        ]


def test_f46_another_host_key_is_refused(occupied: Occupied) -> None:
    """Had the node reported another key, the one that it shows would be somebody else's."""
    pinned = tuple(json.loads(occupied.row("ssh_host_keys")[0]))
    _pin(occupied, (OTHER_KEY,))
    try:
        answer = occupied.ssh("true")
    finally:
        _pin(occupied, pinned)

    assert answer.code == 1
    assert "shows another host key" in answer.complaint
    assert occupied.ssh("true").code == 0


def test_the_door_takes_no_password_and_no_other_key(occupied: Occupied) -> None:
    """sshd offers one way in, and a key without a certificate is none."""
    settings = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes")
    options = ("-F", "none", *(word for setting in settings for word in ("-o", setting)))
    for user in ("root", "debian", "nobody", "burst-job"):
        done = subprocess.run(
            ["ssh", *options, f"{user}@{occupied.row('address')[0]}", "true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 255
        assert "Permission denied (publickey)." in done.stderr


def test_a_stolen_token_is_refused_and_alarmed(occupied: Occupied) -> None:
    """Whoever read the user-data has an alarm: in the audit log, the node's timeline, the metrics, the log."""
    site, node = occupied.site, occupied.node
    text = (site.directory / "cloud" / node / "seed" / "user-data").read_text()
    invitation = json.loads(file_in(text, JOIN_FILE))
    key, path = make_key(), "/api/v1/nodes/join"
    body = {"node": node, "token": invitation["token"], "public_key": public_jwk(key)}
    content = json.dumps(body).encode()
    kid = node_kid(node, invitation["generation"])
    proof = sign_request(key, kid, "POST", path, content, invitation["audience"], datetime.now(UTC))
    before = occupied.row("public_key, state")

    headers = {"Authorization": f"Burst {proof}", "Content-Type": "application/json"}
    answer = httpx2.post(f"{site.url}{path}", content=content, headers=headers)

    assert answer.status_code == 401
    assert "munge" not in answer.text
    assert occupied.row("public_key, state") == before
    query = "SELECT text, address FROM audit_records WHERE outcome = 'alarm' AND subject = ? ORDER BY seq DESC"
    told, address = site.rows(query, f"node:{node}")[0]
    assert (told.startswith("a join was refused (stolen)"), address) == (True, "127.0.0.1")
    (view,) = [one for one in site.burst("nodes", "--json").json if one["name"] == node]
    assert [event["text"] for event in view["timeline"] if event["kind"] == "alarm"][-1].startswith(told)
    assert 'burst_join_alarms_total{kind="stolen"}' in httpx2.get(f"{site.url}/metrics").text
    log = (site.directory / "log/gateway.log").read_text()
    assert "stolen" in log
    assert invitation["token"] not in log


def test_a_login_ends_with_the_job(occupied: Occupied) -> None:
    """What its owner left running on the node goes when the job goes, and no further certificate is given."""
    words = ["nodes", "ssh", occupied.node, "--", "echo in; exec sleep 1000"]
    session = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words],
        env=occupied.site.environment("demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert session.stdout is not None
    assert session.stdout.readline() == "in\n"

    assert occupied.site.burst("cancel", str(occupied.job.id)).code == 0

    session.communicate(timeout=PATIENCE_S)
    assert session.returncode == 255
    eventually(lambda: "may not log in" in occupied.ssh("true").err, "no certificate any more")


def _pin(occupied: Occupied, keys: tuple[str, ...]) -> None:
    with occupied.site.work(write=True) as work:
        work.fleet.note(work.fleet.get(occupied.node), ssh_host_keys=keys)
