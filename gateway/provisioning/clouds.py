"""Clouds: which kinds of cloud there are besides the local one, and how one is opened from its settings.

Invariant: what is wrong with a cloud's settings is said before it is called; EC2 calls are signed with version 4, which
every region takes (libcloud's own default is version 2 in some).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider
from pydantic import TypeAdapter, ValidationError

from gateway.errors import CloudError, CloudTransient, SetupError
from gateway.host_settings import HostSettings
from gateway.provisioning.azure import open_azure
from gateway.provisioning.credentials import TIMEOUT_S, credential, needed, options, server, sizes_of
from gateway.provisioning.ec2 import placing_in, tagging
from gateway.provisioning.ec2_driver import quick
from gateway.provisioning.ec2_fleet import MOST_A_CALL, Ec2Fleet
from gateway.provisioning.gce import open_gce
from gateway.provisioning.hosts import HostProvider, logins_needed, open_hosts
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.node import NodeProvider
from gateway.provisioning.node_image import NodeImage
from gateway.provisioning.vm_driver import open_vms
from gateway.provisioning.vultr import open_vultr
from gateway.settings import CloudSettings, Settings
from gateway.ssh.authority import Authority, Keep

Opener = Callable[[CloudSettings, Settings], NodeProvider]
"""Makes the provider of one cloud. It opens no connection; raises SetupError for what is missing or wrong."""

_LOOK_S = 1.0


def open_cloud(cloud: CloudSettings, settings: Settings, keep: Keep | None = None) -> NodeProvider:
    """The provider of a cloud; ``keep`` keeps a private key of the gateway's own. Raises SetupError."""
    if cloud.kind not in KINDS:
        raise SetupError(f"cloud {cloud.name}: there is no kind {cloud.kind}", hint=f"there are {', '.join(KINDS)}")
    if cloud.kind == "hosts":
        return _hosts(cloud, settings, keep)
    return KINDS[cloud.kind](cloud, settings)


def end_all(provider: NodeProvider, cluster: str, within_s: float = 120.0) -> list[str]:
    """End every machine of a cluster, wait until the listing has none, and remove what they left behind; their ids.

    Raises CloudError if it cannot be read, or still has some after so long.
    """
    try:
        return _end_all(provider, cluster, time.monotonic() + within_s)
    except CloudError as error:
        text = f"machines at {provider.name} may still run: {error.detail}"
        raise CloudTransient(text, hint="run `burst down` again once it answers") from None


def _end_all(provider: NodeProvider, cluster: str, deadline: float) -> list[str]:
    ended: set[str] = set()
    while machines := provider.machines(cluster):
        if time.monotonic() > deadline:
            raise CloudTransient(f"it still has {', '.join(machine.id for machine in machines)}")
        for machine in machines:
            if machine.id not in ended:
                provider.destroy(machine.id)
                ended.add(machine.id)
        time.sleep(_LOOK_S)
    for leftover in provider.leftovers(cluster):
        provider.clean(leftover)
    return sorted(ended)


