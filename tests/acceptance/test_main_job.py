"""The main road: a script goes in, nodes come, the job runs with its own credential, its outputs, a receipt and no node
are left. Every sentence is checked where it can be seen: in Slurm, the cloud, the store, the ledger, on the node.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gateway_site import Site, eventually
from secret_scan import search
from site_secrets import open_secrets, sealed_secrets

from gateway.accounting.settle import RECEIPT_TYPE
from gateway.identity.credentials import CREDENTIAL_TYPE
from gateway.identity.join import gang_kid
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.signature import sign_request
from gateway.jobs.stages import ROUTE_ORDER
from gateway.provisioning.user_data import JOIN_FILE, file_in
from gateway.wire import JobView, Receipt

pytestmark = pytest.mark.root

CREDIT = 1_000_000
OPENING = 5 * CREDIT
NODES = {"small-1", "small-2"}

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=main
#SBATCH --nodes=2
#SBATCH --nodelist=small-1,small-2
#SBATCH --time=10
#SBATCH --output=main-%j.out
#BURST --stage-in=input.txt
#BURST --stage-in=probe.py
set -eu
srun --ntasks-per-node=1 bash -c 'echo "$SLURMD_NODENAME $(hostname)" > "node-$SLURM_PROCID.txt"'
mkdir -p deep/er
tr a-z A-Z < input.txt > deep/er/output.txt
truncate -s 0 empty
head -c 3000000 /dev/zero | tr '\\0' x > big.dat
echo "spaces and ümlauts" > "a strange näme.txt"
echo changed >> input.txt
python3 probe.py
"""
"""Asks for nodes by name only so that no other test's job can use them meanwhile."""

PROBE = """\
import json, os, stat, urllib.error, urllib.request

def asks(paths):
    body = json.dumps({"paths": paths}).encode()
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["BURST_URL"] + "/api/v1/jobs/self/presign", body, headers)
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

file = os.environ["BEARER_TOKEN_FILE"]
token = open(file).read()
node = os.environ["SLURMD_NODENAME"]
names = ("BURST_JOB_ID", "BURST_OUTPUT", "BURST_URL", "BEARER_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
         "AWS_ENDPOINT_URL_S3", "HOME", "TMPDIR", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_NUM_NODES")
found = {
    "environment": {name: os.environ.get(name) for name in names},
    "mode": stat.S_IMODE(os.stat(file).st_mode),
    "owner": os.stat(file).st_uid == os.getuid() != 0,
    "writable": [name for name in ("HOME", "TMPDIR", "BURST_OUTPUT") if os.access(os.environ[name], os.W_OK)],
    "cwd": os.getcwd(),
    "token": token,
    "own": asks([f"files/{node}/more.txt"]),
    "foreign": asks(["files/other-node/more.txt"]),
    "outside": asks(["../../../../manifest.json"]),
}
json.dump(found, open("probe.json", "w"))
"""


@dataclass(frozen=True)
class Ran:
    """The job of this module, once it is settled, and what was seen on the way."""

    site: Site
    user: str
    job: JobView
    machines: dict[str, str]
    """Node → id of the cloud's machine, while the job ran."""
    states: dict[str, str]
    """Node → what sinfo said meanwhile."""
    user_data: dict[str, str]
    files: Path
    """Where ``burst fetch`` put its outputs."""

    @property
    def id(self) -> str:
        return str(self.job.id)

    @property
    def prefix(self) -> str:
        return f"jobs/{self.job.burst_id}/0/"

    @property
    def probe(self) -> dict[str, Any]:
        return dict(json.loads((self.files / "probe.json").read_text()))

    def jwks(self) -> dict[str, Any]:
        return dict(httpx2.get(f"{self.site.url}/.well-known/jwks.json").json())


