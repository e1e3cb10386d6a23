"""VultrServer: the part of Vultr's API (version 2) that the gateway uses, over real HTTP.

A login is an API key; virtual machines and bare metal have paths of their own; lists have a cursor to their next page;
volumes and addresses have a label and no tags.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api_server import ApiServer, Call, Fault, Life, Refused

_ONE = {"instances": "instance", "bare-metals": "bare_metal"}
_STATUS = {"starting": "pending", "running": "active", "ending": "active", "gone": "active", "halted": "active"}
_PLANS = {"instances": {"small", "rare"}, "bare-metals": {"vbm-4c-32gb"}}


def error(status: int, text: str) -> Refused:
    return Refused(status, {"error": text, "status": status})


REFUSALS = {
    "throttled": error(429, "Rate limit exceeded."),
    "quota": error(
        400,
        "Server add failed: You have reached the maximum monthly fee limit for this account. To deploy additional "
        "services, please request a limit increase.",
    ),
    "transient": error(503, "Service unavailable."),
    "auth": error(403, "Unauthorized IP address: 192.0.2.1"),
    "invalid": error(400, "Invalid plan chosen."),
}


@dataclass
class Server:
    """``path``: instances or bare-metals; ``body``: as it was asked for."""

    path: str
    body: Mapping[str, Any]
    number: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    life: Life = field(default_factory=Life)
    born: datetime = field(default_factory=lambda: datetime.now(UTC))


class VultrServer(ApiServer):
    """One account, whose plans are "small", "rare" and one of bare metal."""

    kind = "vultr"
    zones = ("ams", "fra")
    never = f"instances/{uuid.UUID(int=0)}"
    creates = "POST /v2/(instances|bare-metals)"
    lists = "GET /v2/instances"
    ends = "DELETE /v2/instances/"
    refusals = REFUSALS

    def __init__(self) -> None:
        super().__init__()
        self.secret = {"api_key": secrets.token_urlsafe(24)}
        self.servers: dict[str, Server] = {}
        self.blocks: dict[str, dict[str, Any]] = {}
        self.addresses: dict[str, dict[str, Any]] = {}

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": "vultr", "region": self.zones[0], "image": "2625", "endpoint": self.url}

    @property
    def wrong(self) -> dict[str, str]:
        return {"api_key": "wrong"}

    def expire(self) -> dict[str, str]:
        """The key is taken back; the new one's credential."""
        self.secret["api_key"] = secrets.token_urlsafe(24)
        return self.secret

    def break_off(self) -> None:
        """The next page of a listing after its first cannot be had."""
        self.faults.append(Fault(lambda call: "cursor" in call.query, REFUSALS["transient"]))

    def user_data(self, machine_id: str) -> str:
        return base64.b64decode(self._server(machine_id).body["user_data"]).decode()

    def power_off(self, machine_id: str) -> None:
        self._server(machine_id).life.halted = "stopped"

    def leave(self, machine_id: str) -> None:
        """A volume and an address with the machine's label, of which neither goes with it."""
        server = self._server(machine_id)
        common = {"label": f"{server.body['label']}-scratch", "region": server.body["region"]}
        self.blocks["block-1"] = {"id": "block-1", "attached_to_instance": server.id, **common, "status": "active"}
        self.addresses["ip-1"] = {"id": "ip-1", "instance_id": server.id, **common, "subnet": "192.0.2.9"}

    def left(self) -> set[str]:
        return {*self.blocks, *self.addresses}

    def wipe(self) -> None:
        with self.lock:
            for each in (self.servers, self.blocks, self.addresses):
                each.clear()
            self.faults.clear()
            self.full.clear()

    def admit(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {self.secret['api_key']}":
            raise error(401, "Invalid API token.")

    def perform(self, call: Call) -> tuple[int, Any]:
        self._look()
        match call.method, call.path.removeprefix("/v2/").split("/"):
            case "POST", ["instances" | "bare-metals" as path]:
                return 202, {_ONE[path]: self._shown(self._new(path, call.body))}
            case "GET", ["instances" | "bare-metals" as path]:
                shown = [self._shown(each) for each in self.servers.values() if each.path == path]
                tagged = [each for each in shown if call.query.get("tag") in {None, *each["tags"]}]
                return 200, self._list(f"{_ONE[path]}s", tagged, call)
            case "GET", ["blocks"]:
                return 200, self._list("blocks", list(self.blocks.values()), call)
            case "GET", ["reserved-ips"]:
                return 200, self._list("reserved_ips", list(self.addresses.values()), call)
            case "DELETE", ["instances" | "bare-metals" as path, name]:
                self._server(f"{path}/{name}").life.end()
                return 204, None
            case "DELETE", ["blocks" | "reserved-ips" as path, name]:
                if (self.blocks if path == "blocks" else self.addresses).pop(name, None):
                    return 204, None
        raise error(404, f"{call.path} was not found.")

    def _new(self, path: str, body: Mapping[str, Any]) -> Server:
        if body["plan"] not in _PLANS[path]:
            raise error(400, f"Invalid plan chosen. ({body['plan']})")
        if {body["plan"], f"{body['region']}/{body['plan']}"} & self.full:
            raise error(400, f"Server add failed: {body['plan']} is not available in the selected region.")
        made = Server(path, body, len(self.servers) + 2)
        self.servers[made.id] = made
        return made

    def _list(self, key: str, things: list[Any], call: Call) -> dict[str, Any]:
        page, after = self.page(things, int(call.query["per_page"]), call.query.get("cursor", ""))
        return {key: page, "meta": {"total": len(things), "links": {"next": after, "prev": ""}}}

    def _shown(self, server: Server) -> dict[str, Any]:
        running = server.life.state != "starting"
        shown = {
            "id": server.id,
            "region": server.body["region"],
            "plan": server.body["plan"],
            "label": server.body["label"],
            "tags": server.body["tags"],
            "status": _STATUS[server.life.state],
            "main_ip": f"192.0.2.{server.number}" if running else "0.0.0.0",  # noqa: S104 - what Vultr says of none
            "date_created": server.born.isoformat(timespec="seconds"),
        }
        if server.path == "instances":
            inside = {"internal_ip": f"10.7.96.{server.number}" if running else "", "server_status": "ok"}
            shown |= {"power_status": server.life.halted or "running", **inside}
        return shown

    def _server(self, machine_id: str) -> Server:
        path, _, name = machine_id.partition("/")
        if (found := self.servers.get(name)) is None or found.path != path:
            raise error(404, "Instance not found.")
        return found

    def _look(self) -> None:
        """Forget the machines that are gone; what hung on them hangs on nothing."""
        for name in [name for name, server in self.servers.items() if server.life.state == "gone"]:
            del self.servers[name]
            for thing in [*self.blocks.values(), *self.addresses.values()]:
                for owner in ("attached_to_instance", "instance_id"):
                    if thing.get(owner) == name:
                        thing[owner] = ""
