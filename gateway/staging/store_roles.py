"""StoreRoles: a role for each attempt of a job, through the IAM and STS of Ceph's object gateway or AWS.

Invariant: a role's name is a secret of the gateway, because in Ceph whoever holds any session of the gateway's user can
assume every role of it whose name he knows, whatever the session's policy denies; and the role goes when its attempt
ends, which ends every session of it at once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from gateway.errors import SetupError, StoreError, StoreUnavailable
from gateway.staging.job_keys import Narrowed, SessionKeys, narrowed_policy, policy
from gateway.staging.object_store import StoreAccess

SHORTEST_S = 900
"""STS gives no session shorter than that."""
LONGEST_S = 3600
"""A role's sessions last an hour at most, unless its maker says otherwise."""

_POLICY_NAME = "attempt"
_CONFIG = Config(connect_timeout=3, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 2})


@dataclass(frozen=True)
class RoleNames:
    """Names that nobody can guess and the gateway never forgets; ``site`` keeps gateways on one store apart."""

    secret: bytes
    site: str

    def of(self, prefix: str) -> str:
        """The role of an attempt: at most 64 characters, as IAM allows."""
        return f"burst-{self.site}-{hmac.digest(self.secret, prefix.encode(), 'sha256').hex()[:40]}"


class StoreRoles:
    """Roles below one user of a store. Thread-safe: boto3's clients are, and each is made once.

    ``principal`` is that user's ARN; None asks the store, which Ceph cannot answer.
    """

    def __init__(self, access: StoreAccess, names: RoleNames, principal: str | None) -> None:
        self._bucket = access.bucket
        self._names = names
        self._iam = _client("iam", access)
        self._sts = _client("sts", access)
        self._principal = principal or self._ask_who()

    def issue(self, prefix: str, reads: Sequence[str], seconds: int, narrowed: Narrowed | None = None) -> SessionKeys:
        """See ``KeyIssuer.issue``."""
        name = self._names.of(f"{prefix}#{narrowed.name}" if narrowed else prefix)
        allowed = narrowed_policy(self._bucket, prefix, narrowed) if narrowed else policy(self._bucket, prefix, reads)
        with _translated():
            arn = self._role(name, allowed)
            reply = self._sts.assume_role(
                RoleArn=arn,
                RoleSessionName=_session_name(prefix),
                DurationSeconds=max(SHORTEST_S, min(seconds, LONGEST_S)),
            )["Credentials"]
        keys = (reply["AccessKeyId"], reply["SecretAccessKey"], reply["SessionToken"])
        return SessionKeys(*keys, reply["Expiration"])

    def withdraw(self, role: str) -> None:
        """See ``KeyIssuer.withdraw``."""
        name = self._names.of(role)
        with _translated():
            with _unless_gone():
                self._iam.delete_role_policy(RoleName=name, PolicyName=_POLICY_NAME)
            with _unless_gone():
                self._iam.delete_role(RoleName=name)

    def check(self) -> None:
        """See that the keys may make roles. Raises SetupError."""
        probe = "probe/"
        try:
            self.issue(probe, (), SHORTEST_S)
            self.withdraw(probe)
        except StoreError as error:
            raise SetupError(
                f"The store does not let the gateway make roles: {error.detail}",
                hint="give its user the right to make roles (Ceph: --caps=roles=*), or set store_job_keys=false",
            ) from error

    def _role(self, name: str, allowed: str) -> str:
        """The role's ARN; a role that is there already, of another node of the attempt, keeps its sessions."""
        try:
            role = self._iam.create_role(RoleName=name, AssumeRolePolicyDocument=self._trust())["Role"]
        except ClientError as error:
            if _status(error) != HTTPStatus.CONFLICT:
                raise
            role = self._iam.get_role(RoleName=name)["Role"]
        self._iam.put_role_policy(RoleName=name, PolicyName=_POLICY_NAME, PolicyDocument=allowed)
        return str(role["Arn"])

    def _trust(self) -> str:
        statement = {"Effect": "Allow", "Principal": {"AWS": [self._principal]}, "Action": ["sts:AssumeRole"]}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))

    def _ask_who(self) -> str:
        try:
            return str(self._sts.get_caller_identity()["Arn"])
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            raise SetupError(
                "The store does not say whose keys the gateway has.",
                hint='add "principal" to secrets/store-access.json, such as "arn:aws:iam:::user/gw"',
            ) from error


def _session_name(prefix: str) -> str:
    """What the store's log shows: jobs.ID.LABEL, at most 64 characters."""
    return prefix.strip("/").replace("/", ".")[:64]


def _client(service: str, access: StoreAccess) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=access.user_endpoint,
        region_name=access.region,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        config=_CONFIG,
    )


@contextmanager
def _unless_gone() -> Iterator[None]:
    """What is not there need not be removed."""
    try:
        yield
    except ClientError as error:
        if _status(error) != HTTPStatus.NOT_FOUND:
            raise
    except ResponseParserError as error:
        # Ceph 16 says that a role has no such policy with an answer that is two XML documents.
        if "DeleteRolePoliciesResponse" not in str(error):
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """Turn boto's errors into the gateway's; no message of theirs has a key in it."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code") or _status(error)
        text = f"the store's roles: {error.operation_name} was answered {code}"
        if _status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR or _status(error) == HTTPStatus.TOO_MANY_REQUESTS:
            raise StoreUnavailable(text, hint="the gateway tries again") from error
        raise StoreError(text, hint="check what the store lets the gateway's user do") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise StoreUnavailable("the store's roles did not answer", hint="the gateway tries again") from error


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
