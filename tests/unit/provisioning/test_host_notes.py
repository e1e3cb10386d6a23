"""What a gateway remembers of its hosts, and what an administrator may say of their power."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from libcloud.compute.base import Node
from pydantic import ValidationError

from gateway.errors import SetupError
from gateway.host_settings import HostSettings, PowerSettings
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.host_lease import HostLease
from gateway.provisioning.host_notes import HostNotes, Note, Stage
from gateway.provisioning.hosts import logins_needed
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.lifecycle import DEADLINE_S, NodeState
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.reconcile import decide
from gateway.provisioning.verdict import Act
from gateway.settings import CloudSettings, CloudSizeSettings, Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POWERING = frozenset({"IDLE", "CLOUD", "POWERING_UP"})
LEASE = HostLease("a.0123456789ab", "ours", "metal-1", "token", {"gw-node": "metal-1"}, NOW, woken=True)
NOTE = Note(Stage.WAKING, NOW, LEASE, {"/etc/burst/join.json": "{}"})


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Whole, and by nobody else: it may hold a one-time token."""
    notes = HostNotes(tmp_path / "rack")
    notes.write("a", NOTE)

    assert notes.read("a") == NOTE
    assert (tmp_path / "rack" / "a.json").stat().st_mode & 0o777 == 0o600
    notes.drop("a")
    assert notes.read("a") is None
    notes.drop("a")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stage": "dreaming"}', '{"stage": "waking", "lease": {}}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    """What the host says of itself is then all that is known."""
    (tmp_path / "a.json").write_text(text)

    assert HostNotes(tmp_path).read("a") is None


def test_a_host_is_set_aside_until_its_time_or_another_promise(tmp_path: Path) -> None:
    """One that did not come up rests; one that has too little waits for somebody."""
    notes = HostNotes(tmp_path)
    rests = Note(Stage.UNFIT, NOW, unfit="no answer", until=datetime.now(UTC) + timedelta(minutes=10))

    notes.write("a", rests)
    assert notes.unfit("a", "32 cores") == "no answer"
    notes.write("a", replace(rests, until=datetime.now(UTC)))
    assert notes.unfit("a", "32 cores") == ""
    notes.write("a", replace(rests, until=None, promise="32 cores"))
    assert notes.unfit("a", "32 cores") == "no answer"
    assert notes.unfit("a", "16 cores") == ""
    notes.write("a", NOTE)
    assert notes.unfit("a", "32 cores") == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"kind": "redfish"}, "redfish needs url"),
        ({"kind": "ipmi", "mac": "52:54:00:ab:cd:ef"}, "ipmi needs address"),
        ({"kind": "wol"}, "wol needs mac"),
        ({"kind": "redfish", "url": "http://192.0.2.9"}, "https"),
        ({"kind": "redfish", "url": "https://192.0.2.9", "cipher": 3}, "redfish has no cipher"),
        ({"kind": "ipmi", "address": "192.0.2.9", "password": "x"}, "password"),
        ({"kind": "pdu"}, "redfish"),
    ],
)
def test_power_that_cannot_be_is_refused(said: dict[str, object], why: str) -> None:
    """With the word that is wrong; a password is no setting."""
    with pytest.raises(ValidationError, match=why):
        PowerSettings.model_validate(said)


def test_only_controllers_with_a_login_need_one() -> None:
    """A magic packet carries no password."""

    def host(name: str, power: dict[str, object] | None) -> HostSettings:
        facts = {"name": name, "address": "192.0.2.1", "host_key": "k", "size": "metal", "power": power}
        return HostSettings.model_validate(facts)

    hosts = [
        host("a", {"kind": "ipmi", "address": "192.0.2.9"}),
        host("b", {"kind": "wol", "mac": "52:54:00:ab:cd:ef"}),
        host("c", None),
    ]
    assert logins_needed(hosts) == ("a.user", "a.password")
    assert logins_needed(hosts[1:]) == ()


@pytest.mark.parametrize(("boot_s", "act"), [(0, Act.ELSEWHERE), (1860, Act.NOTHING)])
def test_a_machine_that_boots_slowly_is_given_its_time(boot_s: float, act: Act) -> None:
    """The limit is the machine's own where its cloud says that it takes long."""
    age = timedelta(seconds=DEADLINE_S[NodeState.PENDING] + 1)
    node = ElasticNode(
        name="metal-1", offer="metal", state=NodeState.PENDING, since=NOW, machine_id="a.1", generation=1
    )
    machine = Machine("a.1", "metal-1", 1, "t", MachineState.PENDING, None, boot_s=boot_s)

    assert decide(node, machine, POWERING, NOW + age).act is act
    assert decide(node, machine, POWERING, NOW + timedelta(seconds=1900)).act is Act.ELSEWHERE


def test_a_cloud_of_metal_says_how_long_its_machines_take(tmp_path: Path) -> None:
    """Ironic writes the image before Nova says that the server runs."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "nova.json").write_text('{"user": "u", "password": "p", "project": "x"}')
    (secrets / "nova.json").chmod(0o600)
    size = CloudSizeSettings(name="bm.large", cores=1, memory_mb=512, credits_per_hour=1, max_nodes=1)

    def opened(**options: object) -> LibcloudProvider:
        cloud = CloudSettings(
            name="nova", kind="openstack", endpoint="https://192.0.2.1/v3", image="i", sizes=(size,), options=options
        )
        found = open_cloud(cloud, Settings(directory=tmp_path))
        assert isinstance(found, LibcloudProvider)
        return found

    node = Node("1", "metal-1", "pending", [], [], None)
    assert opened(boot_s=1800)._dialect.facts(node)["boot_s"] == 1800
    assert "boot_s" not in opened()._dialect.facts(node)
    with pytest.raises(SetupError, match="boot_s is no number of seconds: soon"):
        opened(boot_s="soon")
