"""What a running job's keys open, and when they stop: asked of a real Ceph object gateway with the AWS SDK."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta

import boto3
import httpx2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.errors import SetupError, StoreError
from gateway.settings import Settings
from gateway.staging.external_store import ACCESS_FILE, ExternalStore
from gateway.staging.object_store import S3Store, StoreAccess
from gateway.staging.store_roles import RoleNames, StoreRoles

BUCKET = "roles"
PRINCIPAL = "arn:aws:iam:::user/gw"
SECRET = b"a secret of the gateway"
MINE, SIBLING = "jobs/0a/0/", "jobs/0b/0/"
INPUT = f"inputs/demo/{'1' * 64}"
FOREIGN = f"inputs/demo/{'2' * 64}"


@pytest.fixture(scope="module")
def access(ceph):
    access = StoreAccess(BUCKET, ceph.endpoint, ceph.endpoint, ceph.access_key, secret_key=ceph.secret_key)
    S3Store(access).create_bucket()
    return access


@pytest.fixture(scope="module")
def store(access):
    store = S3Store(access)
    for key in (INPUT, FOREIGN, f"{MINE}files/small-1/a", f"{SIBLING}objects/secret", f"{SIBLING}files/small-1/a"):
        store.put_bytes(key, key.encode())
    return store


@pytest.fixture
def roles(access, store):
    """Roles of a gateway; those of the two attempts are gone afterwards."""
    roles = StoreRoles(access, RoleNames(SECRET, secrets.token_hex(8)), PRINCIPAL)
    yield roles
    for prefix in (MINE, SIBLING):
        roles.withdraw(prefix)


def client(access, keys, service="s3"):
    """An SDK with a job's keys, as in a job."""
    return boto3.client(
        service,
        endpoint_url=access.node_endpoint,
        region_name=access.region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
        config=Config(s3={"addressing_style": "path"}),
    )


def refused(call, **words):
    with pytest.raises(ClientError) as refusal:
        call(**words)
    status = refusal.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert status == 403, f"{words}: {refusal.value}"


