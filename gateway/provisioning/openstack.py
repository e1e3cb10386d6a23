"""OpenStack: what Nova, Neutron and Cinder do their own way behind libcloud's driver.

Invariant: a machine is on-demand; Nova has no spot market that its API tells of, so an order for one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from libcloud.compute.base import Node

from gateway.provisioning.dialect import Dialect, anywhere
from gateway.provisioning.node import NodeOrder


def _placing(driver: Any, order: NodeOrder) -> Mapping[str, Any]:
    anywhere(driver, replace(order, zone=""))
    return {"ex_availability_zone": order.zone} if order.zone else {}


def _facts(node: Node) -> Mapping[str, Any]:
    return {"zone": node.extra.get("location") or ""}


OPENSTACK = Dialect("ex_userdata", "ex_metadata", None, "metadata", placing=_placing, facts=_facts)
