"""Gpus: which cards this machine has, as their driver's own tool says, and what is wrong with them.

Invariant: a card that its tool cannot use is not counted; one that hangs on the bus without being counted is told.
Sources: nvidia-smi(1) --help-query-gpu, rocm-smi(1) --json, sysfs-bus-pci(5), NVIDIA's "XID errors".
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from slurm_plugins.agent.programs import PLACES

TOOL_S = 60.0
"""A tool that takes longer hangs, as it does when a card has fallen off the bus."""
PCI = Path("/sys/bus/pci/devices")
KERNEL_LOG = Path("/dev/kmsg")
_CARD_MAKERS = {"0x10de": "nvidia", "0x1002": "amd"}
_COMPUTE = ("0x0302", "0x1200", "0x0380")
"""PCI classes: 3D controller, processing accelerator, display controller without a screen."""
_ECC = "ecc.errors.uncorrected.volatile.total"
_QUERY = (
    "index",
    "name",
    "uuid",
    "pci.bus_id",
    "memory.total",
    "driver_version",
    "ecc.errors.uncorrected.volatile.total",
)
_XID = re.compile(r"NVRM: Xid \(PCI:(?P<bus>[0-9a-fA-F:.]+)\): (?P<number>\d+)")
_FATAL = {48: "double-bit ECC error", 64: "rows could not be remapped", 74: "NVLink error", 79: "fallen off the bus",
          95: "uncontained ECC error", 119: "GSP does not answer", 120: "GSP error"}  # fmt: skip
"""Those after which a card needs a reset or a replacement; most others are an application's own fault."""


@dataclass(frozen=True)
class Card:
    """One card. ``bus``: its PCI address, lower case, domain of four digits."""

    index: int
    kind: str
    uuid: str
    memory_mb: int
    bus: str = ""

    @property
    def told(self) -> dict[str, object]:
        """For the gateway."""
        return {"index": self.index, "kind": self.kind, "uuid": self.uuid, "memory_mb": self.memory_mb}


@dataclass(frozen=True)
class Cards:
    """What was found: the cards, their driver ("NAME VERSION"), and a sentence for each fault."""

    cards: tuple[Card, ...] = ()
    driver: str = ""
    faults: tuple[str, ...] = ()


def find_cards(pci: Path = PCI, kernel_log: Path = KERNEL_LOG) -> Cards:
    """By the first tool that there is; what the bus has besides is a fault."""
    tools = {"nvidia-smi": _nvidia, "rocm-smi": _amd}
    path = os.pathsep.join(filter(None, (os.environ.get("PATH"), PLACES)))
    found = Cards()
    for name, ask in tools.items():
        if tool := shutil.which(name, path=path):
            try:
                found = ask(tool)
            except subprocess.TimeoutExpired:
                found = Cards(faults=(f"GPU: {name} does not answer",))
            break
    faults = (*found.faults, *_unseen(pci, found), *_xids(kernel_log))
    return Cards(found.cards, found.driver, faults)


def _nvidia(tool: str) -> Cards:
    command = [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TOOL_S)
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == len(_QUERY)]
    said = [line for line in (done.stdout + done.stderr).splitlines() if "," not in line and line.strip()]
    cards, faults = [], [f"GPU: nvidia-smi: {line.strip()}" for line in said if done.returncode or "nable to" in line]
    for index, kind, uuid, bus, memory, _, errors in rows:
        if not (index.isdecimal() and memory.isdecimal()):
            faults.append(f"GPU {index} ({uuid}): nvidia-smi shows {kind}, memory {memory}")
            continue
        cards.append(Card(int(index), kind, uuid, int(memory), _bus(bus)))
        if errors.isdecimal() and int(errors):
            faults.append(f"GPU {index} ({uuid}): {errors} uncorrected ECC errors")
    driver = f"nvidia {rows[0][5]}" if rows else ""
    return Cards(tuple(cards), driver, tuple(faults))


def _amd(tool: str) -> Cards:
    words = (
        "--showproductname",
        "--showuniqueid",
        "--showbus",
        "--showmeminfo",
        "vram",
        "--showdriverversion",
        "--json",
    )
    done = subprocess.run([tool, *words], capture_output=True, text=True, check=False, timeout=TOOL_S)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return Cards(faults=(f"GPU: rocm-smi ended with {done.returncode} and no JSON",))
    cards = []
    for name, facts in sorted(said.items()):
        # The names of the fields differ in their capitals between releases.
        known = {key.lower(): str(value) for key, value in facts.items()}
        if (number := name.removeprefix("card")).isdecimal():
            memory = known.get("vram total memory (b)", "0")
            kind, uuid = known.get("card series", known.get("card model", "AMD")), known.get("unique id", "")
            cards.append(Card(int(number), kind, uuid, int(memory) >> 20, _bus(known.get("pci bus", ""))))
    return Cards(tuple(cards), f"amdgpu {said.get('system', {}).get('Driver version', '')}".strip())


def _unseen(pci: Path, found: Cards) -> list[str]:
    """Cards on the bus that the tool did not show."""
    shown = {card.bus for card in found.cards}
    unseen = []
    for device in sorted(pci.glob("*")):
        with contextlib.suppress(OSError):
            vendor = _CARD_MAKERS.get((device / "vendor").read_text().strip())
            if vendor and (device / "class").read_text().startswith(_COMPUTE) and device.name not in shown:
                unseen.append(f"GPU at {device.name} ({vendor}): on the bus, but its driver does not show it")
    return unseen


def _xids(kernel_log: Path) -> list[str]:
    """Fatal errors in the kernel's ring buffer, each once; nothing where it may not be read."""
    faults: dict[str, None] = {}
    for line in _kernel_lines(kernel_log):
        if (xid := _XID.search(line)) and (fault := _FATAL.get(int(xid["number"]))):
            faults[f"GPU at {xid['bus']}: Xid {xid['number']}, {fault}"] = None
    return list(faults)


def _kernel_lines(kernel_log: Path) -> list[str]:
    """One read gives one record; a reader that is too slow gets EPIPE and goes on (kernel's dev-kmsg)."""
    lines: list[str] = []
    try:
        log = os.open(kernel_log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return lines
    try:
        while True:
            with contextlib.suppress(BrokenPipeError):
                record = os.read(log, 8192)
                if not record:
                    return lines
                lines += record.decode(errors="replace").splitlines()
    except OSError:
        return lines
    finally:
        os.close(log)


def _bus(name: str) -> str:
    """nvidia-smi writes the domain with eight digits, sysfs with four."""
    domain, colon, rest = name.lower().partition(":")
    return f"{domain[-4:]}{colon}{rest}"