def test_keys_open_the_attempts_own_objects_and_inputs(access, roles):
    """Read the input and all that is the attempt's; write, in one piece and in parts, below its objects/."""
    s3 = client(access, roles.issue(MINE, [INPUT], 900))
    assert s3.get_object(Bucket=BUCKET, Key=INPUT)["Body"].read() == INPUT.encode()
    assert s3.get_object(Bucket=BUCKET, Key=f"{MINE}files/small-1/a")["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=f"{MINE}objects/größe & co", Body=b"result")
    part = {"Bucket": BUCKET, "Key": f"{MINE}objects/parts"}
    upload = s3.create_multipart_upload(**part)["UploadId"]
    tag = s3.upload_part(**part, UploadId=upload, PartNumber=1, Body=b"z" * (5 << 20))["ETag"]
    s3.complete_multipart_upload(**part, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{MINE}objects/")["Contents"]
    assert [each["Key"] for each in listed] == [f"{MINE}objects/größe & co", f"{MINE}objects/parts"]


def test_keys_open_nothing_else(access, roles):
    """Neither a sibling's objects nor their names, nor other inputs, nor what only the gateway may write."""
    keys = roles.issue(MINE, [INPUT], 900)
    s3 = client(access, keys)
    for key in (f"{SIBLING}objects/secret", f"{SIBLING}files/small-1/a", FOREIGN):
        refused(s3.get_object, Bucket=BUCKET, Key=key)
        refused(s3.head_object, Bucket=BUCKET, Key=key)
        refused(s3.put_object, Bucket=BUCKET, Key=key, Body=b"x")
        refused(s3.copy_object, Bucket=BUCKET, Key=f"{MINE}objects/x", CopySource={"Bucket": BUCKET, "Key": key})
    for key in (f"{MINE}manifest.json", f"{MINE}files/small-1/a", INPUT, "jobs/0a/1/objects/x", f"{MINE[:-1]}x/o"):
        refused(s3.put_object, Bucket=BUCKET, Key=key, Body=b"x")
    for prefix in ("", "jobs/", SIBLING, f"{SIBLING}objects/", "inputs/", "inputs/demo/", MINE[:-1]):
        refused(s3.list_objects_v2, Bucket=BUCKET, Prefix=prefix)
    refused(s3.delete_object, Bucket=BUCKET, Key=f"{MINE}files/small-1/a")
    refused(s3.list_buckets)
    refused(s3.create_bucket, Bucket="another")
    refused(s3.put_bucket_policy, Bucket=BUCKET, Policy='{"Version":"2012-10-17","Statement":[]}')
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": f"{SIBLING}objects/secret"})
    assert httpx2.get(url).status_code == 403
    refused(
        boto3.client(
            "s3",
            endpoint_url=access.node_endpoint,
            region_name=access.region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
        ).list_objects_v2,
        Bucket=BUCKET,
        Prefix=MINE,
    )


def test_keys_make_no_roles_and_guess_none(access, roles):
    """A session cannot look at, change or make roles, nor assume a sibling's by any name that it can work out."""
    roles.issue(SIBLING, [], 900)
    keys = roles.issue(MINE, [], 900)
    iam, sts = client(access, keys, "iam"), client(access, keys, "sts")
    trust = '{"Version":"2012-10-17","Statement":[]}'
    refused(iam.list_roles)
    refused(iam.create_role, RoleName="mine", AssumeRolePolicyDocument=trust)
    secret_name = roles._names.of(SIBLING)
    refused(iam.put_role_policy, RoleName=secret_name, PolicyName="more", PolicyDocument=trust)
    for name in ("burst", SIBLING.strip("/"), RoleNames(b"another secret", roles._names.site).of(SIBLING)):
        with pytest.raises(ClientError) as refusal:
            sts.assume_role(RoleArn=f"arn:aws:iam:::role/{name}", RoleSessionName="guess")
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403, 404}
    # Why the name is a secret: Ceph asks no policy of the session's whether it may take another role of its user.
    assert sts.assume_role(RoleArn=f"arn:aws:iam:::role/{secret_name}", RoleSessionName="known")["Credentials"]


def test_keys_are_dead_once_withdrawn(access, roles):
    """Every session of the attempt, of whatever age, at once; withdrawing again is no error; the next has no way in."""
    first, second = roles.issue(MINE, [INPUT], 900), roles.issue(MINE, [INPUT], 3600)
    other = roles.issue(SIBLING, [], 900)
    url = client(access, first).generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": INPUT})
    assert httpx2.get(url).is_success
    roles.withdraw(MINE)
    roles.withdraw(MINE)
    for keys in (first, second):
        refused(client(access, keys).get_object, Bucket=BUCKET, Key=INPUT)
        refused(client(access, keys).put_object, Bucket=BUCKET, Key=f"{MINE}objects/late", Body=b"x")
        refused(client(access, keys).list_objects_v2, Bucket=BUCKET, Prefix=MINE)
    assert httpx2.get(url).status_code == 403
    assert client(access, other).list_objects_v2(Bucket=BUCKET, Prefix=SIBLING)["KeyCount"] == 2
    roles.issue(MINE, [INPUT], 900)
    refused(client(access, first).get_object, Bucket=BUCKET, Key=INPUT)


def test_a_role_that_lost_its_policy_is_withdrawn_all_the_same(access, roles):
    """A withdrawal that was cut off between its two steps is finished by the next."""
    keys = roles.issue(MINE, [INPUT], 900)
    roles._iam.delete_role_policy(RoleName=roles._names.of(MINE), PolicyName="attempt")
    roles.withdraw(MINE)
    refused(client(access, keys).get_object, Bucket=BUCKET, Key=INPUT)
    with pytest.raises(ClientError):
        roles._iam.get_role(RoleName=roles._names.of(MINE))


@pytest.mark.parametrize(("asked", "given"), [(1, 900), (1200, 1200), (90_000, 3600)])
def test_sessions_live_from_fifteen_minutes_to_an_hour(roles, asked, given):
    """Seconds outside what STS allows are brought inside."""
    left = roles.issue(MINE, [], asked).expires_at - datetime.now(UTC)
    assert timedelta(seconds=given - 30) < left <= timedelta(seconds=given + 2)


def test_a_user_that_may_make_no_roles_is_told_so(access, ceph):
    """When the gateway starts, not when the first job asks."""
    keys = ceph.user("plain", caps="")
    plain = StoreAccess(BUCKET, ceph.endpoint, ceph.endpoint, keys[0], secret_key=keys[1])
    with pytest.raises(SetupError, match="does not let the gateway make roles") as told:
        StoreRoles(plain, RoleNames(SECRET, "f" * 16), "arn:aws:iam:::user/plain").check()
    assert "caps" in str(told.value.hint)
    with pytest.raises(StoreError):
        StoreRoles(plain, RoleNames(SECRET, "f" * 16), "arn:aws:iam:::user/plain").issue(MINE, [], 900)


def test_whose_keys_they_are_must_be_said_where_the_store_does_not(access):
    """Ceph 16 does not answer GetCallerIdentity; the hint names the file."""
    with pytest.raises(SetupError, match="whose keys") as told:
        StoreRoles(access, RoleNames(SECRET, "f" * 16), None)
    assert ACCESS_FILE in str(told.value.hint)


@pytest.mark.parametrize(
    ("bucket", "content", "mode", "says"),
    [
        ("roles", None, 0o600, "no .*store-access.json"),
        ("roles", {}, 0o644, "Others can read"),
        ("roles", "no json", 0o600, "is no JSON"),
        ("roles", {"secret_key": None}, 0o600, "does not hold"),
        ("roles", {"more": "x"}, 0o600, "does not hold"),
        ("roles", {"secret_key": "wrong"}, 0o600, "cannot be used"),
        ("no-such-bucket", {}, 0o600, "has no bucket no-such-bucket"),
    ],
)
def test_a_wrong_setup_is_told_in_one_line(access, tmp_path, bucket, content, mode, says):
    """Each with what to do about it; a key is in no message."""
    settings = Settings(directory=tmp_path, store="s3", store_endpoint=access.user_endpoint, store_bucket=bucket)
    settings.secrets_dir.mkdir()
    good = {"access_key": access.access_key, "secret_key": access.secret_key, "principal": PRINCIPAL}
    if content is not None:
        file = settings.secrets_dir / ACCESS_FILE
        file.write_text(content if isinstance(content, str) else json.dumps(good | content))
        file.chmod(mode)
    with pytest.raises(SetupError, match=says) as told:
        ExternalStore(settings).start()
    assert told.value.hint
    assert access.secret_key not in f"{told.value.detail} {told.value.hint}".replace("…", "")
