"""SMBIOS: how a virtual machine is told where its seed is, in a file that qemu reads and no process list shows.

Rules: DMTF DSP0134 §6.1.2 (structure header), §6.1.3 (strings), §7.2 (System Information, type 1).
"""

from __future__ import annotations

import struct
import uuid

_SYSTEM_INFORMATION = 1
_HANDLE = 0x0100
_POWER_SWITCH = 6


def system_information(serial: str, machine: uuid.UUID) -> bytes:
    """A type 1 structure for ``qemu -smbios file=…``: cloud-init reads its data source from the serial number."""
    strings = ("Burst Gateway", "Virtual node", serial)
    formatted = struct.pack(
        "<BBHBBBB16sBBB",
        _SYSTEM_INFORMATION,
        27,
        _HANDLE,
        1,  # manufacturer, product, version (none) and serial number, by the numbers of their strings
        2,
        0,
        3,
        machine.bytes_le,
        _POWER_SWITCH,
        0,
        0,
    )
    return formatted + b"".join(text.encode("ascii") + b"\0" for text in strings) + b"\0"
