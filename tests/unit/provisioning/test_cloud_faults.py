"""The classes of cloud errors, by answers as clouds and transports gave them."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError

from gateway.errors import (
    Ambiguous,
    Capacity,
    CloudAuth,
    CloudError,
    CloudInvalid,
    CloudTransient,
    Quota,
    Throttled,
)
from gateway.provisioning.cloud_faults import classify, is_gone

REFUSED = (
    "(Caused by NewConnectionError('<HTTPSConnection>: Failed to establish a new connection: [Errno 111] refused'))"
)
NO_NAME = "(Caused by NameResolutionError('Failed to resolve: [Errno -2] Name or service not known'))"

ANSWERS = [
    # EC2
    (
        500,
        "InsufficientInstanceCapacity: We currently do not have sufficient p5.48xlarge capacity in us-east-1a.",
        Capacity,
    ),
    (500, "InsufficientHostCapacity: There is not enough capacity to fulfill your Dedicated Host request.", Capacity),
    (400, "SpotMaxPriceTooLow: Your Spot request price of 0.01 is lower than the minimum required.", Capacity),
    (503, "RequestLimitExceeded: Request limit exceeded.", Throttled),
    (400, "Throttling: Rate exceeded", Throttled),
    (400, "InstanceLimitExceeded: Your quota allows for 0 more running instance(s). You requested 1.", Quota),
    (400, "VcpuLimitExceeded: You have requested more vCPU capacity than your current limit of 32 allows.", Quota),
    (400, "MaxSpotInstanceCountExceeded: Max spot instance count exceeded", Quota),
    (403, "UnauthorizedOperation: You are not authorized to perform this operation.", CloudAuth),
    (401, "AuthFailure: AWS was not able to validate the provided access credentials", CloudAuth),
    (400, "RequestExpired: Request has expired.", CloudAuth),
    (400, "InvalidAMIID.NotFound: The image id '[ami-0]' does not exist", CloudInvalid),
    (
        400,
        "Unsupported: Your requested instance type is not supported in your requested Availability Zone.",
        CloudInvalid,
    ),
    (400, "IdempotentParameterMismatch: The client token was used with other arguments", CloudInvalid),
    (500, "InternalError: An internal error has occurred", Ambiguous),
    (503, "Unavailable: The service is unavailable. Please try again shortly.", CloudTransient),
    # OpenStack
    (500, "No valid host was found. There are not enough hosts available.", Capacity),
    (403, "Quota exceeded for cores, ram: Requested 8, 16384, but already used 20, 51200 of 20, 51200", Quota),
    (413, "This request was rate-limited.", Throttled),
    (403, "Policy doesn't allow os_compute_api:servers:create to be performed.", CloudAuth),
    (400, "Can not find requested image", CloudInvalid),
    (400, "Flavor 99 could not be found.", CloudInvalid),
    (504, "504 Gateway Time-out", Ambiguous),
    # Google
    (503, "ZONE_RESOURCE_POOL_EXHAUSTED: The zone does not have enough resources available", Capacity),
    (403, "Quota 'CPUS' exceeded. Limit: 24.0 in region us-central1.", Quota),
    (403, "rateLimitExceeded: Rate Limit Exceeded", Throttled),
    # Azure and Oracle
    (409, "SkuNotAvailable: The requested VM size is currently not available in location westeurope.", Capacity),
    (409, "AllocationFailed: Allocation failed.", Capacity),
    (409, "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.", Quota),
    (500, "Out of host capacity.", Capacity),
    # nothing but a status
    (401, "", CloudAuth),
    (429, "", Throttled),
    (404, "", CloudInvalid),
    (502, "", Ambiguous),
]


@pytest.mark.parametrize(("status", "text", "expected"), ANSWERS)
def test_an_answer_to_a_create_call_has_one_class(status: int, text: str, expected: type[CloudError]) -> None:
    """The text decides; only where it says nothing the status does."""
    fault = classify(BaseHTTPError(status, text), changes=True)

    assert type(fault) is expected
    assert fault.hint


@pytest.mark.parametrize(
    ("error", "creating", "listing"),
    [
        (requests.ReadTimeout("Read timed out. (read timeout=60)"), Ambiguous, CloudTransient),
        (requests.ConnectionError("('Connection aborted.', RemoteDisconnected())"), Ambiguous, CloudTransient),
        (ConnectionResetError(104, "Connection reset by peer"), Ambiguous, CloudTransient),
        (requests.ConnectionError(REFUSED), CloudTransient, CloudTransient),
        (requests.ConnectionError(NO_NAME), CloudTransient, CloudTransient),
        (requests.ConnectTimeout("timed out. (connect timeout=60)"), CloudTransient, CloudTransient),
        (InvalidCredsError(), CloudAuth, CloudAuth),
        (RateLimitReachedError(headers={"retry-after": "5"}), Throttled, Throttled),
        (KeyError("instancesSet"), Ambiguous, CloudTransient),
    ],
)
def test_silence_is_ambiguous_only_if_something_may_have_changed(
    error: Exception, creating: type[CloudError], listing: type[CloudError]
) -> None:
    """A request that was never sent changed nothing; one whose answer was lost may have."""
    assert type(classify(error, changes=True)) is creating
    assert type(classify(error, changes=False)) is listing


@given(st.text())
def test_no_text_is_without_a_class(text: str) -> None:
    """And an unknown one is Ambiguous rather than tried again at once."""
    assert isinstance(classify(RuntimeError(text), changes=True), CloudError)


def test_a_join_token_in_a_request_is_not_repeated() -> None:
    """EC2's user-data travels in the URL, which transports put into their errors."""
    error = requests.ConnectionError(
        "HTTPSConnectionPool(host='ec2', port=443): Max retries exceeded with url: "
        "/?Action=RunInstances&UserData=c2VjcmV0&ClientToken=abc (Caused by ProtocolError('broken'))"
    )

    assert "c2VjcmV0" not in classify(error, changes=True).detail


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (BaseHTTPError(400, "InvalidInstanceID.NotFound: The instance ID 'i-0' does not exist"), True),
        (BaseHTTPError(404, "Instance 1234 could not be found."), True),
        (BaseHTTPError(403, "UnauthorizedOperation: You are not authorized"), False),
        (BaseHTTPError(400, "InvalidAMIID.NotFound: The image id does not exist"), False),
    ],
)
def test_a_machine_that_is_gone_is_told_apart(error: Exception, *, gone: bool) -> None:
    """Ending a machine twice is no error; not being allowed to end it is one."""
    assert is_gone(error) is gone
