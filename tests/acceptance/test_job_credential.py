"""A job's own credential in use: plain boto3 in a real job, a real Ceph object gateway, and what is left at its end."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import httpx2
import pytest
import scitokens
from botocore.config import Config
from botocore.exceptions import ClientError
from ceph_cluster import Ceph
from gateway_site import Site, eventually, site_in

from gateway.bootstrap.rings import credential_keys, signing_keys
from gateway.identity.credentials import CREDENTIAL_TYPE
from gateway.identity.jws import sign
from gateway.identity.keys import make_pair
from gateway.staging.external_store import ACCESS_FILE
from gateway.staging.object_store import S3Store, StoreAccess
from gateway.staging.store_roles import RoleNames
from gateway.wire import JobView

BUCKET = "acceptance"
INPUT = "a staged input\n"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
STS = "{https://sts.amazonaws.com/doc/2011-06-15/}"

JOB = """\
#BURST --stage-in=input.txt
exec {python} - "$@" <<'EOF'
import json, os, pathlib, sys, time
import boto3
from botocore.exceptions import ClientError

note, go, sibling = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
store = json.load(open(os.environ["BURST_STORE"]))
session = boto3.Session()
s3, bucket, own = session.client("s3"), store["bucket"], store["output_prefix"]

def status(call, **words):
    try:
        return call(Bucket=bucket, **words)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]

