"""Metadata: what a machine's cloud tells it over HTTP, and how each cloud announces that it takes the machine back.

Invariant: nothing is sent to it but the questions; on a machine its address is the cloud's own and cannot be set.
Sources: EC2 "Spot Instance interruption notices" and "Use IMDSv2"; Compute Engine "Preemptible instances" and "Wait for
changes"; Azure "Scheduled Events for Linux VMs".
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from slurm_plugins.agent.web import Unavailable

ADDRESS = "169.254.169.254"
"""Of all three (RFC 3927)."""
MOST = 1 << 16
ANSWER_S = 10.0
_CLOUD_ID = Path("/run/cloud-init/cloud-id")
_VENDOR = Path("/sys/class/dmi/id/sys_vendor")
_VENDORS = {"Amazon EC2": "aws", "Google": "gce", "Microsoft Corporation": "azure"}


@dataclass(frozen=True)
class Notice:
    """That the machine is taken back ``at`` a time (ISO 8601; "" if not told), or, as ``advice``, that it may be."""

    at: str
    words: str
    advice: bool = False


@dataclass(frozen=True)
class Metadata:
    """The metadata service of this machine's cloud at HOST[:PORT]."""

    host: str = ADDRESS

    def ask(
        self, path: str, headers: dict[str, str], method: str = "GET", within_s: float = ANSWER_S
    ) -> tuple[int, str, str]:
        """Status, text and ETag of the answer. Raises Unavailable for none."""
        try:
            with closing(http.client.HTTPConnection(self.host, timeout=within_s)) as connection:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                text = answer.read(MOST).decode(errors="replace")
                return answer.status, text, answer.getheader("ETag", "")
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"metadata {path}: {error or type(error).__name__}") from error

    def read(self, path: str, headers: dict[str, str], within_s: float = ANSWER_S) -> tuple[str, str]:
        """Text and ETag of a good answer. Raises Unavailable for any other."""
        status, text, tag = self.ask(path, headers, within_s=within_s)
        if status != HTTPStatus.OK:
            raise Unavailable(f"metadata {path}: {status}")
        return text, tag


class Announcer(Protocol):
    """How one cloud announces it. ``pause_s``: how long to wait before the next look."""

    pause_s: float

    def look(self) -> Iterator[Notice]:
        """What is announced now; may wait for it. Raises Unavailable, ValueError, KeyError."""


@dataclass
class Ec2:
    """By asking again and again; AWS says every 5 s. A notice comes two minutes before the end."""

    metadata: Metadata
    pause_s: float = 5.0
    token: str = ""

    def look(self) -> Iterator[Notice]:
        """See ``Announcer``."""
        if action := self._get("/latest/meta-data/spot/instance-action"):
            said = json.loads(action)
            yield Notice(str(said["time"]), f"EC2 will {said['action']} it")
        if recommended := self._get("/latest/meta-data/events/recommendations/rebalance"):
            yield Notice(str(json.loads(recommended)["noticeTime"]), "EC2 recommends to rebalance", advice=True)

    def _get(self, path: str) -> str:
        """The text; "" while there is none (404). A token that ended is replaced at the next look."""
        self.token = self.token or self._new_token()
        status, text, _ = self.metadata.ask(path, {"X-aws-ec2-metadata-token": self.token})
        if status == HTTPStatus.NOT_FOUND:
            return ""
        if status != HTTPStatus.OK:
            self.token = ""
            raise Unavailable(f"metadata {path}: {status}")
        return text

    def _new_token(self) -> str:
        path = "/latest/api/token"
        status, text, _ = self.metadata.ask(path, {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, "PUT")
        if status != HTTPStatus.OK:
            raise Unavailable(f"metadata {path}: {status}")
        return text


@dataclass
class ComputeEngine:
    """By one long question. The machine is stopped 30 s after the answer."""

    metadata: Metadata
    pause_s: float = 0.2
    wait_s: int = 60
    tag: str = "0"
    """Of the answer that is known; 0 gets an answer at once."""
    ends: str = ""

    def look(self) -> Iterator[Notice]:
        """See ``Announcer``."""
        query = f"wait_for_change=true&timeout_sec={self.wait_s}&last_etag={self.tag}"
        path = f"/computeMetadata/v1/instance/preempted?{query}"
        text, self.tag = self.metadata.read(path, {"Metadata-Flavor": "Google"}, self.wait_s + ANSWER_S)
        if text.strip() == "TRUE":
            self.ends = self.ends or f"{datetime.now(UTC) + timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"
            yield Notice(self.ends, "Compute Engine preempts it")


@dataclass
class Azure:
    """By asking; the events are those of all machines of a set, and the first question may take two minutes."""

    metadata: Metadata
    pause_s: float = 2.0
    name: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Metadata": "true"})

    def look(self) -> Iterator[Notice]:
        """See ``Announcer``."""
        if not self.name:
            path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
            self.name = self.metadata.read(path, self.headers)[0].strip()
        text, _ = self.metadata.read("/metadata/scheduledevents?api-version=2020-07-01", self.headers, 130.0)
        for event in json.loads(text)["Events"]:
            if event["EventType"] in {"Preempt", "Terminate"} and self.name in event["Resources"]:
                yield Notice(_iso(event.get("NotBefore", "")), f"Azure announces: {event['EventType']}")


ANNOUNCERS = {"aws": Ec2, "gce": ComputeEngine, "azure": Azure}
"""By cloud-init's names of the clouds (cloud-id(1))."""


def cloud_here() -> str:
    """The name of the cloud that this machine is in, as cloud-init found it, else as its firmware says; "": none."""
    try:
        found = _CLOUD_ID.read_text().strip()
    except OSError:
        found = ""
    if found in ANNOUNCERS:
        return found
    try:
        return _VENDORS.get(_VENDOR.read_text().strip(), "")
    except OSError:
        return ""


def _iso(date: str) -> str:
    """An HTTP date as ISO 8601; "" for an event that has begun, which has none."""
    return f"{parsedate_to_datetime(date).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if date else ""
