"""The quicker reader of EC2's answers: it reads what libcloud's own reads."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from bench.ec2_api import _Api
from gateway.provisioning.ec2_driver import quick

ASKED = {
    "Action": "RunInstances",
    "ImageId": "ami-1",
    "InstanceType": "m7i.large",
    "MinCount": "3",
    "TagSpecification.1.Tag.1.Key": "Name",
    "TagSpecification.1.Tag.1.Value": "gang",
    "TagSpecification.1.Tag.2.Key": "gw-gang",
    "TagSpecification.1.Tag.2.Value": "",
}
LEFT_OUT = {"block_device_mapping", "groups", "network_interfaces", "product_codes"}
SPOT = "<instanceLifecycle>spot</instanceLifecycle><ipAddress>192.0.2.9</ipAddress>"


@pytest.mark.parametrize("more", ["", SPOT, "<iamInstanceProfile><id>role</id></iamInstanceProfile>"])
@pytest.mark.parametrize("state", ["pending", "running", "shutting-down", "terminated", "stopped", "none-of-these"])
def test_it_reads_what_libcloud_reads(state: str, more: str) -> None:
    """Each attribute, empty and absent ones included; but for what nothing of ours reads."""
    kind: Any = get_driver(Provider.EC2)
    theirs, ours = (each("key", "secret", region="us-east-1", signature_version="4") for each in (kind, quick(kind)))
    text = _Api(0)._answer(ASKED).decode().replace("<name>pending<", f"<name>{state}<")
    answer = ET.XML(text.replace("<hypervisor>", f"{more}<hypervisor>"))

    read, wanted = (driver._to_nodes(answer, "instancesSet/item") for driver in (ours, theirs))

    assert len(read) == 3
    for one, other in zip(read, wanted, strict=True):
        assert one.extra == {name: value for name, value in other.extra.items() if name not in LEFT_OUT}
        for name in ("id", "name", "state", "public_ips", "private_ips", "created_at"):
            assert getattr(one, name) == getattr(other, name)
