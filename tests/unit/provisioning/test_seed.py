"""Seeds of virtual machines: who may read one, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.provisioning import seed
from gateway.provisioning.instance import Instance, Instances, new_id
from gateway.provisioning.user_data import UserData, render
from gateway.settings import SizeSettings

SIZE = SizeSettings(name="vm", cores=1, memory_mb=512, credits_per_hour=1, max_nodes=2)
USER_DATA = render(
    UserData(
        "vm-1",
        "http://10.0.0.1:8000/",
        "once",
        "http://10.0.0.1:8000/node-agent.py",
        "0" * 64,
        "burst",
        1,
        "ssh-ed25519 AAAA",
    )
)


def machine(folder: Path, name: str = "vm-1", *, age: timedelta = timedelta(0)) -> Instance:
    """One that has just been recorded."""
    wanted = Instance(folder / name, new_id(name), name, SIZE, "node", None, {}, datetime.now(UTC) - age)

    def furnish(draft: Instance) -> Instance:
        seed.make_address(draft)
        return replace(draft, address="10.0.0.2")

    return Instances(folder).add(wanted, USER_DATA, furnish)


def address_of(instance: Instance) -> str:
    return seed.url_of(instance).rstrip("/").rpartition("/")[2]


def test_a_machine_reads_its_own_seed(tmp_path: Path) -> None:
    """All four files that cloud-init asks for, at the gateway that the user-data names."""
    first, second = machine(tmp_path), machine(tmp_path, "vm-2")

    assert seed.url_of(first) == f"http://10.0.0.1:8000/seed/{address_of(first)}/"
    assert seed.read(tmp_path, address_of(first), "user-data") == USER_DATA.encode()
    assert b'"vm-2"' in (seed.read(tmp_path, address_of(second), "meta-data") or b"")
    assert seed.read(tmp_path, address_of(first), "vendor-data") == b""


def test_addresses_cannot_be_guessed_and_are_private(tmp_path: Path) -> None:
    """256 bits, another for each machine, in a file for the gateway's user only."""
    first, second = machine(tmp_path), machine(tmp_path, "vm-2")

    assert address_of(first) != address_of(second)
    assert len(address_of(first)) == 43
    assert (first.folder / "seed-address").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("address", ["", ".", "vm-1", "x" * 43, "é"])
def test_another_address_has_nothing(tmp_path: Path, address: str) -> None:
    """Neither a name nor an empty one, also where a machine has no seed."""
    (machine(tmp_path, "vm-2").folder / "seed-address").unlink()
    machine(tmp_path)

    assert seed.read(tmp_path, address, "user-data") is None


@pytest.mark.parametrize("name", ["", "node.json", "../node.json", "seed-address"])
def test_nothing_but_the_seed_is_read(tmp_path: Path, name: str) -> None:
    """What else is in a machine's folder is the gateway's."""
    assert seed.read(tmp_path, address_of(machine(tmp_path)), name) is None


def test_it_answers_while_a_machine_may_boot(tmp_path: Path) -> None:
    """Not a quarter of an hour later, and not once the machine's end began."""
    old = machine(tmp_path, age=timedelta(minutes=16))
    ending = machine(tmp_path, "vm-2")
    Instances(tmp_path).begin_end(ending)

    assert seed.read(tmp_path, address_of(old), "user-data") is None
    assert seed.read(tmp_path, address_of(ending), "user-data") is None
