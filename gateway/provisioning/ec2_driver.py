"""Quick: libcloud's EC2 driver with a quicker reader of instances: thousands come in one answer.

Invariant: what it leaves out of a node's ``extra`` (disks, groups, interfaces, product codes) nothing here reads; all
else is as libcloud reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element

from libcloud.compute.base import Node
from libcloud.compute.types import NodeState
from libcloud.utils.iso8601 import parse_date_allow_empty

date: Callable[[str], datetime | None] = parse_date_allow_empty  # libcloud's own has no types
XML = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
"""Namespace of the API version that libcloud's driver asks for; importing the driver for it costs every start-up."""


def quick(kind: Any) -> Any:
    """The same driver class, which looks once at each child of an instance; libcloud searches for every attribute."""
    from libcloud.compute.drivers.ec2 import RESOURCE_EXTRA_ATTRIBUTES_MAP  # noqa: PLC0415 - half a second

    attributes = RESOURCE_EXTRA_ATTRIBUTES_MAP["node"]

    class Driver(kind):  # type: ignore[misc] # a class that is chosen at run time
        def _to_node(self, element: Element) -> Node:
            children = {child.tag.removeprefix(XML): child for child in element}
            extra = {name: _value(children, each) for name, each in attributes.items()}
            extra["tags"] = tags = _tags(children.get("tagSet"))
            return Node(
                id=extra["instance_id"],
                name=tags.get("Name", extra["instance_id"]),
                state=self.NODE_STATE_MAP.get(extra["status"], NodeState.UNKNOWN),
                public_ips=[text] if (text := _text(children, "ipAddress")) else [],
                private_ips=[text] if (text := _text(children, "privateIpAddress")) else [],
                driver=self,
                created_at=date(extra["launch_time"]),
                extra=extra,
            )

    return Driver


def _value(children: dict[str, Element], attribute: dict[str, Any]) -> Any:
    text = _text(children, attribute["xpath"])
    return attribute["transform_func"](text) if text else text


def _text(children: dict[str, Element], path: str) -> str | None:
    """None if there is no such element, "" if it is empty."""
    name, _, below = path.partition("/")
    if (child := children.get(name)) is None:
        return None
    return child.findtext(f"{XML}{below}") if below else child.text or ""


def _tags(tag_set: Element | None) -> dict[str, str]:
    found = tag_set if tag_set is not None else ()
    return {tag.findtext(f"{XML}key") or "": tag.findtext(f"{XML}value") or "" for tag in found}
