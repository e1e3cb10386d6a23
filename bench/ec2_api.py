"""Ec2Api: an API server in the form of EC2, as light as it can be, with the latency that is asked for.

Invariant: what it answers, libcloud and boto3 read as Amazon's: RunInstances with client tokens, tags and launch
indices. It checks no signature and boots nothing, so that what is measured is who asks.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from urllib.parse import parse_qsl

REGION = "us-east-1"
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

_INSTANCE = """\
<item><instanceId>i-{id:017x}</instanceId><imageId>{image}</imageId><instanceState><code>0</code><name>pending</name>\
</instanceState><privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName/><reason/><amiLaunchIndex>{index}\
</amiLaunchIndex><productCodes/><instanceType>{kind}</instanceType><launchTime>2026-01-02T03:04:05.000Z</launchTime>\
<placement><availabilityZone>us-east-1a</availabilityZone><groupName/><tenancy>default</tenancy></placement><monitoring>\
<state>disabled</state></monitoring><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><privateIpAddress>10.{a}.{b}.{c}\
</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>sg-1</groupId><groupName>nodes\
</groupName></item></groupSet><stateReason><code>pending</code><message>pending</message></stateReason><architecture>\
x86_64</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping/>\
<virtualizationType>hvm</virtualizationType><clientToken>{token}</clientToken><tagSet>{tags}</tagSet><hypervisor>xen\
</hypervisor><networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId><vpcId>\
vpc-1</vpcId><description/><ownerId>123456789012</ownerId><status>in-use</status><macAddress>02:00:00:00:00:01\
</macAddress><privateIpAddress>10.{a}.{b}.{c}</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item>\
<groupId>sg-1</groupId><groupName>nodes</groupName></item></groupSet><attachment><attachmentId>eni-attach-1\
</attachmentId><deviceIndex>0</deviceIndex><status>attaching</status><attachTime>2026-01-02T03:04:05.000Z</attachTime>\
<deleteOnTermination>true</deleteOnTermination></attachment><privateIpAddressesSet><item><privateIpAddress>10.{a}.{b}.{c}\
</privateIpAddress><primary>true</primary></item></privateIpAddressesSet></item></networkInterfaceSet><ebsOptimized>false\
</ebsOptimized></item>"""
"""As Amazon answers for a machine with one interface: what a reader must read, it must read here, too."""


@contextmanager
def serving(latency_s: float) -> Iterator[str]:
    """Its URL, as long as the context lasts; it runs in a process of its own."""
    mine, its = multiprocessing.Pipe()
    # Not forked: the gateway's threads and connections are not to be in it.
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(its, latency_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{mine.recv()}"
    finally:
        process.terminate()
        process.join()


def _main(pipe: Connection, latency_s: float) -> None:
    asyncio.run(_Api(latency_s).serve(pipe))


@dataclass
class _Api:
    latency_s: float
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    made: dict[str, bytes] = field(default_factory=dict)
    """By client token."""

    async def serve(self, pipe: Connection) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            length = 0
            while (header := await reader.readline()) not in {b"\r\n", b""}:
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = (await reader.readexactly(length)).decode()
            query = line.split()[1].decode().partition("?")[2]
            due = asyncio.get_running_loop().time() + self.latency_s
            answer = self._answer(dict(parse_qsl(query or body, keep_blank_values=True)))
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml;charset=UTF-8\r\nContent-Length: {len(answer)}\r\n\r\n"
            writer.write(head.encode() + answer)
            await writer.drain()

    def _answer(self, asked: dict[str, str]) -> bytes:
        if asked["Action"] != "RunInstances":
            raise ValueError(asked["Action"])
        token = asked.get("ClientToken", "")
        if token not in self.made or not token:
            self.made[token] = self._instances(asked, token)
        return self.made[token]

    def _instances(self, asked: dict[str, str], token: str) -> bytes:
        names = [name for name in asked if name.startswith("TagSpecification.1.Tag.") and name.endswith(".Key")]
        pairs = ((asked[name], asked[f"{name.removesuffix('Key')}Value"]) for name in names)
        tags = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in pairs)
        common = {"image": asked["ImageId"], "kind": asked["InstanceType"], "token": token, "tags": tags}
        items = "".join(self._instance(index, common) for index in range(int(asked["MinCount"])))
        inner = f"<requestId>1</requestId><reservationId>r-1</reservationId><instancesSet>{items}</instancesSet>"
        return f'<RunInstancesResponse xmlns="{_NAMESPACE}">{inner}</RunInstancesResponse>'.encode()

    def _instance(self, index: int, common: dict[str, str]) -> str:
        number = next(self.ids)
        a, b, c = number >> 16 & 255, number >> 8 & 255, number & 255
        return _INSTANCE.format(id=number, index=index, a=a, b=b, c=c, **common)