def _ec2(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """Amazon EC2, or what speaks its protocol.

    ``options``: ``key_name``, ``public_address``, ``machines_a_call``, ``subnets``: the subnet of each zone.
    """
    credential(cloud, settings, ("key", "secret"))
    kind: Any = tagging(quick(get_driver(Provider.EC2)))
    region, image = needed(cloud, "region"), needed(cloud, "image")
    chosen = options(cloud, "key_name", "public_address", "machines_a_call", "subnets")
    if region not in kind.list_regions():
        raise SetupError(f"cloud {cloud.name}: libcloud knows no region {region}", hint="check it in burst.toml")
    if cloud.security_groups and cloud.network is None:
        raise SetupError(f"cloud {cloud.name}: security_groups need a network", hint="name the subnet in burst.toml")

    def driver() -> NodeDriver:
        secret = credential(cloud, settings, ("key", "secret"))
        opened: NodeDriver = kind(
            secret["key"],
            secret["secret"],
            token=secret.get("token"),
            region=region,
            signature_version="4",
            timeout=TIMEOUT_S,
            **server(cloud.endpoint),
        )
        return opened

    arguments = {
        "ex_subnet": _named(cloud.network) if cloud.network else None,
        "ex_security_group_ids": list(cloud.security_groups) or None,
        "ex_keyname": chosen.get("key_name"),
        "ex_assign_public_ip": bool(chosen.get("public_address", False)),
        # A node that powers itself off when its lease ends must not go on costing money as a stopped machine.
        "ex_terminate_on_shutdown": True,
    }
    dialect = replace(DIALECTS["ec2"], placing=placing_in(chosen.get("subnets", {})))
    most = _machines_a_call(cloud)
    return Ec2Fleet(
        cloud.name, driver, sizes=sizes_of(cloud), dialect=dialect, image=image, arguments=arguments, most=most
    )


def _machines_a_call(cloud: CloudSettings) -> int:
    most = cloud.options.get("machines_a_call", MOST_A_CALL)
    if not isinstance(most, int) or not 1 <= most <= MOST_A_CALL:
        raise SetupError(
            f"cloud {cloud.name}: machines_a_call is {most!r}", hint=f"give a number from 1 to {MOST_A_CALL}"
        )
    return most


def _openstack(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """OpenStack Nova with Keystone's version 3. ``options``: ``key_name``, ``config_drive``, ``boot_s``.

    ``boot_s``: seconds that a server may take before it joins, such as one of metal that Ironic deploys.
    """
    ways = (("user", "password", "project"), ("application_credential_id", "application_credential_secret"))
    credential(cloud, settings, *ways)
    chosen = options(cloud, "key_name", "config_drive", "boot_s")
    endpoint, image = needed(cloud, "endpoint"), needed(cloud, "image")
    kind: Any = get_driver(Provider.OPENSTACK)

    def driver() -> NodeDriver:
        secret = credential(cloud, settings, *ways)
        by_password = "password" in secret
        opened: NodeDriver = kind(
            secret["user" if by_password else ways[1][0]],
            secret["password" if by_password else ways[1][1]],
            api_version="2.2",
            ex_force_auth_url=_identity(endpoint),
            ex_force_auth_version="3.x_password" if by_password else "3.x_appcred",
            ex_tenant_name=secret.get("project"),
            ex_domain_name=secret.get("domain", "Default"),
            ex_force_service_region=cloud.region or None,
            timeout=TIMEOUT_S,
        )
        return opened

    arguments: dict[str, Any] = {
        "networks": [_named(cloud.network)] if cloud.network else None,
        "ex_security_groups": [_named(group) for group in cloud.security_groups],
        "ex_keyname": chosen.get("key_name"),
        "ex_config_drive": chosen.get("config_drive"),
    }
    known = DIALECTS["openstack"]
    slow = {"boot_s": _seconds(cloud, chosen["boot_s"])} if "boot_s" in chosen else {}
    dialect = replace(known, facts=lambda node: {**known.facts(node), **slow})
    return LibcloudProvider(
        cloud.name, driver, sizes=sizes_of(cloud), dialect=dialect, image=image, arguments=arguments
    )


def _hosts(cloud: CloudSettings, settings: Settings, keep: Keep | None = None) -> HostProvider:
    """Hosts that are already there (docs/bare-metal.md). ``options``: ``hosts``, the inventory.

    The credential has what controllers of power ask for: "user" and "password", or "HOST.user" and "HOST.password".
    """
    listed = options(cloud, "hosts").get("hosts", [])
    try:
        hosts = TypeAdapter(list[HostSettings]).validate_python(listed)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SetupError(f"cloud {cloud.name}: hosts.{where}: {first['msg']}", hint="see docs/bare-metal.md") from None
    authority = Authority.kept(settings.secrets_dir / "ssh-ca.key", settings.directory / "ssh-ca.pub", keep)
    folder = settings.directory / "hosts" / cloud.name
    needed_logins = logins_needed(hosts)
    secret = credential(cloud, settings, ("user", "password"), needed_logins) if needed_logins else {}
    return open_hosts(cloud.name, hosts, sizes_of(cloud), authority=authority, folder=folder, secret=secret)


def _vms(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """Virtual machines on this computer (docs/virtual-machines.md). ``options``: ``packages``, in their image."""
    packages = tuple(map(str, options(cloud, "packages").get("packages", settings.image_packages)))
    image = NodeImage(settings.cache_dir, settings.image_suite, packages, kernel=True)
    most = {size.name: size.max_nodes for size in cloud.sizes}
    return open_vms(cloud.name, sizes_of(cloud), most=most, image=image, folder=settings.vms_dir / cloud.name)


KINDS: dict[str, Opener] = {
    "ec2": _ec2,
    "openstack": _openstack,
    "gce": open_gce,
    "azure": open_azure,
    "vultr": open_vultr,
    "hosts": _hosts,
    "vms": _vms,
}
"""Kind of cloud → what opens one. A further kind is one entry here."""


def _seconds(cloud: CloudSettings, said: object) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or said < 0:
        raise SetupError(f"cloud {cloud.name}: boot_s is no number of seconds: {said}", hint="such as boot_s = 1800")
    return float(said)


def _named(thing: str) -> SimpleNamespace:
    """What the drivers read of a network or a security group; to fetch the whole object would be one call more."""
    return SimpleNamespace(id=thing, name=thing)


def _identity(endpoint: str) -> str:
    """Keystone's address as libcloud wants it: OS_AUTH_URL mostly ends with the version, which libcloud adds itself."""
    return endpoint.rstrip("/").removesuffix("/v3")
