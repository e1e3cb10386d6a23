"""Settings of the clouds that are far away: what is wrong with them is said in a sentence, and no call is made."""

from __future__ import annotations

import json

import pytest

from gateway.errors import CloudAuth, SetupError
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.node import Market, NodeOrder
from gateway.settings import CloudSettings, CloudSizeSettings, Settings

SIZE = CloudSizeSettings(name="small", cores=2, memory_mb=2048, gpus=2, credits_per_hour=1, max_nodes=3)
GCE = {"kind": "gce", "image": "node", "options": {"zone": "europe-west1-b", "accelerator": "nvidia-l4"}}
AZURE = {
    "kind": "azure",
    "region": "westeurope",
    "image": "Debian:debian-13:13:latest",
    "network": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/default",
    "options": {"resource_group": "burst"},
}
VULTR = {"kind": "vultr", "region": "ams", "image": "2625"}
KINDS = {"gce": GCE, "azure": AZURE, "vultr": VULTR}
SECRETS = {
    "gce": {"client_email": "g@p.iam.gserviceaccount.com", "private_key": "no key", "project_id": "p"},
    "azure": {"tenant": "t", "subscription": "s", "client_id": "c", "client_secret": "hidden"},
    "vultr": {"api_key": "hidden"},
}


@pytest.fixture
def settings(tmp_path):
    """A gateway's directory with a credential for each kind."""
    (tmp_path / "secrets").mkdir()
    for kind, secret in SECRETS.items():
        file = tmp_path / f"secrets/{kind}.json"
        file.write_text(json.dumps(secret))
        file.chmod(0o600)
    return Settings(directory=tmp_path)


def opened(settings, kind, **other):
    return open_cloud(CloudSettings(**{"name": kind, "sizes": (SIZE,), **KINDS[kind], **other}), settings)


def shape_of(provider):
    """What its orders are made of."""
    return provider._dialect.order.__self__


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        ("gce", {"options": {}}, "needs options.zone"),
        ("gce", {"image": None}, "needs image"),
        ("gce", {"options": {"zone": "z", "colour": "red"}}, "has no option colour"),
        ("azure", {"options": {}}, "needs options.resource_group"),
        ("azure", {"network": None}, "needs network"),
        ("azure", {"region": ""}, "needs region"),
        ("azure", {"image": "debian"}, "debian is no image"),
        ("azure", {"security_groups": ("a", "b")}, "takes one security group"),
        ("azure", {"options": {"resource_group": "g", "environment": "Mars"}}, "no environment Mars"),
        ("vultr", {"region": ""}, "needs region"),
        ("vultr", {"security_groups": ("a", "b")}, "takes one firewall group"),
        ("vultr", {"credential": "none.json"}, "no credential"),
    ],
)
def test_what_is_wrong_with_a_far_cloud_is_said(settings, kind, other, words):
    """By name, with what to do, and without what is secret."""
    with pytest.raises(SetupError, match=words) as said:
        opened(settings, kind, **other)

    assert f"cloud {kind}" in said.value.detail
    assert said.value.hint
    assert "hidden" not in said.value.detail + said.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_a_far_cloud_opens_without_a_call(settings, kind):
    """A gateway starts while a cloud is away."""
    assert [size.name for size in opened(settings, kind).sizes()] == ["small"]


def test_a_key_that_is_none_is_a_matter_of_the_credential(settings):
    """Not of the cloud, which was not asked."""
    with pytest.raises(CloudAuth) as said:
        opened(settings, "gce").machines("ours")

    assert "no key" not in said.value.detail


def test_an_order_says_how_its_machine_ends(settings):
    """With its disk, its interface and its address; of spare capacity none comes back by itself."""
    order = NodeOrder("ours", "small-1", 1, "small", "#cloud-config", zone="2", market=Market.SPOT)

    google = shape_of(opened(settings, "gce", network="regions/r/subnetworks/nodes"))._body(order, "europe-west1-c")
    azure = shape_of(opened(settings, "azure"))._body(order)

    assert google["disks"][0]["autoDelete"]
    assert google["scheduling"] == {
        "automaticRestart": False,
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
    }
    kind = "zones/europe-west1-c/acceleratorTypes/nvidia-l4"
    assert google["guestAccelerators"] == [{"acceleratorType": kind, "acceleratorCount": 2}]
    assert google["networkInterfaces"] == [{"subnetwork": "regions/r/subnetworks/nodes"}]
    properties = azure["properties"]
    (interface,) = properties["networkProfile"]["networkInterfaceConfigurations"]
    assert interface["properties"]["deleteOption"] == "Delete"
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert (azure["zones"], properties["priority"]) == (["2"], "Spot")


def test_a_public_address_is_asked_for_only_where_the_settings_say_so(settings):
    """And then it ends with the machine."""
    order = NodeOrder("ours", "small-1", 1, "small", "#cloud-config")
    public = {"public_address": True}

    google = shape_of(opened(settings, "gce", options=GCE["options"] | public))._body(order, "z")
    azure = shape_of(opened(settings, "azure", options=AZURE["options"] | public))._body(order)

    assert "accessConfigs" in google["networkInterfaces"][0]
    (interface,) = azure["properties"]["networkProfile"]["networkInterfaceConfigurations"]
    (inside,) = interface["properties"]["ipConfigurations"]
    assert inside["properties"]["publicIPAddressConfiguration"]["properties"] == {"deleteOption": "Delete"}
    for kind in ("gce", "azure"):
        body = shape_of(opened(settings, kind))
        assert "ONE_TO_ONE_NAT" not in str(body._body(order, "z") if kind == "gce" else body._body(order))


@pytest.mark.parametrize(("image", "said"), [("2625", {"os_id": 2625}), ("5f-a", {"snapshot_id": "5f-a"})])
def test_vultr_boots_a_system_of_its_own_or_a_snapshot(settings, image, said):
    """A number is one of its systems."""
    body = shape_of(opened(settings, "vultr", image=image))._body(
        NodeOrder("ours", "a-1", 1, "small", "x"), "instances"
    )

    assert said.items() <= body.items()
    assert "firewall_group_id" not in body
