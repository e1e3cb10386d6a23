"""The STS door, knocked at without a credential: what a stranger can send, and a gateway whose store has no keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import boto3
import botocore
import pytest
from botocore.exceptions import ClientError

from gateway.bootstrap.rings import credential_keys
from gateway.bootstrap.sealing_key import sealer_of
from gateway.identity.credentials import CREDENTIAL_TYPE

CALL = {
    "Action": "AssumeRoleWithWebIdentity",
    "Version": "2011-06-15",
    "RoleArn": "arn:aws:iam:::role/burst/job",
    "RoleSessionName": "test",
    "WebIdentityToken": "a.b.c",
}


@pytest.fixture
def sdk(door):
    """AWS's own SDK, unsigned as it is for this call."""
    config = botocore.config.Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1})
    return boto3.client("sts", endpoint_url=f"{door.url}/sts", region_name="us-east-1", config=config)


def credential(door):
    """A credential as the gateway makes them, of no job."""
    now = datetime.now(UTC)
    ring = credential_keys(door.settings, sealer_of(door.settings))
    configuration = door.http.get("/.well-known/openid-configuration").json()
    session = door.log_in("demo").session
    claims = {
        "wlcg.ver": "1.0",
        "iss": configuration["issuer"],
        "sub": "demo",
        "aud": session.audience,
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + 7200,
        "jti": "j",
        "scope": "",
        "burst_job": "0" * 32,
        "burst_attempt": "0",
        "burst_node": "small-1",
    }
    return ring.sign(json.dumps(claims).encode(), CREDENTIAL_TYPE, now)


def test_an_sdk_understands_the_refusal(sdk):
    """It raises its own exception for a bad token."""
    with pytest.raises(sdk.exceptions.InvalidIdentityTokenException) as refused:
        sdk.assume_role_with_web_identity(RoleArn=CALL["RoleArn"], RoleSessionName="test", WebIdentityToken="a.b.c")
    assert "compact JWS" in str(refused.value)


def test_a_store_without_keys_gives_none(door, sdk):
    """Even for a good credential: AccessDenied, with what to use instead."""
    with pytest.raises(ClientError) as refused:
        sdk.assume_role_with_web_identity(
            RoleArn=CALL["RoleArn"], RoleSessionName="test", WebIdentityToken=credential(door)
        )
    assert refused.value.response["Error"]["Code"] == "AccessDenied"


@pytest.mark.parametrize(
    ("other", "status", "code"),
    [
        ({"Action": "GetCallerIdentity"}, 400, "InvalidAction"),
        ({"Action": ""}, 400, "InvalidAction"),
        ({"WebIdentityToken": ""}, 400, "ValidationError"),
        ({"RoleArn": ""}, 400, "ValidationError"),
        ({"RoleSessionName": ""}, 400, "ValidationError"),
        ({"DurationSeconds": "899"}, 400, "ValidationError"),
        ({"DurationSeconds": "43201"}, 400, "ValidationError"),
        ({"DurationSeconds": "9" * 5000}, 400, "ValidationError"),
        ({"DurationSeconds": "-1"}, 400, "ValidationError"),
        ({"WebIdentityToken": "x" * 20_000}, 400, "InvalidIdentityToken"),
        ({"WebIdentityToken": "x" * 40_000}, 413, "RequestEntityTooLarge"),
        ({"WebIdentityToken": "<>&'\"\0é"}, 400, "InvalidIdentityToken"),
    ],
)
def test_a_bad_call_is_refused_as_aws_does(door, other, status, code):
    """XML with the code that SDKs know, nothing of what was sent in it."""
    answer = door.http.post("/sts", data=CALL | other)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/xml; charset=utf-8")
    assert f"<Code>{code}</Code>" in answer.text
    assert "xxxx" not in answer.text
    assert answer.headers["x-amzn-requestid"] in answer.text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"&&&===", b"%zz=%", b"Action", b"\0" * 100])
def test_what_is_no_form_is_no_action(door, body):
    """Whatever bytes come, the answer is one of AWS's."""
    answer = door.http.post("/sts/", content=body)
    assert (answer.status_code, "<Code>InvalidAction</Code>" in answer.text) == (400, True)


def test_a_token_in_a_url_is_not_read(door):
    """URLs end in logs: GET is not answered, and a query is not looked at."""
    assert door.http.get("/sts", params=CALL).status_code == 405
    assert "InvalidAction" in door.http.post("/sts", params=CALL).text


def test_both_kinds_of_keys_are_published(door):
    """Others verify job credentials with ES256; receipts and certificates are Ed25519; none is private."""
    configuration = door.http.get("/.well-known/openid-configuration").json()
    keys = door.http.get(configuration["jwks_uri"].removeprefix(configuration["issuer"])).json()["keys"]
    assert {(key["kty"], key["alg"]) for key in keys} == {("EC", "ES256"), ("OKP", "Ed25519")}
    assert len({key["kid"] for key in keys}) == len(keys)
    assert not any("d" in key for key in keys)
    assert configuration["id_token_signing_alg_values_supported"] == ["ES256"]