text = s3.get_object(Bucket=bucket, Key=store["inputs"]["input.txt"])["Body"].read().decode()
s3.put_object(Bucket=bucket, Key=own + "deep/result.txt", Body=text.upper().encode())
keys = session.get_credentials().get_frozen_credentials()
token_file = os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]
seen = {{
    "input": text,
    "listed": [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=own)["Contents"]],
    "sibling": sibling and {{
        "GET": status(s3.get_object, Key=sibling + "deep/result.txt"),
        "LIST": status(s3.list_objects_v2, Prefix=sibling),
        "PUT": status(s3.put_object, Key=sibling + "planted", Body=b"x"),
    }},
    "token": open(token_file).read(),
    "mode": os.stat(token_file).st_mode,
    "keys": list(keys),
    "method": session.get_credentials().method,
    "store": store,
    "aws": {{name: value for name, value in os.environ.items() if name.startswith("AWS_")}},
}}
with open(os.open(str(note) + ".new", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
    json.dump(seen, file)
os.rename(str(note) + ".new", note)
deadline = time.monotonic() + 240
while not go.exists() and time.monotonic() < deadline:
    time.sleep(0.1)
EOF
"""


CURL = """\
curl --silent --show-error --fail "$BURST_URL/oauth/token" \\
  --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:token-exchange \\
  --data-urlencode subject_token_type=urn:ietf:params:oauth:token-type:access_token \\
  --data-urlencode subject_token@"$BEARER_TOKEN_FILE" \\
  --data-urlencode scope="storage.read:/jobs/$BURST_JOB_ID/0/objects" \\
  --output {note}
until [ -e {go} ]; do sleep 0.1; done
"""


@dataclass
class Keyed:
    """A site whose store is Ceph, and a folder in which jobs leave what they saw."""

    site: Site
    ceph: Ceph
    folder: Path
    started: list[str] = field(default_factory=list)

    def start(self, sibling: str = "") -> Running:
        """A job that has used its keys and now waits; ``sibling`` is a store prefix that it tries as well."""
        name = f"job{len(self.started)}"
        self.started.append(name)
        note, go = self.folder / f"{name}.json", self.folder / f"{name}.go"
        script = JOB.format(python=sys.executable)
        arguments = [str(note), str(go), sibling]
        job = self.site.submit(script, "--time=10", arguments=arguments, directory=self.folder)
        eventually(lambda: note.exists() or self._failed(job), f"job {job.id} used its keys")
        return Running(self, job, json.loads(note.read_text()), go)

    def _failed(self, job: JobView) -> bool:
        with self.site.login() as gateway:
            view = gateway.job(job.burst_id)
            assert not view.finished, f"{view.state}: {view.reason}; {gateway.logs(job.burst_id, 'stderr')}"
        return False

    def sts(self, **fields: str) -> httpx2.Response:
        """A call of the gateway's STS, as SDKs make it."""
        call = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": "arn:aws:iam:::role/burst/job",
            "RoleSessionName": "test",
        }
        return httpx2.post(f"{self.site.url}/sts", data=call | fields)

    def client(self, access: str, secret: str, token: str) -> Any:
        """boto3 with these keys."""
        return boto3.client(
            "s3",
            endpoint_url=self.ceph.endpoint,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(s3={"addressing_style": "path"}),
        )

    def assume(self, token: str) -> Any:
        """boto3 with the keys that a credential is traded for."""
        answer = self.sts(WebIdentityToken=token)
        keys = _xml(answer).find(f".//{STS}Credentials")
        assert keys is not None, answer.text
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        return self.client(*(keys.findtext(f"{STS}{name}") or "" for name in names))

    def refusal(self, **fields: str) -> tuple[int, str]:
        """Status and AWS's error code of a call that must be refused."""
        answer = self.sts(**fields)
        assert answer.headers["content-type"].startswith("text/xml")
        code = _xml(answer).findtext(f"{STS}Error/{STS}Code")
        assert code is not None, answer.text
        return answer.status_code, code


@dataclass
class Running:
    """A job that runs until it is let go, and what it saw."""

    keyed: Keyed
    job: JobView
    seen: dict[str, Any]
    go: Path

    @property
    def prefix(self) -> str:
        return f"jobs/{self.job.burst_id}/0/objects/"

    @property
    def token(self) -> str:
        return str(self.seen["token"])

    def let_go(self) -> JobView:
        """Let it end; its last view."""
        self.go.touch()
        return self.keyed.site.finish(self.job)

    def narrowed(self, scope: str, token: str = "") -> str:
        """A credential for a child, as curl would get it."""
        form = {"grant_type": EXCHANGE, "subject_token": token or self.token, "subject_token_type": ACCESS_TOKEN}
        answer = httpx2.post(f"{self.keyed.site.url}/oauth/token", data=form | {"scope": scope})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def captured(self) -> dict[str, int]:
        """What somebody else gets with this job's very keys: HTTP statuses."""
        s3 = self.keyed.client(*self.seen["keys"][:3])
        return {
            "GET": _status(s3.get_object, Key=f"{self.prefix}deep/result.txt"),
            "input": _status(s3.get_object, Key=self.seen["store"]["inputs"]["input.txt"]),
            "LIST": _status(s3.list_objects_v2, Prefix=self.prefix),
            "PUT": _status(s3.put_object, Key=f"{self.prefix}captured", Body=b"x"),
        }


ALIVE = {"GET": 200, "input": 200, "LIST": 200, "PUT": 200}
DEAD = dict.fromkeys(ALIVE, 403)


def _status(call: Any, **words: Any) -> int:
    try:
        return int(call(Bucket=BUCKET, **words)["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.fixture(scope="module")
def keyed(ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A gateway with process nodes, whose store is a bucket of a real Ceph object gateway."""
    access = StoreAccess(BUCKET, ceph.endpoint, ceph.endpoint, ceph.access_key, secret_key=ceph.secret_key)
    S3Store(access).create_bucket()
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "input.txt").write_text(INPUT)
    settings = {"store": "s3", "store_endpoint": ceph.endpoint, "store_bucket": BUCKET}
    with site_in(start=False, nodes="process", idle_s=30, **settings) as site:
        secrets = site.directory / "secrets"
        secrets.mkdir(mode=0o700, parents=True)
        site.directory.chmod(0o711)
        keys = {"access_key": ceph.access_key, "secret_key": ceph.secret_key, "principal": "arn:aws:iam:::user/gw"}
        (secrets / ACCESS_FILE).write_text(json.dumps(keys))
        (secrets / ACCESS_FILE).chmod(0o600)
        yield Keyed(site.up(), ceph, folder)


@pytest.fixture(scope="module")
def first(keyed: Keyed) -> Running:
    """A job that runs while others are tried on it."""
    return keyed.start()


@pytest.fixture(scope="module")
def second(keyed: Keyed, first: Running) -> Running:
    """Its sibling, of the same user, which tried to get at the first one's objects."""
    return keyed.start(sibling=first.prefix)


def test_a_job_reads_its_input_and_writes_its_output_with_plain_boto3(first: Running) -> None:
    """No code of ours in the job: the SDK finds token, role, region and endpoints in the environment."""
    assert first.seen["input"] == INPUT
    assert first.seen["listed"] == [f"{first.prefix}deep/result.txt"]
    assert first.seen["method"] == "assume-role-with-web-identity"
    assert stat.S_IMODE(first.seen["mode"]) == 0o400
    assert first.seen["store"]["output_prefix"] == first.prefix
    assert first.keyed.site.store.get_bytes(f"{first.prefix}deep/result.txt") == INPUT.upper().encode()
    assert not any("SECRET" in name or "ACCESS_KEY" in name for name in first.seen["aws"])


def test_a_job_gets_nothing_of_its_siblings(first: Running, second: Running) -> None:
    """GET, LIST and PUT below the prefix of another running job of the same user are each refused with 403."""
    assert second.seen["sibling"] == {"GET": 403, "LIST": 403, "PUT": 403}
    listed = [key for key, _ in first.keyed.site.store.list(first.prefix)]
    assert f"{first.prefix}planted" not in listed


def test_keys_are_no_more_than_the_credential(keyed: Keyed, first: Running) -> None:
    """STS answers in AWS's form; asked for half a day the keys last an hour, less than the credential does."""
    answer = keyed.sts(WebIdentityToken=first.token, DurationSeconds="43200")
    assert answer.status_code == 200, answer.text
    keys = _xml(answer).find(f"{STS}AssumeRoleWithWebIdentityResult/{STS}Credentials")
    assert keys is not None
    expires = datetime.fromisoformat(keys.findtext(f"{STS}Expiration") or "")
    ends = datetime.fromtimestamp(_claims(first.token)["exp"], UTC)
    assert datetime.now(UTC) + timedelta(minutes=50) < expires <= ends
    assert "no-store" in answer.headers["cache-control"]


def test_a_forged_altered_or_foreign_token_is_refused(keyed: Keyed, first: Running) -> None:
    """Each differs from a good one in one thing, and the good one is taken before and after."""
    head, body, signature = first.token.split(".")
    claims, now = _claims(first.token), datetime.now(UTC)
    # The gateway's own key, in the hands of whoever tests it.
    machine = keyed.site.machine
    ring = credential_keys(machine.settings, machine.sealer)

    def signed(**other: Any) -> str:
        return ring.sign(json.dumps(claims | other).encode(), CREDENTIAL_TYPE, now)

    def later(seconds: int) -> int:
        return int(now.timestamp()) + seconds

    receipts = signing_keys(machine.settings, machine.sealer)
    payload = json.dumps(claims).encode()
    invalid = {
        "another signature": f"{head}.{body}.{signature[:-8]}AAAA{signature[-4:]}",
        "another body": f"{head}.{_part(claims | {'burst_job': '0' * 32})}.{signature}",
        "no algorithm": f"{_part({'alg': 'none', 'typ': CREDENTIAL_TYPE, 'kid': ring.current.kid})}.{body}.",
        "another's key": sign(payload, make_pair("ES256"), kid=ring.current.kid, typ=CREDENTIAL_TYPE),
        "another purpose": ring.sign(payload, "JWT", now),
        "another audience": signed(aud="burst/other"),
        "another issuer": signed(iss="http://127.0.0.1:1"),
        "the key of receipts": receipts.sign(payload, CREDENTIAL_TYPE, now),
        "no token": "x",
    }
    expired = {
        "an hour old": signed(exp=later(-3600), nbf=later(-7200)),
        "from tomorrow": signed(nbf=later(86_400)),
        "of no job": signed(burst_job="0" * 32),
        "of another attempt": signed(burst_attempt="1"),
        "of another node": signed(burst_node="small-12"),
        "nearly over": signed(exp=later(60)),
    }
    assert keyed.sts(WebIdentityToken=signed()).status_code == 200
    for what, token in invalid.items():
        assert (what, *keyed.refusal(WebIdentityToken=token)) == (what, 400, "InvalidIdentityToken")
    for what, token in expired.items():
        assert (what, *keyed.refusal(WebIdentityToken=token)) == (what, 400, "ExpiredTokenException")
    elsewhere = keyed.refusal(WebIdentityToken=first.token, RoleArn="arn:aws:iam:::role/admin")
    assert elsewhere == (403, "AccessDenied")
    assert keyed.sts(WebIdentityToken=first.token).status_code == 200


def test_a_credential_is_verified_by_a_library_of_others(
    keyed: Keyed, first: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scitokens, given nothing but the token, finds the gateway's keys by discovery and reads its scopes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    audience = _claims(first.token)["aud"]
    token = scitokens.SciToken.deserialize(first.token, audience=audience, insecure=True)
    assert token["iss"] == httpx2.get(f"{keyed.site.url}/.well-known/openid-configuration").json()["issuer"]
    enforcer = scitokens.Enforcer(token["iss"], audience=audience)
    # It is told of the claims that SciTokens has not; a WLCG token has no "ver".
    enforcer.add_validator("wlcg.ver", lambda version: version == "1.0")
    for claim in ("burst_job", "burst_attempt", "burst_node"):
        enforcer.add_validator(claim, bool)
    own = f"/jobs/{first.job.burst_id}/0"
    assert enforcer.test(token, "storage.create", f"{own}/objects/x"), enforcer.last_failure
    assert enforcer.test(token, "storage.read", f"/{first.seen['store']['inputs']['input.txt']}")
    assert not enforcer.test(token, "storage.read", "/jobs/0/0/x")
    head, body, signature = first.token.split(".")
    with pytest.raises(Exception, match=r"(?i)signature"):
        scitokens.SciToken.deserialize(
            f"{head}.{body}.{signature[:-8]}AAAA{signature[-4:]}", audience=audience, insecure=True
        )


def test_a_childs_keys_open_what_its_scopes_name_and_no_more(keyed: Keyed, first: Running) -> None:
    """Ceph enforces the narrower scopes; revoked, the child's keys and its children's die, the job's own go on."""
    own, objects = f"/jobs/{first.job.burst_id}/0", first.prefix
    child = first.narrowed(f"storage.read:{own}/objects/deep storage.create:{own}/objects/made/")
    grandchild = keyed.assume(first.narrowed(f"storage.read:{own}/objects/deep/result.txt", child))
    s3 = keyed.assume(child)

    def statuses() -> dict[str, int]:
        return {
            "GET": _status(s3.get_object, Key=f"{objects}deep/result.txt"),
            "LIST": _status(s3.list_objects_v2, Prefix=f"{objects}deep/"),
            "PUT": _status(s3.put_object, Key=f"{objects}made/by-child", Body=b"x"),
            "its child's GET": _status(grandchild.get_object, Key=f"{objects}deep/result.txt"),
        }

    assert statuses() == dict.fromkeys(statuses(), 200)
    beyond = {
        "what its parent may PUT": _status(s3.put_object, Key=f"{objects}deep/planted", Body=b"x"),
        "what it may only PUT": _status(s3.get_object, Key=f"{objects}made/by-child"),
        "a longer name": _status(s3.put_object, Key=f"{objects}made2", Body=b"x"),
        "an input": _status(s3.get_object, Key=first.seen["store"]["inputs"]["input.txt"]),
        "all of it": _status(s3.list_objects_v2, Prefix=objects),
        "the bucket": _status(s3.list_objects_v2),
        "its child's LIST": _status(grandchild.list_objects_v2, Prefix=f"{objects}deep/"),
        "its child's PUT": _status(grandchild.put_object, Key=f"{objects}made/x", Body=b"x"),
    }
    assert beyond == dict.fromkeys(beyond, 403)
    proof = {"Authorization": f"Bearer {first.token}"}
    assert httpx2.post(f"{keyed.site.url}/oauth/revoke", data={"token": child}, headers=proof).status_code == 200
    assert keyed.refusal(WebIdentityToken=child) == (400, "ExpiredTokenException")
    eventually(lambda: set(statuses().values()) == {403}, "keys of a revoked credential are dead", 30)
    assert first.captured() == ALIVE


def test_at_the_jobs_end_token_and_keys_are_dead(keyed: Keyed, first: Running, second: Running) -> None:
    """The very keys that worked a moment ago open nothing, although they expire later; the sibling's go on."""
    assert first.captured() == ALIVE
    assert first.let_go().state == "COMPLETED"
    assert first.captured() == DEAD
    assert keyed.refusal(WebIdentityToken=first.token) == (400, "ExpiredTokenException")
    assert second.captured() == ALIVE


def test_what_a_job_put_there_is_among_its_outputs(keyed: Keyed, first: Running, tmp_path: Path) -> None:
    """With the digest of what the store held when the keys had died."""
    first.let_go()
    fetched = keyed.site.burst("fetch", str(first.job.id), "--to", str(tmp_path / "out"))
    assert fetched.code == 0, fetched.err
    assert (tmp_path / "out/deep/result.txt").read_text() == INPUT.upper()
    with keyed.site.login() as gateway:
        files = {file.path: file for file in gateway.outputs(first.job.burst_id).files}
    assert files["deep/result.txt"].sha256 == hashlib.sha256(INPUT.upper().encode()).hexdigest()


def test_scancel_ends_token_and_keys_at_once(keyed: Keyed, second: Running) -> None:
    """Whatever the job does about being cancelled."""
    assert second.captured() == ALIVE
    assert keyed.site.burst("cancel", str(second.job.id)).code == 0
    assert keyed.refusal(WebIdentityToken=second.token) == (400, "ExpiredTokenException")
    eventually(lambda: second.captured() == DEAD, "keys of the cancelled job are dead", 30)
    assert keyed.site.finish(second.job).state == "CANCELLED"
    assert second.captured() == DEAD


def test_its_owner_takes_a_running_jobs_credential_and_keys_away(keyed: Keyed) -> None:
    """burst job ID --revoke-credential: it runs on without; plain curl in it had narrowed the credential before."""
    note, go = keyed.folder / "curl.json", keyed.folder / "curl.go"
    job = keyed.site.submit(CURL.format(note=note, go=go), "--time=10", directory=keyed.folder)
    eventually(lambda: note.exists() and note.stat().st_size, f"job {job.id} used curl")
    child = json.loads(note.read_text())
    assert child["scope"] == f"storage.read:/jobs/{job.burst_id}/0/objects"
    s3 = keyed.assume(child["access_token"])
    listed = {"Prefix": f"jobs/{job.burst_id}/0/objects/"}
    assert _status(s3.list_objects_v2, **listed) == 200
    said = keyed.site.burst("job", str(job.id), "--revoke-credential", "--json")
    assert (said.code, said.json["state"]) == (0, "RUNNING"), said.err
    assert keyed.refusal(WebIdentityToken=child["access_token"]) == (400, "ExpiredTokenException")
    eventually(lambda: _status(s3.list_objects_v2, **listed) == 403, "keys of the revoked credential are dead", 30)
    go.touch()
    assert keyed.site.finish(job).state == "COMPLETED"


def test_f13_a_script_that_was_changed_in_slurm_is_not_run(keyed: Keyed) -> None:
    """Whoever can write into slurmctld's own files changes a waiting job's script: the node refuses it and says so."""
    ran = keyed.folder / "ran"
    job = keyed.site.submit(f"touch {ran}-good", "--time=10", "--begin=now+1hour", directory=keyed.folder)
    (script,) = keyed.site.directory.rglob(f"state/**/job.{job.id}/script")
    script.write_bytes(script.read_bytes().replace(b"ran-good", b"ran-evil"))
    keyed.site.slurm("scontrol", "update", f"job={job.id}", "StartTime=now")
    ended = keyed.site.finish(job)
    assert ended.state == "CANCELLED"
    assert any("the script that Slurm has is not the one that was submitted" in event.text for event in ended.timeline)
    assert sorted(keyed.folder.glob("ran*")) == []
    alarms = keyed.site.rows("SELECT outcome, job FROM audit_records WHERE action = 'job.refuse'")
    assert alarms == [("alarm", job.burst_id)]


def test_no_role_and_no_secret_is_left(keyed: Keyed, first: Running, second: Running) -> None:
    """The store has no role of a job that is over; neither token nor keys are in a log of the gateway."""
    first.let_go()
    second.let_go()
    iam = boto3.client(
        "iam",
        endpoint_url=keyed.ceph.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keyed.ceph.access_key,
        aws_secret_access_key=keyed.ceph.secret_key,
    )
    names = RoleNames(keyed.site.machine.secret, keyed.site.machine.site_id)
    for running in (first, second):
        with pytest.raises(ClientError) as gone:
            iam.get_role(RoleName=names.of(running.prefix.removesuffix("objects/")))
        assert gone.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    secrets = {text for running in (first, second) for text in (running.token, *running.seen["keys"][1:3])}
    secrets.add(keyed.ceph.secret_key)
    for log in (keyed.site.directory / "log").rglob("*"):
        if log.is_file():
            text = log.read_text(errors="replace")
            assert not [secret[:8] for secret in secrets if secret in text], log


def _xml(answer: httpx2.Response) -> ET.Element:
    return ET.fromstring(answer.text)  # noqa: S314 - the gateway of this test made it


def _claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
