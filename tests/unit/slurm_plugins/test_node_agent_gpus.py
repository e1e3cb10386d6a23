"""What the agent makes of the tools, the bus and the kernel's log: cards that work are counted, the others are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_plugins.agent import gpus
from slurm_plugins.agent.gpus import Card, find_cards
from slurm_plugins.agent.stock import full_disks, plain_line, take_stock

A100 = Card(0, "NVIDIA A100-SXM4-40GB", "GPU-0aa1", 40960, "0000:07:00.0")
GOOD = "0, NVIDIA A100-SXM4-40GB, GPU-0aa1, 00000000:07:00.0, 40960, 550.54.14, 0\n"
ROCM = """{"card0": {"Unique ID": "0x5ecced7c10c3c2b6", "VRAM Total Memory (B)": "68702699520", "Card Series":
"AMD Instinct MI210", "PCI Bus": "0000:63:00.0"}, "system": {"Driver version": "6.3.6"}}"""
XID = "4,1234,98765,-;NVRM: Xid (PCI:0000:07:00): {}, pid='<unknown>', name=<unknown>, words\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Puts tools on the path, cards on the bus and lines into the kernel's log."""

    class Machine:
        pci, log = tmp_path / "pci", tmp_path / "kmsg"

        def tool(self, name: str, output: str, code: int = 0) -> None:
            (tmp_path / "output").write_text(output)
            (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/output\nexit {code}\n")
            (tmp_path / name).chmod(0o755)

        def card(self, bus: str, vendor: str = "0x10de", kind: str = "0x030200") -> None:
            (self.pci / bus).mkdir(parents=True)
            (self.pci / bus / "vendor").write_text(f"{vendor}\n")
            (self.pci / bus / "class").write_text(f"{kind}\n")

        def find(self):
            return find_cards(self.pci, self.log)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Machine()


def test_a_machine_without_gpus_has_none(machine):
    """No tool, no card, no fault."""
    found = machine.find()
    assert (found.cards, found.driver, found.faults) == ((), "", ())


def test_nvidia_smi_tells_each_card(machine):
    """Its kind, its id, its memory in MiB, and the driver."""
    machine.tool("nvidia-smi", GOOD)
    machine.card("0000:07:00.0")
    found = machine.find()
    assert (found.cards, found.driver, found.faults) == ((A100,), "nvidia 550.54.14", ())


def test_uncorrected_memory_errors_are_a_fault(machine):
    """Of this boot; a card without ECC says [N/A], which is none."""
    machine.tool(
        "nvidia-smi", GOOD.replace(", 0\n", ", 3\n") + GOOD.replace("0,", "1,", 1).replace(", 0\n", ", [N/A]\n")
    )
    assert machine.find().faults == ("GPU 0 (GPU-0aa1): 3 uncorrected ECC errors",)


def test_a_card_that_has_fallen_off_the_bus_is_not_counted(machine):
    """The tool complains of it; the bus still has it."""
    lost = "Unable to determine the device handle for GPU1: 0000:0F:00.0: Unknown Error\n"
    machine.tool("nvidia-smi", GOOD + lost, code=15)
    machine.card("0000:07:00.0")
    machine.card("0000:0f:00.0")
    found = machine.find()
    assert found.cards == (A100,)
    assert found.faults == (
        f"GPU: nvidia-smi: {lost.strip()}",
        "GPU at 0000:0f:00.0 (nvidia): on the bus, but its driver does not show it",
    )


def test_a_card_without_a_driver_is_a_fault(machine):
    """There is no tool at all; a screen's own card does not matter."""
    machine.card("0000:07:00.0")
    machine.card("0000:00:02.0", kind="0x030000")
    machine.card("0000:08:00.0", vendor="0x8086")
    found = machine.find()
    assert found.cards == ()
    assert found.faults == ("GPU at 0000:07:00.0 (nvidia): on the bus, but its driver does not show it",)


def test_a_tool_that_hangs_is_a_fault(machine, monkeypatch):
    """As it does when a card is lost; the lease is renewed by another thread meanwhile."""
    machine.tool("nvidia-smi", "")
    Path(machine.log.parent / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gpus, "TOOL_S", 0.2)
    assert machine.find().faults == ("GPU: nvidia-smi does not answer",)


def test_a_driver_that_does_not_match_is_a_fault(machine):
    """The library is newer than the module: no card can be used."""
    machine.tool("nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch\n", code=18)
    found = machine.find()
    assert (found.cards, found.faults) == (
        (),
        ("GPU: nvidia-smi: Failed to initialize NVML: Driver/library version mismatch",),
    )


def test_rocm_smi_tells_amds_cards(machine):
    """In the JSON form that it prints."""
    machine.tool("rocm-smi", ROCM)
    machine.card("0000:63:00.0", vendor="0x1002", kind="0x038000")
    found = machine.find()
    assert found.cards == (Card(0, "AMD Instinct MI210", "0x5ecced7c10c3c2b6", 65520, "0000:63:00.0"),)
    assert (found.driver, found.faults) == ("amdgpu 6.3.6", ())


def test_rocm_smi_without_json_is_a_fault(machine):
    """It prints a sentence when there is no driver."""
    machine.tool("rocm-smi", "ERROR:root:Driver not initialized (amdgpu not found in modules)\n", code=2)
    assert machine.find().faults == ("GPU: rocm-smi ended with 2 and no JSON",)


@pytest.mark.parametrize(("number", "faults"), [(79, 1), (48, 1), (31, 0), (13, 0)])
def test_fatal_errors_in_the_kernels_log_are_faults(machine, number, faults):
    """Each once; those that an application makes by itself are none."""
    machine.tool("nvidia-smi", GOOD)
    machine.log.write_text(XID.format(number) * 3)
    found = machine.find().faults
    assert len(found) == faults
    assert all(fault.startswith(f"GPU at 0000:07:00: Xid {number}") for fault in found)


def test_a_full_disk_is_a_fault(tmp_path, monkeypatch):
    """Once a file system; a folder that is not there yet will be on its parent's."""
    monkeypatch.setattr("slurm_plugins.agent.stock.FULL_MB", 1 << 40)
    (fault,) = full_disks(tmp_path, tmp_path / "not" / "yet")
    assert fault.startswith(f"the disk of {tmp_path} is full: ")


def test_the_stock_of_this_machine_can_be_taken():
    """Whatever it has."""
    stock = take_stock()
    assert stock["cores"] >= 1
    assert stock["memory_mb"] >= 128


def test_what_a_tool_says_is_made_one_plain_line():
    """It goes to the gateway, to Slurm and to people's terminals."""
    assert plain_line("a\x1b[31mb\n" + "x" * 600) == "a?[31mb?" + "x" * 492