@pytest.fixture(scope="module")
def ran(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Submit the job with the real command, as a user of its own; look at cloud and Slurm while it runs; fetch."""
    folder = tmp_path_factory.mktemp("main")
    for name, text in (("job.sh", SCRIPT), ("probe.py", PROBE), ("input.txt", "some input\n")):
        (folder / name).write_text(text)
    user = site.add_user("ada", credits_ucr=OPENING)
    submitted = site.burst("submit", "--parsable", "job.sh", user=user, cwd=folder)
    assert submitted.code == 0, submitted.err
    name = submitted.out.strip()
    with site.login(user) as gateway:
        eventually(lambda: (v := gateway.job(name)).state == "RUNNING" or v.finished, "the job runs")
    machines = {node.name: str(node.id) for node in site.list_nodes() if node.name in NODES}
    states = {node: state for node, state in site.sinfo().items() if node in NODES}
    seeds = {node: site.directory / "cloud" / node / "seed/user-data" for node in NODES}
    user_data = {node: file.read_text() for node, file in seeds.items()}
    waited = site.burst("job", name, "--watch", "--json", user=user)
    assert waited.code == 0, waited.err
    job = JobView.model_validate_json(waited.out)
    assert job.state == "COMPLETED", (job.reason, site.last_words())
    fetched = site.burst("fetch", name, "--to", str(folder / "results"), user=user)
    assert fetched.code == 0, fetched.err
    return Ran(site, user, job, machines, states, user_data, folder / "results")


def test_nodes_were_there_while_it_ran(ran: Ran) -> None:
    """The cloud's own driver lists a machine for each node, and Slurm's own sinfo has both nodes up."""
    assert set(ran.machines) == NODES
    assert set(ran.states) == NODES
    assert not [state for state in ran.states.values() if state.endswith(("~", "#", "*"))], ran.states


def test_outputs_are_what_the_job_left(ran: Ran) -> None:
    """New and changed files of both nodes come back whole, the unchanged input does not."""
    hosts = {(ran.files / f"node-{rank}.txt").read_text() for rank in (0, 1)}
    assert hosts == {f"{node} {node}\n" for node in NODES}
    assert (ran.files / "deep/er/output.txt").read_text() == "SOME INPUT\n"
    assert (ran.files / "input.txt").read_text() == "some input\nchanged\n"
    assert (ran.files / "a strange näme.txt").read_text() == "spaces and ümlauts\n"
    assert (ran.files / "empty").stat().st_size == 0
    assert (ran.files / "big.dat").stat().st_size == 3_000_000
    assert (ran.files / f"main-{ran.id}.out").exists()
    assert not (ran.files / "probe.py").exists()


def test_the_manifest_is_last_and_says_what_is_there(ran: Ran) -> None:
    """No object of the attempt is younger than its manifest; each file's size and digest are the object's."""
    objects = dict(ran.site.store.list(ran.prefix))
    written = objects.pop(f"{ran.prefix}manifest.json").modified
    assert all(info.modified <= written for info in objects.values())
    content = ran.site.store.get_bytes(f"{ran.prefix}manifest.json")
    files = json.loads(content)["files"]
    assert {ran.prefix + file["key"] for file in files} == {key for key in objects if not key.endswith("/live/stdout")}
    for file in files:
        stored = ran.site.store.get_bytes(ran.prefix + file["key"])
        assert (len(stored), hashlib.sha256(stored).hexdigest()) == (file["size"], file["sha256"])
    (known,) = ran.site.rows("SELECT manifest_sha256 FROM attempts WHERE job = ?", ran.job.burst_id)
    assert known == (hashlib.sha256(content).hexdigest(),)


def test_a_flipped_byte_makes_fetch_fail(ran: Ran, tmp_path: Path) -> None:
    """Given a stored object with one other byte, fetch exits 1, says which file it is, and leaves no such file."""
    entry = next(
        file
        for file in json.loads(ran.site.store.get_bytes(f"{ran.prefix}manifest.json"))["files"]
        if file["path"] == "deep/er/output.txt"
    )
    key = ran.prefix + entry["key"]
    right = ran.site.store.get_bytes(key)
    ran.site.store.put_bytes(key, bytes([right[0] ^ 1]) + right[1:])
    try:
        answer = ran.site.burst("fetch", ran.id, "--to", str(tmp_path), user=ran.user)
    finally:
        ran.site.store.put_bytes(key, right)
    assert answer.code == 1
    assert "'deep/er/output.txt' is not what the job left" in answer.complaint
    assert entry["sha256"] in answer.complaint
    assert "; fetch again" in answer.complaint
    assert not (tmp_path / "deep/er/output.txt").exists()


def test_a_single_receipt_that_anybody_can_verify(ran: Ran) -> None:
    """One receipt; held is charged plus refunded, lines sum to the charge, and the published key signed just that."""
    (count,) = ran.site.rows("SELECT count(*) FROM receipts WHERE job = ?", ran.job.burst_id)
    assert count == (1,)
    receipt = Receipt.model_validate(ran.site.burst("receipt", ran.id, "--json", user=ran.user).json)
    assert receipt.held_ucr == ran.job.hold_ucr == receipt.charged_ucr + receipt.refunded_ucr
    assert sum(line.amount_ucr for line in receipt.lines) == receipt.charged_ucr > 0
    signed = json.loads(verify_with(ran.jwks(), receipt.signature, RECEIPT_TYPE))
    assert (signed["job"], signed["number"], signed["charged_ucr"]) == (
        ran.job.burst_id,
        receipt.number,
        receipt.charged_ucr,
    )


def test_the_charge_is_seconds_times_price(ran: Ran) -> None:
    """Node seconds by Slurm's own times, at the offer's price by the hour, rounded up to a micro-credit."""
    receipt = ran.site.burst("receipt", ran.id, "--json", user=ran.user).json
    offers = ran.site.burst("offers", "--json", user=ran.user).json
    price = next(offer["price_ucr_per_hour"] for offer in offers if offer["name"] == "small")
    (attempt,) = ran.job.attempts
    assert attempt.started_at is not None
    assert attempt.ended_at is not None
    seconds = (attempt.ended_at - attempt.started_at).total_seconds()
    assert 0 <= receipt["charged_ucr"] / (price / 3600) - 2 * seconds <= 2 * 2


def test_the_money_adds_up(ran: Ran) -> None:
    """The account has what it had less the charge, the chain of entries is whole, and all entries sum to zero."""
    receipt = ran.site.burst("receipt", ran.id, "--json", user=ran.user).json
    (balance,) = ran.site.burst("balance", "--json", user=ran.user).json
    assert balance == {"account": ran.user, "available_ucr": OPENING - receipt["charged_ucr"], "held_ucr": 0}
    with ran.site.work() as work:
        work.ledger.verify_chain()
        entries = [(entry.kind, entry.amount_ucr) for entry in work.ledger.entries(ran.user)]
    assert entries == [("deposit", OPENING), ("hold", -receipt["held_ucr"]), ("refund", receipt["refunded_ucr"])]
    assert ran.site.rows("SELECT sum(amount_ucr) FROM ledger_entries") == [(0,)]


def test_the_timeline_has_every_stage_in_order(ran: Ran) -> None:
    """`burst job` shows each stage of the route once, in order, no time going backwards, and why the job waited."""
    stages = [event.kind for event in ran.job.timeline if event.kind in set(ROUTE_ORDER)]
    assert stages == list(ROUTE_ORDER)
    assert all(earlier.at <= later.at for earlier, later in pairwise(ran.job.timeline))
    assert any("its nodes are being made" in event.text for event in ran.job.timeline if event.kind == "waiting")
    shown = ran.site.burst("job", ran.id, user=ran.user).out
    assert all(stage in shown for stage in ROUTE_ORDER)


def test_the_job_had_what_it_was_promised(ran: Ran) -> None:
    """Its variables, its own writable folders, and a credential file that only its user can read."""
    probe = ran.probe
    variables = probe["environment"]
    assert all(variables.values()), variables
    assert variables["BURST_JOB_ID"] == ran.job.burst_id
    assert variables["SLURM_JOB_ID"] == ran.id
    assert (variables["SLURM_JOB_NAME"], variables["SLURM_JOB_NUM_NODES"]) == ("main", "2")
    assert variables["BURST_OUTPUT"] == probe["cwd"]
    assert variables["BEARER_TOKEN_FILE"] == variables["AWS_WEB_IDENTITY_TOKEN_FILE"]
    assert (probe["mode"], probe["owner"]) == (0o400, True)
    assert probe["writable"] == ["HOME", "TMPDIR", "BURST_OUTPUT"]


def test_the_credential_is_the_jobs_own_and_no_more(ran: Ran) -> None:
    """Signed by the gateway for this attempt on this node; it opens this node's outputs, nothing beside them."""
    claims = json.loads(verify_with(ran.jwks(), ran.probe["token"], CREDENTIAL_TYPE))
    issuer = httpx2.get(f"{ran.site.url}/.well-known/openid-configuration").json()["issuer"]
    assert (claims["iss"], claims["sub"]) == (issuer, ran.user)
    assert (claims["burst_job"], claims["burst_attempt"]) == (ran.job.burst_id, "0")
    assert claims["burst_node"] in NODES
    assert f"storage.create:/{ran.prefix}" in claims["scope"].split()
    assert 600 < claims["exp"] - claims["iat"] <= 2 * 3600
    assert (ran.probe["own"], ran.probe["foreign"], ran.probe["outside"]) == (200, 403, 403)


def test_the_credential_is_dead_once_the_job_is_over(ran: Ran) -> None:
    """The very token that worked in the job is answered with 401 now."""
    answer = httpx2.post(
        f"{ran.site.url}/api/v1/jobs/self/presign",
        json={"paths": [f"files/{min(NODES)}/more.txt"]},
        headers={"Authorization": f"Bearer {ran.probe['token']}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_expired")


def test_user_data_holds_no_secret_but_the_one_time_token(ran: Ran) -> None:
    """No key, password or credential of the gateway is in what any process of a node may read."""
    secrets = [*sealed_secrets(ran.site), *open_secrets(ran.site)]
    assert len(secrets) > 8
    for node, text in ran.user_data.items():
        invitation = json.loads(file_in(text, JOIN_FILE))
        # Of a gang's machine: which node it becomes, it is told when it joins.
        assert set(invitation) == {
            "gang",
            "number",
            "token",
            "gateway_url",
            "agent_url",
            "agent_sha256",
            "audience",
        }
        assert list(search(node, text.encode(), secrets)) == []


def test_a_join_token_works_once(ran: Ran) -> None:
    """A second use with another key is refused, and so is a guess; the node's own key stays what it was."""
    for node, text in ran.user_data.items():
        invitation = json.loads(file_in(text, JOIN_FILE))
        member = {name: invitation[name] for name in ("gang", "number")}
        token, kid = invitation["token"], gang_kid(**member)
        before = ran.site.rows("SELECT public_key, join_token_hash FROM nodes WHERE name = ?", node)
        for told in (token, token[::-1]):
            key, path = make_key(), "/api/v1/nodes/join"
            body = json.dumps({**member, "token": told, "public_key": public_jwk(key)}).encode()
            proof = sign_request(key, kid, "POST", path, body, invitation["audience"], datetime.now(UTC))
            headers = {"Authorization": f"Burst {proof}", "Content-Type": "application/json"}
            answer = httpx2.post(f"{ran.site.url}{path}", content=body, headers=headers)
            assert answer.status_code == 401, answer.text
            assert "munge" not in answer.text
        assert ran.site.rows("SELECT public_key, join_token_hash FROM nodes WHERE name = ?", node) == before


def test_its_nodes_go(ran: Ran) -> None:
    """Without work they end: the machines leave the driver's list, Slurm has them powered down, no folder is left."""
    eventually(
        lambda: not set(ran.machines.values()) & {str(node.id) for node in ran.site.list_nodes()}, "its machines gone"
    )
    eventually(lambda: not NODES & ran.site.nodes_up(), "its nodes powered down")
    assert not [node for node in NODES if (ran.site.directory / "cloud" / node).exists()]
