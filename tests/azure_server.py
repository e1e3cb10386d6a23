"""AzureServer: the part of Azure's resource manager that the gateway uses, over real HTTP.

A login is an application's secret, changed for a token that runs out; a machine is a resource with an interface and a
disk, which are made and end in the background; lists have a link to their next page.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api_server import ApiServer, Call, Fault, Life, Refused

SUBSCRIPTION = "99999999-9999-9999-9999-999999999999"
TENANT = "77777777-7777-7777-7777-777777777777"
GROUP = "burst"

_ROOT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
_VMS = "Microsoft.Compute/virtualMachines"
_DISKS = "Microsoft.Compute/disks"
_NICS = "Microsoft.Network/networkInterfaces"
_IPS = "Microsoft.Network/publicIPAddresses"
_POWER = {"running": "running", "ending": "deallocating", "gone": "deallocating", "starting": "starting"}


def error(status: int, code: str, message: str) -> Refused:
    return Refused(status, {"error": {"code": code, "message": message}})


REFUSALS = {
    "throttled": error(429, "SubscriptionRequestsThrottled", "Number of requests exceeded the limit of 20 per second."),
    "quota": error(
        409,
        "OperationNotAllowed",
        "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional "
        "details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 50, Current Usage: 50.",
    ),
    "transient": error(503, "ServiceUnavailable", "The service is unavailable."),
    "auth": error(403, "AuthorizationFailed", "The client does not have authorization to perform this action."),
    "invalid": error(400, "InvalidParameter", "The value huge provided for the VM size is not valid."),
}


@dataclass
class Vm:
    """``body``: as it was asked for; ``lost``: why it could not be placed after all."""

    body: Mapping[str, Any]
    number: int
    life: Life = field(default_factory=Life)
    said: str = ""
    lost: str = ""
    born: datetime = field(default_factory=lambda: datetime.now(UTC))


class AzureServer(ApiServer):
    """One resource group, whose machine sizes are "small" and "rare"."""

    kind = "azure"
    zones = ("1", "2")
    never = "never-was"
    creates = f"PUT .*/{_VMS}/.*"
    lists = f"GET .*/resourceGroups/.*/{_VMS}"
    ends = f"DELETE .*/{_VMS}/"
    refusals = REFUSALS

    def __init__(self) -> None:
        super().__init__()
        self.secret = {
            "tenant": TENANT,
            "subscription": SUBSCRIPTION,
            "client_id": "11111111-1111-1111-1111-111111111111",
            "client_secret": secrets.token_urlsafe(16),
        }
        self.tokens: dict[str, float] = {}
        self.vms: dict[str, Vm] = {}
        self.things: dict[str, dict[str, dict[str, Any]]] = {_DISKS: {}, _NICS: {}, _IPS: {}}
        self.late: set[str] = set()
        """Sizes that turn out to have no room only after the order was taken."""

    @property
    def facts(self) -> dict[str, Any]:
        subnet = f"{_ROOT}/Microsoft.Network/virtualNetworks/nodes/subnets/default"
        return {
            "kind": "azure",
            "region": "westeurope",
            "image": "Debian:debian-13:13:latest",
            "network": subnet,
            "options": {"resource_group": GROUP},
            "endpoint": self.url,
        }

    @property
    def wrong(self) -> dict[str, str]:
        return {**self.secret, "client_secret": "wrong"}

    def expire(self) -> dict[str, str]:
        """The application's secret is taken back, and what it got with it; the new one's credential."""
        self.tokens.clear()
        self.secret["client_secret"] = secrets.token_urlsafe(16)
        return self.secret

    def break_off(self) -> None:
        """The next page of a listing after its first cannot be had."""
        self.faults.append(Fault(lambda call: "$skiptoken" in call.query, REFUSALS["transient"]))

    def user_data(self, machine_id: str) -> str:
        system = self.vms[machine_id].body["properties"]["osProfile"]
        return base64.b64decode(system["customData"]).decode()

    def power_off(self, machine_id: str) -> None:
        self.vms[machine_id].life.halted = "stopped"

    def preempt(self, machine_id: str) -> None:
        properties = self.vms[machine_id].body["properties"]
        assert (properties["priority"], properties["evictionPolicy"]) == ("Spot", "Deallocate")
        self.vms[machine_id].life.halted = "deallocated"

    def say(self, machine_id: str, text: str) -> None:
        self.vms[machine_id].said = text

    def leave(self, machine_id: str) -> None:
        """Somebody took "delete with the machine" from its disk and interface, and gave it an address to keep."""
        for kind in (_DISKS, _NICS):
            for thing in self.things[kind].values():
                if thing["owner"] == machine_id:
                    thing["deleteOption"] = "Detach"
        address = {"owner": machine_id, "deleteOption": "Detach"}
        self.things[_IPS][f"{machine_id}-ip"] = address

    def left(self) -> set[str]:
        return {name for table in self.things.values() for name in table}

    def wipe(self) -> None:
        with self.lock:
            for each in (self.vms, *self.things.values()):
                each.clear()
            self.faults.clear()
            self.full.clear()
            self.late.clear()

    def admit(self, call: Call) -> None:
        if call.path.endswith("/oauth2/token") or call.path.startswith("/blob/"):
            return
        ends = self.tokens.get(call.headers.get("authorization", "").removeprefix("Bearer "), 0.0)
        if ends < time.time():
            raise error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.")
        assert call.query["api-version"] >= "2020", call

    def perform(self, call: Call) -> tuple[int, Any]:
        self._look()
        match call.method, call.path.removeprefix(f"{_ROOT}/").split("/"):
            case _, ["Microsoft.Compute", "virtualMachines", name, *rest]:
                return self._of_vm(name, rest, call)
            case "POST", ["", tenant, "oauth2", "token"]:
                return 200, self._token(tenant, call.body)
            case "GET", ["", "subscriptions", _, "providers", *_]:
                assert call.query["statusOnly"] == "true"
                return 200, self._list(_VMS, call, with_view=True)
            case "GET", [space, kind]:
                return 200, self._list(f"{space}/{kind}", call, with_view=False)
            case "GET", ["", "blob", name]:
                return 200, self._vm(name).said
            case "DELETE", [space, kind, name]:
                return self._delete(self.things[f"{space}/{kind}"], name), None
        raise error(404, "ResourceNotFound", f"The resource {call.path} was not found.")

    def _of_vm(self, name: str, rest: list[str], call: Call) -> tuple[int, Any]:
        match call.method, rest:
            case "GET", []:
                return 200, self._shown(name, self._vm(name), with_view=False)
            case "PUT", []:
                return self._put(name, call)
            case "DELETE", [] if name in self.vms:
                self.vms[name].life.end()
                return 202, None
            case "DELETE", []:
                return 204, None
            case "POST", ["retrieveBootDiagnosticsData"] if self._vm(name):
                return 200, {"serialConsoleLogBlobUri": f"{self.url}/blob/{name}?sig=x"}
        raise error(405, "MethodNotAllowed", f"{call.what} is not allowed.")

    def _token(self, tenant: str, form: Mapping[str, str]) -> dict[str, str]:
        known = (self.secret["client_id"], self.secret["client_secret"], TENANT, "client_credentials")
        if (form["client_id"], form["client_secret"], tenant, form["grant_type"]) != known:
            said = "AADSTS7000215: Invalid client secret provided."
            raise Refused(401, {"error": "invalid_client", "error_description": said})
        ends = time.time() + 3600
        self.tokens[token := secrets.token_urlsafe(24)] = ends
        return {"token_type": "Bearer", "expires_in": "3600", "expires_on": str(int(ends)), "access_token": token}

    def _put(self, name: str, call: Call) -> tuple[int, dict[str, Any]]:
        properties = call.body["properties"]
        size, zone = properties["hardwareProfile"]["vmSize"], next(iter(call.body.get("zones", [])), "")
        if name in self.vms and call.headers.get("if-none-match") == "*":
            raise error(412, "PreconditionFailed", "The resource exists, and If-None-Match is *.")
        if size not in {"small", "rare"}:
            raise error(400, "InvalidParameter", f"The value {size} provided for the VM size is not valid.")
        if {size, f"{zone}/{size}"} & self.full:
            raise error(409, "SkuNotAvailable", f"The requested VM size {size} is currently not available.")
        lost = "Allocation failed. We do not have sufficient capacity for the requested VM size in this region."
        vm = self.vms[name] = Vm(call.body, len(self.vms) + 4, lost=lost if size in self.late else "")
        (interface,) = properties["networkProfile"]["networkInterfaceConfigurations"]
        disk = properties["storageProfile"]["osDisk"]
        self.things[_NICS][interface["name"]] = {
            "owner": name,
            "deleteOption": interface["properties"]["deleteOption"],
            "address": f"10.9.0.{vm.number}",
        }
        self.things[_DISKS][disk["name"]] = {"owner": name, "deleteOption": disk["deleteOption"]}
        return 201, self._shown(name, vm, with_view=False)

    def _list(self, kind: str, call: Call, *, with_view: bool) -> dict[str, Any]:
        if kind == _VMS:
            things = [self._shown(name, vm, with_view=with_view) for name, vm in self.vms.items()]
        else:
            things = list(self._others(kind))
        page, after = self.page(things, 1000, call.query.get("$skiptoken", ""))
        query = f"api-version={call.query['api-version']}&$skiptoken={after}"
        link = f"https://management.azure.com:443{call.path}?{query}"
        return {"value": page, **({"nextLink": link} if after else {})}

    def _others(self, kind: str) -> Iterator[dict[str, Any]]:
        for name, thing in self.things[kind].items():
            owner = {"id": f"{_ROOT}/{_VMS}/{thing['owner']}"} if thing["owner"] else None
            properties: dict[str, Any] = {"provisioningState": "Succeeded"}
            if kind == _NICS:
                inside = {"name": "inside", "properties": {"privateIPAddress": thing["address"]}}
                properties |= {"ipConfigurations": [inside], **({"virtualMachine": owner} if owner else {})}
            if kind == _IPS and owner:
                properties["ipConfiguration"] = owner
            # What is made with a machine has no tags of its own.
            shown = {"id": f"{_ROOT}/{kind}/{name}", "name": name, "tags": {}, "properties": properties}
            yield {**shown, **({"managedBy": owner["id"]} if kind == _DISKS and owner else {})}

    def _shown(self, name: str, vm: Vm, *, with_view: bool) -> dict[str, Any]:
        state = vm.life.state
        provisioning = {"starting": "Creating", "ending": "Deleting", "gone": "Deleting"}.get(state, "Succeeded")
        if vm.lost and state == "running":
            provisioning = "Failed"
        interfaces = [{"id": f"{_ROOT.upper()}/{_NICS}/{name}-nic"}]
        properties = {
            "vmId": name,
            "hardwareProfile": vm.body["properties"]["hardwareProfile"],
            "provisioningState": provisioning,
            "networkProfile": {"networkInterfaces": interfaces},
            "timeCreated": vm.born.isoformat(),
            **{key: vm.body["properties"][key] for key in ("priority",) if key in vm.body["properties"]},
        }
        if with_view:
            properties["instanceView"] = {"statuses": list(_statuses(vm, provisioning))}
        shown = {key: vm.body[key] for key in ("tags", "zones", "location") if key in vm.body}
        return {"id": f"{_ROOT}/{_VMS}/{name}", "name": name, **shown, "properties": properties}

    def _vm(self, name: str) -> Vm:
        if name not in self.vms:
            text = (
                f"The Resource 'Microsoft.Compute/virtualMachines/{name}' under resource group '{GROUP}' was not found."
            )
            raise error(404, "ResourceNotFound", text)
        return self.vms[name]

    def _delete(self, table: dict[str, dict[str, Any]], name: str) -> int:
        if name not in table:
            return 204
        if table[name]["owner"]:
            raise error(400, "NicInUse", f"{name} is used by {table[name]['owner']}.")
        del table[name]
        return 202

    def _look(self) -> None:
        """Forget the machines that are gone, and what goes with them."""
        for name in [name for name, vm in self.vms.items() if vm.life.state == "gone"]:
            del self.vms[name]
            for table in self.things.values():
                for thing in [each for each, facts in table.items() if facts["owner"] == name]:
                    if table[thing]["deleteOption"] == "Delete":
                        del table[thing]
                    else:
                        table[thing]["owner"] = ""


def _statuses(vm: Vm, provisioning: str) -> Iterator[dict[str, str]]:
    if provisioning == "Failed":
        yield {"code": "ProvisioningState/failed/AllocationFailed", "level": "Error", "message": vm.lost}
        return
    yield {"code": f"ProvisioningState/{provisioning.lower()}", "level": "Info"}
    yield {"code": f"PowerState/{vm.life.halted or _POWER[vm.life.state]}", "level": "Info"}
