"""Clouds of the settings: what is wrong with one is said in a sentence, before anything is ordered."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from gateway.errors import SetupError
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.supply import Supplies, Supply
from gateway.settings import CloudSettings, CloudSizeSettings, Settings, SizeSettings

SIZE = CloudSizeSettings(name="t3.small", cores=2, memory_mb=2048, credits_per_hour=1, max_nodes=3)
EC2 = {"name": "aws", "kind": "ec2", "region": "us-east-1", "image": "ami-1", "sizes": (SIZE,)}
OPENSTACK = {**EC2, "name": "campus", "kind": "openstack", "endpoint": "https://keystone.example.org:5000/v3"}
KEYS = {"key": "AK", "secret": "SK"}


def cloud(**other: object) -> CloudSettings:
    return CloudSettings(**{**EC2, **other})


def small(*offers: str) -> SizeSettings:
    return SizeSettings(name="small", cores=2, memory_mb=1024, credits_per_hour=1, max_nodes=3, offers=offers)


@pytest.fixture
def settings(tmp_path):
    """A gateway's directory with the credential of the cloud "aws"."""
    (tmp_path / "secrets").mkdir()
    keep(tmp_path, "aws", KEYS)
    return Settings(directory=tmp_path)


def keep(directory, name, secret, mode=0o600):
    file = directory / f"secrets/{name}.json"
    file.write_text(json.dumps(secret))
    file.chmod(mode)


def test_ec2_is_signed_with_version_4_everywhere(settings):
    """Also where libcloud's own default is version 2."""
    driver = open_cloud(cloud(endpoint="https://ec2.example.org:8443"), settings)._driver

    assert driver.signature_version == "4"
    assert (driver.connection.host, driver.connection.port, driver.connection.secure) == ("ec2.example.org", 8443, True)


@pytest.mark.parametrize(
    ("secret", "how"),
    [
        ({"user": "gateway", "password": "p", "project": "hpc"}, "3.x_password"),
        ({"application_credential_id": "i", "application_credential_secret": "s"}, "3.x_appcred"),
    ],
)
def test_openstack_opens_with_a_password_or_an_application_credential(settings, secret, how):
    """No call is made by that."""
    keep(settings.directory, "campus", secret)

    connection = open_cloud(CloudSettings(**OPENSTACK), settings)._driver.connection

    assert (connection._ex_force_auth_url, connection._auth_version) == ("https://keystone.example.org:5000", how)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"kind": "moon"}, "there is no kind moon"),
        ({"region": ""}, "needs region"),
        ({"region": "eu-nowhere-9"}, "knows no region eu-nowhere-9"),
        ({"image": None}, "needs image"),
        ({"options": {"colour": "red"}}, "has no option colour"),
        ({"security_groups": ("sg-1",)}, "need a network"),
        ({"credential": "other.json"}, "no credential"),
    ],
)
def test_what_is_wrong_with_a_cloud_is_said(settings, other, words):
    """By name, with what to do."""
    with pytest.raises(SetupError, match=words) as said:
        open_cloud(cloud(**other), settings)

    assert "cloud aws" in said.value.detail
    assert said.value.hint


@pytest.mark.parametrize(
    ("secret", "mode", "words"),
    [(KEYS, 0o640, "others may read"), ({"key": "AK"}, 0o600, "lacks something"), ([], 0o600, "lacks something")],
)
def test_a_credential_is_private_and_whole(settings, secret, mode, words):
    """What is in it is not said."""
    keep(settings.directory, "aws", secret, mode)

    with pytest.raises(SetupError, match=words) as said:
        open_cloud(cloud(), settings)

    assert "SK" not in said.value.detail


@pytest.mark.parametrize(
    ("clouds", "offers", "words"),
    [
        ((cloud(),), ("aws/t3.huge",), "there is no offer aws/t3.huge"),
        ((cloud(), cloud()), (), "names differ"),
        ((cloud(name="local"),), (), "none is local"),
        ((cloud(sizes=(SIZE.model_copy(update={"memory_mb": 512}),)),), ("aws/t3.small",), "has less memory_mb"),
    ],
)
def test_offers_are_of_clouds_that_there_are_and_keep_what_the_size_promises(tmp_path, clouds, offers, words):
    """Slurm is told of the size, and the machine must have it."""
    with pytest.raises(ValidationError, match=words):
        Settings(directory=tmp_path, clouds=clouds, sizes=(small(*offers),))


def test_a_join_token_leaves_this_computer_encrypted_only():
    """Plain http is for a test's server."""
    with pytest.raises(ValidationError, match="use https"):
        cloud(endpoint="http://ec2.example.org")
    assert cloud(endpoint="http://127.0.0.1:5000").endpoint


def test_a_size_without_offers_comes_from_the_local_cloud(tmp_path):
    """As it was before there were others; an offer's limit is its cloud's."""
    sizes = (small("aws/t3.small", "local/small"), small().model_copy(update={"name": "other"}))
    supplies = Supplies.of(Settings(directory=tmp_path, clouds=(cloud(),), sizes=sizes))

    assert supplies.known["small"] == (Supply("aws/t3.small", 3), Supply("local/small"))
    assert supplies.known["other"] == (Supply("local/other"),)
    assert supplies.clouds("small") == ("aws", "local")
