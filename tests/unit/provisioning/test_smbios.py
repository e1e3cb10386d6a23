"""The structure in which a virtual machine finds where its seed is."""

from __future__ import annotations

import uuid

from gateway.provisioning.smbios import system_information


def test_the_serial_number_is_the_third_string() -> None:
    """Laid out as DSP0134 has it: 27 bytes, then strings that each end in a zero, then one more."""
    machine = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

    table = system_information("ds=nocloud;s=http://10.0.0.1/seed/x/", machine)

    assert (table[0], table[1]) == (1, 27)
    *strings, empty, end = table[27:].split(b"\0")
    assert (empty, end) == (b"", b"")
    assert strings[table[7] - 1] == b"ds=nocloud;s=http://10.0.0.1/seed/x/"
    assert uuid.UUID(bytes_le=table[8:24]) == machine
