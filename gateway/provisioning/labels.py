"""Labels: tags in the few characters that some clouds allow, there and back.

Invariant: decoding gives the tags that were encoded, whatever characters they have; each label's value is made of
a-z, 0-9, "-" and "_" and is at most 63 characters long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 63

_PART = re.compile(r"(?P<tag>.+?)(_(?P<number>\d+))?")


def labels(tags: Mapping[str, str]) -> dict[str, str]:
    """What a value may not have becomes "_" and two hex digits a byte; a long one goes on in NAME_1, NAME_2."""
    found: dict[str, str] = {}
    for tag, text in tags.items():
        parts = _parts(_encoded(text))
        found |= {f"{tag}_{number}" if number else tag: part for number, part in enumerate(parts)}
    return found


def tags(encoded: Mapping[str, str]) -> dict[str, str]:
    """The tags that were encoded; labels that somebody else made are left as they are, or out."""
    parts: dict[str, dict[int, str]] = {}
    for name, text in encoded.items():
        if found := _PART.fullmatch(name):
            parts.setdefault(found["tag"], {})[int(found["number"] or 0)] = text
    return {tag: _decoded("".join(text for _, text in sorted(each.items()))) for tag, each in parts.items()}


def label(text: str) -> str:
    """One value, for a filter. Raises ValueError if it is longer than one label's."""
    (part,) = _parts(_encoded(text))
    return part


def _encoded(text: str) -> str:
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"_{byte:02x}" for byte in text.encode())


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def _decoded(text: str) -> str:
    return re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()).decode(errors="replace")


def _parts(text: str) -> list[str]:
    return [text[start : start + LONGEST] for start in range(0, max(len(text), 1), LONGEST)]
