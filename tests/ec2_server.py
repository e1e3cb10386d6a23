"""Ec2Server: EC2's query protocol over HTTP, where an instance is a machine of a local cloud that boots for real.

moto keeps the records and speaks the protocol. Added here is what it lacks and AWS has: signatures are checked, a
ClientToken makes one instance, a size can be used up, instances take time to start and to end, calls can fail.
"""

from __future__ import annotations

import base64
import hmac
import io
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import jinja2
import moto.settings
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import Node
from libcloud.compute.types import NodeState
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from gateway.provisioning.local_cloud import LocalCloud

REGION = "us-east-1"
"""Where libcloud, left alone, would sign with version 2."""

_ACCOUNT = "123456789012"
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/[^/]+/ec2/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STATES = {
    NodeState.PENDING: ("pending", 0),
    NodeState.RUNNING: ("running", 16),
    NodeState.STOPPED: ("stopped", 80),
    NodeState.ERROR: ("stopped", 80),
    NodeState.UNKNOWN: ("shutting-down", 32),
}

Environ = dict[str, Any]
Start = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """What the next call of an action meets: an error instead of its work, or, without one, a reply that is lost."""

    action: str
    status: int = 0
    code: str = ""
    later_page: bool = False
    """Only a page after the first."""

    @property
    def loses_reply(self) -> bool:
        return not self.code


LOST_REPLY = Fault("RunInstances")

REFUSALS = {
    "throttled": (503, "RequestLimitExceeded"),
    "quota": (400, "VcpuLimitExceeded"),
    "transient": (503, "Unavailable"),
    "auth": (403, "UnauthorizedOperation"),
    "invalid": (400, "InvalidAMIID.NotFound"),
}


