"""Clouds' error answers as they come over the wire, read by libcloud as in the gateway, and the class of each.

The bodies are those of the clouds' documentation and of public reports, shortened, with names and numbers changed.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import requests
from libcloud.common.azure_arm import AzureAuthJsonResponse, AzureJsonResponse
from libcloud.common.google import GoogleResponse
from libcloud.common.openstack import OpenStackResponse
from libcloud.common.vultr import VultrResponseV2
from libcloud.compute.drivers.ec2 import EC2NodeDriver, EC2Response

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
from gateway.provisioning.cloud_faults import classify


def ec2(code: str, text: str) -> str:
    return f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors></Response>"


def google(status: int, reason: str, text: str) -> dict:
    each = {"message": text, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": text, "errors": [each]}}


def operation(code: str, text: str) -> dict:
    """Google's answer to a look at an operation that failed: HTTP's status is 200."""
    return {"kind": "compute#operation", "status": "DONE", "error": {"errors": [{"code": code, "message": text}]}}


def arm(code: str, text: str) -> dict:
    return {"error": {"code": code, "message": text}}


def nova(kind: str, code: int, text: str) -> dict:
    return {kind: {"code": code, "message": text}}


NO_ROOM = "The zone 'projects/p/zones/us-central1-a' does not have enough resources available to fulfill the request."
CORES = "Operation could not be completed as it results in exceeding approved standardDASv5Family Cores quota."
SKU = "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: Standard_B2s' is "

RECORDED = [
    ("ec2", 500, ec2("InsufficientInstanceCapacity", "We do not have sufficient p5.48xlarge capacity."), Capacity),
    ("ec2", 400, ec2("VcpuLimitExceeded", "You have requested more vCPU capacity than your limit of 32."), Quota),
    ("ec2", 503, ec2("RequestLimitExceeded", "Request limit exceeded."), Throttled),
    ("ec2", 400, ec2("RequestExpired", "Request has expired."), CloudAuth),
    ("ec2", 403, ec2("UnauthorizedOperation", "You are not authorized to perform this operation."), CloudAuth),
    ("ec2", 400, ec2("InvalidAMIID.NotFound", "The image id '[ami-0]' does not exist"), CloudInvalid),
    ("ec2", 503, ec2("Unavailable", "The service is unavailable. Please try again shortly."), CloudTransient),
    ("ec2", 500, ec2("InternalError", "An internal error has occurred"), Ambiguous),
    ("gce", 200, operation("ZONE_RESOURCE_POOL_EXHAUSTED", NO_ROOM), Capacity),
    ("gce", 200, operation("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "'NULL:0' (state:STOCKOUT)"), Capacity),
    ("gce", 200, operation("QUOTA_EXCEEDED", "Quota 'N2_CPUS' exceeded.  Limit: 24.0 in region us-central1."), Quota),
    ("gce", 403, google(403, "quotaExceeded", "Quota 'CPUS_ALL_REGIONS' exceeded.  Limit: 12.0 globally."), Quota),
    ("gce", 403, google(403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries' of service"), Throttled),
    ("gce", 429, google(429, "rateLimitExceeded", "Rate Limit Exceeded"), Throttled),
    ("gce", 401, google(401, "authError", "Request had invalid authentication credentials."), CloudAuth),
    ("gce", 403, google(403, "forbidden", "Required 'compute.instances.create' permission"), CloudAuth),
    ("gce", 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, CloudAuth),
    ("gce", 400, google(400, "invalid", "Invalid value for field 'resource.machineType': 'huge'."), CloudInvalid),
    ("gce", 404, google(404, "notFound", "The resource 'projects/p/global/images/none' was not found"), CloudInvalid),
    ("gce", 503, google(503, "backendError", "Service unavailable."), CloudTransient),
    ("gce", 500, google(500, "backendError", "Internal Error"), Ambiguous),
    ("azure", 409, arm("SkuNotAvailable", f"{SKU}currently not available in location 'eastus'."), Capacity),
    ("azure", 409, arm("AllocationFailed", "Allocation failed. Please try reducing the VM size."), Capacity),
    ("azure", 409, arm("ZonalAllocationFailed", "Allocation failed in zone 1."), Capacity),
    (
        "azure",
        409,
        arm("OverconstrainedAllocationRequest", "VM size cannot be provisioned due to constraints."),
        Capacity,
    ),
    ("azure", 409, arm("OperationNotAllowed", CORES), Quota),
    ("azure", 429, arm("SubscriptionRequestsThrottled", "Number of requests exceeded the limit."), Throttled),
    ("azure", 401, arm("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier."), CloudAuth),
    ("azure", 403, arm("AuthorizationFailed", "The client 'c' does not have authorization."), CloudAuth),
    (
        "azure login",
        401,
        {"error": "invalid_client", "error_description": "AADSTS7000222: keys are expired."},
        CloudAuth,
    ),
    (
        "azure",
        400,
        arm("InvalidParameter", "The value Standard_X provided for the VM size is not valid."),
        CloudInvalid,
    ),
    ("azure", 409, arm("ConflictingConcurrentWriteNotAllowed", "There is a conflicting write."), CloudTransient),
    ("azure", 503, arm("ServiceUnavailable", "The service is unavailable."), CloudTransient),
    ("azure", 500, arm("InternalServerError", "Encountered internal server error."), Ambiguous),
    ("vultr", 400, {"error": "Server add failed: the plan is sold out.", "status": 400}, Capacity),
    ("vultr", 400, {"error": "Plan is not available in the selected region.", "status": 400}, Capacity),
    (
        "vultr",
        400,
        {"error": "Server add failed: You have reached the maximum monthly fee limit", "status": 400},
        Quota,
    ),
    ("vultr", 400, {"error": "You have reached the maximum number of active virtual machines", "status": 400}, Quota),
    ("vultr", 429, {"error": "Rate limit exceeded.", "status": 429}, Throttled),
    ("vultr", 401, {"error": "Invalid API token.", "status": 401}, CloudAuth),
    ("vultr", 403, {"error": "Unauthorized IP address: 192.0.2.1", "status": 403}, CloudAuth),
    ("vultr", 400, {"error": "Invalid plan chosen.", "status": 400}, CloudInvalid),
    ("vultr", 503, {"error": "Service unavailable.", "status": 503}, CloudTransient),
    ("vultr", 502, "<html><h1>502 Bad Gateway</h1></html>", Ambiguous),
    ("openstack", 500, nova("computeFault", 500, "No valid host was found. There are not enough hosts."), Capacity),
    ("openstack", 403, nova("forbidden", 403, "Quota exceeded for cores: Requested 8, but already used 20"), Quota),
    ("openstack", 413, nova("overLimit", 413, "This request was rate-limited."), Throttled),
    ("openstack", 403, nova("forbidden", 403, "Policy doesn't allow servers:create to be performed."), CloudAuth),
    ("openstack", 401, nova("error", 401, "The request you have made requires authentication."), CloudAuth),
    ("openstack", 400, nova("badRequest", 400, "Can not find requested image"), CloudInvalid),
    ("openstack", 503, "Service Unavailable", CloudTransient),
    ("openstack", 504, "Gateway Time-out", Ambiguous),
]

READERS = {
    "ec2": EC2Response,
    "gce": GoogleResponse,
    "azure": AzureJsonResponse,
    "azure login": AzureAuthJsonResponse,
    "vultr": VultrResponseV2,
    "openstack": OpenStackResponse,
}


def answered(cloud: str, status: int, body: object) -> Exception:
    """What libcloud raises for an answer."""
    said = requests.Response()
    said.status_code, said.reason = status, "as the cloud says"
    said._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    said.headers["Content-Type"] = "text/xml" if cloud == "ec2" else "application/json"
    connection = SimpleNamespace(driver=EC2NodeDriver, context={})
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is, is libcloud's
        READERS[cloud](said, connection)
    return raised.value


@pytest.mark.parametrize(
    ("cloud", "status", "body", "expected"),
    RECORDED,
    ids=[f"{cloud}-{status}-{expected.__name__}-{n}" for n, (cloud, status, _, expected) in enumerate(RECORDED)],
)
def test_a_recorded_answer_to_an_order_has_one_class(
    cloud: str, status: int, body: object, expected: type[CloudError]
) -> None:
    """Of each cloud at least: capacity, quota, throttle, auth, invalid, transient."""
    fault = classify(answered(cloud, status, body), changes=True)

    assert type(fault) is expected
    assert "{" not in fault.detail, "people read it"


def test_each_cloud_has_each_class() -> None:
    """A cloud that is added later cannot be forgotten here."""
    wanted = {Capacity, Quota, Throttled, CloudAuth, CloudInvalid, CloudTransient, Ambiguous}
    for cloud in READERS.keys() - {"azure login"}:
        assert {expected for name, _, _, expected in RECORDED if name == cloud} == wanted, cloud
