"""GceServer: the part of Google Compute Engine's API that the gateway uses, over real HTTP.

A login is a service account's signed JWT; what changes something is an operation that takes time, and whose end tells
whether it succeeded; lists are by zone and in pages.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api_server import ApiServer, Call, Fault, Life, Refused
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PROJECT = "burst-tests"
ZONES = ("europe-west1-b", "europe-west1-c")
OPERATION_S = 0.03

_ROOT = f"/compute/v1/projects/{PROJECT}"
_LINK = f"https://www.googleapis.com{_ROOT}"
_STATUS = {"starting": "STAGING", "running": "RUNNING", "ending": "STOPPING", "gone": "STOPPING"}


def new_key() -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - libcloud checks it at each login, which takes its time
    kind = serialization.PrivateFormat.PKCS8
    return key, key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


def error(status: int, reason: str, message: str) -> Refused:
    each = {"message": message, "domain": "global", "reason": reason}
    return Refused(status, {"error": {"code": status, "message": message, "errors": [each]}})


REFUSALS = {
    "throttled": error(403, "rateLimitExceeded", "Quota exceeded for quota group 'WriteGroup' and limit 'Writes'."),
    "quota": error(403, "quotaExceeded", "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1."),
    "transient": error(503, "backendError", "Backend Error. Service unavailable."),
    "auth": error(403, "forbidden", "Required 'compute.instances.create' permission for 'projects/burst-tests'"),
    "invalid": error(400, "invalid", "Invalid value for field 'resource.machineType': 'zones/x/machineTypes/huge'."),
}


@dataclass
class Instance:
    """``body``: as it was asked for."""

    zone: str
    body: Mapping[str, Any]
    number: int
    life: Life = field(default_factory=Life)
    said: str = ""
    born: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Operation:
    """Done ``OPERATION_S`` after it began; ``problem``: why it then turns out to have failed."""

    name: str
    kind: str
    target: str
    problem: tuple[str, str] | None = None
    begun: float = field(default_factory=time.monotonic)


class GceServer(ApiServer):
    """One project with two zones, whose machine types are "small" and "rare"."""

    kind = "gce"
    zones = ZONES
    never = f"{ZONES[0]}/never-was"
    creates = "POST .*/instances"
    lists = "GET .*/aggregated/instances"
    ends = "DELETE .*/instances/"
    refusals = REFUSALS

    def __init__(self) -> None:
        super().__init__()
        self.key, pem = new_key()
        self.secret = {
            "client_email": f"gateway@{PROJECT}.iam.gserviceaccount.com",
            "private_key": pem,
            "project_id": PROJECT,
        }
        self.tokens: set[str] = set()
        self.instances: dict[tuple[str, str], Instance] = {}
        self.operations: dict[str, Operation] = {}
        self.requests: dict[str, Operation] = {}
        self.disks: dict[tuple[str, str], dict[str, Any]] = {}
        self.addresses: dict[tuple[str, str], dict[str, Any]] = {}
        self.silent_zones: set[str] = set()

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": "gce", "image": "node", "options": {"zone": ZONES[0]}, "endpoint": self.url}

    @property
    def wrong(self) -> dict[str, str]:
        return {**self.secret, "private_key": new_key()[1]}

    def expire(self) -> dict[str, str]:
        """The account's key is taken back, and what it got with it; the new one's credential."""
        self.tokens.clear()
        self.key, self.secret["private_key"] = new_key()
        return self.secret

    def break_off(self) -> None:
        """The next page of a listing after its first cannot be had."""
        self.faults.append(Fault(lambda call: "pageToken" in call.query, REFUSALS["transient"]))

    def user_data(self, machine_id: str) -> str:
        (item,) = self._instance(machine_id).body["metadata"]["items"]
        assert item["key"] == "user-data"
        return str(item["value"])

    def power_off(self, machine_id: str) -> None:
        self._instance(machine_id).life.halted = "TERMINATED"

    def preempt(self, machine_id: str) -> None:
        instance = self._instance(machine_id)
        assert instance.body["scheduling"]["provisioningModel"] == "SPOT"
        instance.life.halted = "STOPPING"
        self._operation("compute.instances.preempted", f"{_LINK}/zones/{instance.zone}/instances/{_name(machine_id)}")

    def say(self, machine_id: str, text: str) -> None:
        self._instance(machine_id).said = text

    def leave(self, machine_id: str) -> None:
        """The machine's disk does not go with it, and somebody reserved an address for it."""
        instance = self._instance(machine_id)
        labels = instance.body["disks"][0]["initializeParams"]["labels"]
        self.disks[instance.zone, _name(machine_id)]["autoDelete"] = False
        thing = {"name": "outside", "labels": labels, "status": "IN_USE", "users": ["x"]}
        self.addresses["regions/europe-west1", "outside"] = thing

    def left(self) -> set[str]:
        return {name for _, name in [*self.disks, *self.addresses]}

    def wipe(self) -> None:
        with self.lock:
            for each in (self.instances, self.disks, self.addresses, self.operations, self.requests):
                each.clear()
            self.faults.clear()
            self.full.clear()

    def admit(self, call: Call) -> None:
        if call.path == "/o/oauth2/token":
            return
        if call.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise error(401, "authError", "Invalid Credentials")

    def perform(self, call: Call) -> tuple[int, Any]:
        if call.path == "/o/oauth2/token":
            return 200, self._token(call.body)
        self._look()
        match call.method, call.path.removeprefix(f"{_ROOT}/").split("/"):
            case "GET", ["aggregated", kind]:
                answer = self._list(kind, call.query)
            case "POST", ["zones", zone, "instances"]:
                answer = self._insert(zone, call)
            case "GET", ["zones", zone, "instances", name]:
                answer = self._shown(self._instance(f"{zone}/{name}"))
            case "DELETE", ["zones", zone, "instances", name]:
                self._instance(f"{zone}/{name}").life.end()
                answer = self._told(self._operation("delete", f"{_LINK}/zones/{zone}/instances/{name}"))
            case "GET", ["zones", zone, "instances", name, "serialPort"]:
                answer = {"kind": "compute#serialPortOutput", "contents": self._instance(f"{zone}/{name}").said}
            case "GET", ["zones", _, "operations", name]:
                answer = self._told(self.operations[name])
            case "DELETE", [kind, place, "disks" | "addresses" as what, name]:
                answer = self._delete(f"{kind}/{place}", what, name)
            case _:
                raise error(404, "notFound", f"The requested URL {call.path} was not found on this server.")
        return 200, answer

    def _token(self, form: Mapping[str, str]) -> dict[str, Any]:
        head, claims, signature = form["assertion"].split(".")
        said = json.loads(base64.urlsafe_b64decode(claims + "=="))
        try:
            assert said["iss"] == self.secret["client_email"]
            assert said["iat"] <= time.time() + 5 < said["exp"]
            made = base64.urlsafe_b64decode(signature + "==")
            self.key.public_key().verify(made, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        except (AssertionError, InvalidSignature):
            raise Refused(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}) from None
        self.tokens.add(token := f"ya29.{secrets.token_urlsafe(24)}")
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def _insert(self, zone: str, call: Call) -> dict[str, Any]:
        # A request id that was seen is answered with what became of it, be it a failure.
        if (known := self.requests.get(call.query.get("requestId", ""))) is not None:
            return self._told(known)
        name, kind = call.body["name"], call.body["machineType"].split("/")[-1]
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise error(400, "invalid", f"Invalid value for field 'resource.name': '{name}'.")
        for key, value in call.body["labels"].items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise error(400, "invalid", f"Invalid value for field 'resource.labels': '{key}={value}'.")
        if kind not in {"small", "rare"}:
            raise error(400, "invalid", f"Invalid value for field 'resource.machineType': '{kind}'. It does not exist.")
        if (zone, name) in self.instances:
            raise error(409, "alreadyExists", f"The resource 'projects/{PROJECT}/zones/{zone}/instances/{name}' exists")
        made = self._operation("insert", f"{_LINK}/zones/{zone}/instances/{name}")
        if "requestId" in call.query:
            self.requests[call.query["requestId"]] = made
        if {kind, f"{zone}/{kind}"} & self.full:
            text = f"The zone 'projects/{PROJECT}/zones/{zone}' does not have enough resources available ({kind})."
            made.problem = ("ZONE_RESOURCE_POOL_EXHAUSTED", text)
        else:
            self.instances[zone, name] = Instance(zone, call.body, len(self.operations) + 2)
            labels = call.body["disks"][0]["initializeParams"]["labels"]
            self.disks[zone, name] = {"name": name, "labels": labels, "autoDelete": True, "users": [name]}
        return self._told(made)

    def _list(self, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
        things = list(self._things(kind, query["filter"]))
        page, after = self.page(things, int(query["maxResults"]), query.get("pageToken", ""))
        items: dict[str, Any] = {f"zones/{zone}": {} for zone in ZONES}
        for scope, thing in page:
            items.setdefault(scope, {}).setdefault(kind, []).append(thing)
        for scope, inside in items.items():
            if scope.partition("/")[2] in self.silent_zones:
                inside["warning"] = {"code": "UNREACHABLE", "message": f"The zone {scope} is unreachable."}
            elif kind not in inside:
                inside["warning"] = {"code": "NO_RESULTS_ON_PAGE", "message": f"There are no results for {scope}."}
        return {"kind": f"compute#{kind}AggregatedList", "items": items, **({"nextPageToken": after} if after else {})}

    def _things(self, kind: str, condition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        name, _, wanted = condition.partition("=")
        if kind == "operations":
            for operation in self.operations.values():
                if operation.kind == wanted.strip('"'):
                    yield f"zones/{operation.target.split('/')[-3]}", self._told(operation)
            return
        tables: dict[str, Any] = {"disks": self.disks, "addresses": self.addresses, "instances": self.instances}
        for (place, _), thing in tables[kind].items():
            shown = self._shown(thing) if kind == "instances" else thing
            if shown["labels"].get(name.removeprefix("labels.")) == wanted:
                yield (place if "/" in place else f"zones/{place}"), {"status": "READY", **shown}

    def _shown(self, instance: Instance) -> dict[str, Any]:
        name = instance.body["name"]
        running = instance.life.state != "starting"
        return {
            "kind": "compute#instance",
            "id": str(10**18 + instance.number),
            "name": name,
            "status": instance.life.halted or _STATUS[instance.life.state],
            "labels": instance.body["labels"],
            "scheduling": instance.body["scheduling"],
            "creationTimestamp": instance.born.isoformat(timespec="milliseconds"),
            "selfLink": f"{_LINK}/zones/{instance.zone}/instances/{name}",
            "zone": f"{_LINK}/zones/{instance.zone}",
            "networkInterfaces": [
                {"name": "nic0", **({"networkIP": f"10.132.0.{instance.number}"} if running else {})}
            ],
        }

    def _operation(self, kind: str, target: str) -> Operation:
        made = Operation(f"operation-{len(self.operations)}", kind, target)
        self.operations[made.name] = made
        return made

    def _told(self, operation: Operation) -> dict[str, Any]:
        done = time.monotonic() > operation.begun + OPERATION_S
        zone = operation.target.split("/")[-3]
        told: dict[str, Any] = {
            "kind": "compute#operation",
            "name": operation.name,
            "operationType": operation.kind,
            "status": "DONE" if done else "RUNNING",
            "targetLink": operation.target,
            "selfLink": f"{_LINK}/zones/{zone}/operations/{operation.name}",
            "statusMessage": "Instance was preempted." if "preempted" in operation.kind else "",
        }
        if done and operation.problem is not None:
            code, message = operation.problem
            told["error"] = {"errors": [{"code": code, "message": message}]}
        return told

    def _delete(self, scope: str, what: str, name: str) -> dict[str, Any]:
        table, place = (self.disks, scope.partition("/")[2]) if what == "disks" else (self.addresses, scope)
        if (place, name) not in table:
            raise error(404, "notFound", f"The resource 'projects/{PROJECT}/{scope}/{what}/{name}' was not found")
        del table[place, name]
        return self._told(self._operation("delete", f"{_LINK}/{scope}/{what}/{name}"))

    def _instance(self, machine_id: str) -> Instance:
        zone, _, name = machine_id.partition("/")
        if (found := self.instances.get((zone, name))) is None:
            raise error(
                404, "notFound", f"The resource 'projects/{PROJECT}/zones/{zone}/instances/{name}' was not found"
            )
        return found

    def _look(self) -> None:
        """Forget the instances that are gone; of their disks go those that were to go with them."""
        for key in [key for key, each in self.instances.items() if each.life.state == "gone"]:
            del self.instances[key]
            if self.disks[key]["autoDelete"]:
                del self.disks[key]
            else:
                self.disks[key]["users"] = []
            for address in self.addresses.values():
                address |= {"users": [], "status": "RESERVED"}


def _name(machine_id: str) -> str:
    return machine_id.partition("/")[2]