@dataclass
class Ec2Server:
    """Serves ``cloud`` on a free port of this computer, as long as the context lasts."""

    cloud: LocalCloud
    types: Mapping[str, str]
    """Instance type → size of the local cloud."""
    key: str = field(default_factory=lambda: f"AK{secrets.token_hex(8).upper()}")
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    calls: list[Mapping[str, str]] = field(default_factory=list)
    """The parameters of each call, in order."""
    faults: list[Fault] = field(default_factory=list)
    full: set[str] = field(default_factory=set)
    """Instance types without room."""

    kind = "ec2"
    zones = (f"{REGION}a", f"{REGION}b")
    creates = "RunInstances"
    lists = "DescribeInstances"
    ends = "TerminateInstances"

    def __enter__(self) -> Self:
        moto.settings.ENABLE_AMI_VALIDATION = True
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._backend = ec2_backends[_ACCOUNT][REGION]
        self._lock = threading.RLock()
        self._machines: dict[str, str] = {}
        self._tokens: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._ending = ThreadPoolExecutor(4, thread_name_prefix="ending")
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ec2")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._ending.shutdown(wait=True)
        for machine in self.cloud.driver().list_nodes():
            self.cloud.driver().destroy_node(machine)
        self._backend.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def image(self) -> str:
        """The id of an image that exists."""
        return str(next(iter(self._backend.amis)))

    def instances(self) -> dict[str, str]:
        """Instance → state, ended ones included, as the records have them."""
        with self._lock:
            self._look()
            return {instance.id: instance._state.name for instance in self._instances()}

    def refuse(self, what: str, how: str) -> None:
        """The next call of an action is refused."""
        self.faults.append(Fault(what, *REFUSALS[how]))

    def break_off(self) -> None:
        """The next page of a listing after its first cannot be had."""
        self.faults.append(Fault(self.lists, 500, "InternalError", later_page=True))

    def expire(self) -> dict[str, str]:
        """The key is taken back; the new one's credential."""
        self.secret = secrets.token_urlsafe(24)
        return {"key": self.key, "secret": self.secret}

    def preempt(self, instance: str) -> None:
        """EC2 begins to take a spot instance back."""
        record = self._backend.get_instance(instance)
        assert record.lifecycle == "spot"
        record._state = InstanceState("shutting-down", 32)
        record.state_reason = StateReason(
            "Server.SpotInstanceTermination: for others", "Server.SpotInstanceTermination"
        )

    def leave(self, instance: str) -> None:
        """What the image or a job of an instance may have made, with its tags: none of it goes with it."""
        tags = {tag["key"]: tag["value"] for tag in self._backend.describe_tags({"resource-id": [instance]})}
        volume = self._backend.create_volume(size=1, zone_name=self.zones[0])
        interface = self._backend.create_network_interface(
            next(iter(self._backend.get_default_subnets().values())), None
        )
        address = self._backend.allocate_address("vpc")
        for thing in (volume.id, interface.id, address.allocation_id):
            self._backend.create_tags([thing], tags)
        self._backend.create_key_pair("left", "rsa", tags)

    def left(self) -> set[str]:
        """All that there is beside instances."""
        interfaces = [one.id for one in self._backend.describe_network_interfaces() if not one.instance]
        addresses = [one.allocation_id for one in self._backend.describe_addresses()]
        keys = [key.id for key in self._backend.describe_key_pairs([])]
        return {volume.id for volume in self._backend.describe_volumes()} | {*interfaces, *addresses, *keys}

    def wipe(self) -> None:
        """Forget tokens, as AWS does a while after their instances have ended, and what a test put in the way."""
        with self._lock:
            self._tokens.clear()
            self.faults.clear()
            self.full.clear()

    def count(self, action: str) -> int:
        """How often an action was called."""
        return sum(call.get("Action") == action for call in self.calls)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = dict(parse_qsl(environ["QUERY_STRING"] or body.decode(), keep_blank_values=True))
        self.calls.append(asked)
        if not self._is_signed(environ):
            return _refused(start, 401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        fault = self._fault(asked)
        if fault is not None and not fault.loses_reply:
            return _refused(start, fault.status, fault.code, "as the test asks")
        try:
            with self._lock:
                status, headers, answer = self._perform(asked, environ)
        except BaseHTTPError as error:
            code, _, text = str(error.message).partition(": ")
            return _refused(start, error.code, code, text)
        if fault is not None:
            start("200 OK", [("Content-Length", str(len(answer) + 1))])
            return [answer[:20]]
        start(status, headers)
        return [answer]

    def _perform(self, asked: dict[str, str], environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        match asked["Action"]:
            case "RunInstances":
                return self._run(asked, environ)
            case "TerminateInstances":
                answer = self._from_moto(environ)
                for name, instance in asked.items():
                    if name.startswith("InstanceId") and instance in self._machines:
                        self._end(instance)
                return answer
            case "GetConsoleOutput":
                return _document(self._console(asked["InstanceId"]))
            case _:
                self._look()
                return self._from_moto(environ)

    def _run(self, asked: dict[str, str], environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        token = asked.get("ClientToken", "")
        known = self._tokens.get(token)
        if known is not None and known[0] != asked:
            raise _error(400, "IdempotentParameterMismatch: The client token was used with other arguments")
        instances = known[1] if known is not None else self._new(asked, environ)
        if token:
            self._tokens[token] = (asked, instances)
        self._look()
        if known is None:
            for instance in instances:
                self._backend.get_instance(instance)._state = InstanceState("pending", 0)
        ids = "&".join(f"InstanceId.{number}={instance}" for number, instance in enumerate(instances, 1))
        found = {**environ, "QUERY_STRING": f"Action=DescribeInstances&{ids}"}
        return _reservation(self._from_moto(found))

    def _new(self, asked: Mapping[str, str], environ: Environ) -> list[str]:
        machines = self._boot(asked)
        try:
            answer = self._from_moto(environ)
        except BaseHTTPError:
            self._undo(machines)
            raise
        instances = re.findall(r"<instanceId>(i-\w+)</instanceId>", answer[2].decode())
        self._machines |= dict(zip(instances, (str(machine.id) for machine in machines), strict=True))
        return instances

    def _boot(self, asked: Mapping[str, str]) -> list[Node]:
        """As many machines as MinCount says, or none."""
        driver = self.cloud.driver()
        offered = {size.name: size for size in driver.list_sizes()}
        if (kind := asked["InstanceType"]) not in self.types:
            raise _error(400, f"InvalidParameterValue: The instance type {kind} does not exist")
        if kind in self.full:
            raise _error(500, f"InsufficientInstanceCapacity: We currently do not have sufficient {kind} capacity")
        size = offered[self.types[kind]]
        name = next(value for key, value in _tags(asked) if key == "Name")
        user_data = base64.b64decode(asked.get("UserData", "")).decode()
        many = (count := int(asked["MinCount"])) > 1 or user_data.startswith("## template: jinja\n")
        made: list[Node] = []
        try:
            for index in range(count):
                mine = {
                    "name": f"{name}-{_call_number(asked)}-{index}" if many else name,
                    "ex_userdata": _rendered(user_data, index) if self.cloud.form == "process" else user_data,
                }
                made.append(driver.create_node(size=size, image=None, ex_launch_index=index, **mine))
        except BaseHTTPError:
            self._undo(made)
            raise
        return made

    def _undo(self, machines: list[Node]) -> None:
        for machine in machines:
            self.cloud.driver().destroy_node(machine)

    def _end(self, instance: str) -> None:
        self._backend.get_instance(instance)._state = InstanceState("shutting-down", 32)
        self._ending.submit(self._destroy, instance, self._machines.pop(instance))

    def _destroy(self, instance: str, machine: str) -> None:
        driver = self.cloud.driver()
        gone = False
        while not gone:
            with suppress(BaseHTTPError):
                gone = True
                for node in driver.list_nodes():
                    if node.id == machine:
                        gone = False
                        gone = driver.destroy_node(node)
        with self._lock:
            self._backend.get_instance(instance)._state = InstanceState("terminated", 48)

    def _look(self) -> None:
        """Bring the records up to date with the machines."""
        machines = {str(node.id): node for node in self.cloud.driver().list_nodes()}
        for instance in self._instances():
            machine = machines.get(self._machines.get(instance.id, ""))
            if machine is not None and not instance.state_reason.code.startswith("Server.Spot"):
                instance._state = InstanceState(*_STATES[machine.state])
                (address,) = machine.private_ips
                for interface in instance.nics.values():
                    interface.private_ip_address = address

    def _instances(self) -> list[Instance]:
        return [one for each in self._backend.reservations.values() for one in each.instances]

    def _console(self, instance: str) -> str:
        driver = self.cloud.driver()
        found = [node for node in driver.list_nodes() if node.id == self._machines.get(instance)]
        if not found:
            raise _error(400, f"InvalidInstanceID.NotFound: The instance ID '{instance}' does not exist")
        said = driver.ex_get_console_output(found[0])
        text = base64.b64encode(said["output"].encode()).decode()
        inner = f"<instanceId>{instance}</instanceId><timestamp>{said['timestamp']}</timestamp><output>{text}</output>"
        return f'<GetConsoleOutputResponse xmlns="{_NAMESPACE}">{inner}</GetConsoleOutputResponse>'

    def _from_moto(self, environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        told: list[tuple[str, list[tuple[str, str]]]] = []
        answer = b"".join(self._moto(dict(environ), lambda status, headers, _=None: told.append((status, headers))))
        # AWS ends the namespace with a slash, and libcloud finds nothing in an answer where it does not.
        answer = re.sub(rb'xmlns="http://ec2\.amazonaws\.com/doc/[0-9-]+/?"', f'xmlns="{_NAMESPACE}"'.encode(), answer)
        if not told[0][0].startswith("200"):
            # AWS has its errors in another form than moto, which libcloud cannot read.
            code, text = (re.search(f"<{name}>(.*?)</{name}>", answer.decode())[1] for name in ("Code", "Message"))
            raise _error(int(told[0][0].split()[0]), f"{code}: {text}")
        return told[0][0], *_with(answer)

    def _fault(self, asked: Mapping[str, str]) -> Fault | None:
        with self._lock:
            meant = (fault for fault in self.faults if fault.action == asked["Action"])
            found = next((fault for fault in meant if not fault.later_page or "NextToken" in asked), None)
            if found is not None:
                self.faults.remove(found)
            return found

    def _is_signed(self, environ: Environ) -> bool:
        """Whether the signature is the one that AWS's own library computes (Signature Version 4)."""
        match = _SIGNED.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        if match is None or match["key"] != self.key:
            return False
        headers = {name: environ[f"HTTP_{name.upper().replace('-', '_')}"] for name in match["headers"].split(";")}
        url = f"http://{environ['HTTP_HOST']}{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        request = AWSRequest(environ["REQUEST_METHOD"], url, headers, params=dict(parse_qsl(environ["QUERY_STRING"])))
        request.url = url.partition("?")[0]
        request.context["timestamp"] = headers["x-amz-date"]
        signer = _Signer(Credentials(self.key, self.secret), "ec2", REGION)
        wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        return hmac.compare_digest(wanted, match["signature"])


class _Signer(SigV4Auth):
    """Signs every header that it is given; botocore leaves out some that libcloud signs."""

    def headers_to_sign(self, request: AWSRequest) -> Any:
        """All of them."""
        return request.headers


class _Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's
        """Keep quiet."""


def _rendered(user_data: str, index: int) -> str:
    """As cloud-init renders it on an instance; a machine that is a process has none."""
    header = "## template: jinja\n"
    if not user_data.startswith(header):
        return user_data
    template = jinja2.Template(user_data.removeprefix(header), trim_blocks=True, undefined=jinja2.StrictUndefined)
    return template.render(ds={"meta_data": {"ami_launch_index": str(index)}}) + "\n"


def _call_number(asked: Mapping[str, str]) -> str:
    """What makes the names of two calls of one gang two."""
    return asked.get("ClientToken", "0")[:6]


def _tags(asked: Mapping[str, str]) -> list[tuple[str, str]]:
    keys = {name.removesuffix(".Key"): text for name, text in asked.items() if re.search(r"Tag\.\d+\.Key$", name)}
    return [(text, asked[f"{name}.Value"]) for name, text in keys.items()]


def _reservation(
    described: tuple[str, list[tuple[str, str]], bytes],
) -> tuple[str, list[tuple[str, str]], bytes]:
    """DescribeInstances' only reservation as RunInstances answers it."""
    inner = re.search(rb"<reservationSet>\s*<item>(.*)</item>\s*</reservationSet>", described[2], re.DOTALL)
    assert inner is not None, described
    return _document(f'<RunInstancesResponse xmlns="{_NAMESPACE}">{inner[1].decode()}</RunInstancesResponse>')


def _document(text: str) -> tuple[str, list[tuple[str, str]], bytes]:
    return "200 OK", *_with(text.encode())


def _with(body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    return [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))], body


def _error(status: int, text: str) -> BaseHTTPError:
    return BaseHTTPError(status, text)


def _refused(start: Start, status: int, code: str, text: str) -> list[bytes]:
    inner = f"<Errors><Error><Code>{code}</Code><Message>{escape(text)}</Message></Error></Errors>"
    headers, body = _with(f"<Response>{inner}<RequestID>0</RequestID></Response>".encode())
    start(f"{status} Refused", headers)
    return [body]
