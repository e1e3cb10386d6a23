"""Setting files: ``burst.toml``, and beside it ``node-types.toml`` for those who keep the types of nodes apart.

Invariant: a setting is in one of the two; a file that is no TOML, or has what is not its own, is refused by its name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from gateway.errors import SetupError

SETTINGS_FILE: Final = "burst.toml"
NODE_TYPES_FILE: Final = "node-types.toml"
NODE_TYPES: Final = ("sizes", "clouds", "order", "currencies", "prices_good_days", "store_location")
"""What may be in the second."""

_TABLE = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\- \"]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-]+|\"[^\"]*\")\s*=")


def sources(
    settings: type[BaseSettings], directory: Path | None
) -> tuple[TomlConfigSettingsSource, TomlConfigSettingsSource]:
    """Both files of a directory. Raises SetupError."""
    general, types = (_opened_file(settings, directory, name) for name in (SETTINGS_FILE, NODE_TYPES_FILE))
    file = f"{directory}/{NODE_TYPES_FILE}"
    if foreign := next((key for key in types.toml_data if key not in NODE_TYPES), None):
        raise SetupError(f"{file}: {foreign} is no setting of node types", hint=f"there are {', '.join(NODE_TYPES)}")
    if double := next((key for key in types.toml_data if key in general.toml_data), None):
        raise SetupError(f"{double} is in {file} and in {SETTINGS_FILE}", hint="leave it in one of them")
    return general, types


def place_of(directory: Path, where: Sequence[str | int]) -> str:
    """Where a setting is written, as "FILE:LINE" or as good as can be said; ``where`` is pydantic's location of it."""
    for name in (NODE_TYPES_FILE, SETTINGS_FILE):
        path = directory / name
        text = path.read_text() if path.exists() else ""
        if line := _line(text, where):
            return f"{path}:{line}"
    types = directory / NODE_TYPES_FILE
    # What is wrong with several settings together is most often the types of nodes.
    return str(types if types.exists() and not where else directory / SETTINGS_FILE)


def _opened_file(settings: type[BaseSettings], directory: Path | None, name: str) -> TomlConfigSettingsSource:
    path = directory and directory / name
    try:
        return TomlConfigSettingsSource(settings, path)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{path}: {error}", hint="correct it; toml.io says how TOML is written") from None


def _line(text: str, where: Sequence[str | int]) -> int | None:
    """The line of the deepest part of ``where`` that the text has; None if it has not even the first."""
    found, table, counts = 0, (), {}  # type: int, tuple[str | int, ...], dict[tuple[str | int, ...], int]
    best = -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = _opened(header[1].split("."), line.lstrip().startswith("[["), counts)
            here = table
        elif key := _KEY.match(line):
            here = (*table, key[1].strip('"'))
        else:
            continue
        if tuple(where[: len(here)]) == here and len(here) > best:
            found, best = number, len(here)
    return found or None


def _opened(names: list[str], is_array: bool, counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """The table that a header opens: arrays of tables count, those above it are at their last."""
    table: tuple[str | int, ...] = ()
    for depth, name in enumerate(names, 1):
        table = (*table, name.strip().strip('"'))
        if depth == len(names) and is_array:
            counts[table] = counts.get(table, -1) + 1
            # What was counted below an earlier one starts anew.
            for deeper in [key for key in counts if len(key) > len(table) and key[: len(table)] == table]:
                del counts[deeper]
        if table in counts:
            table = (*table, counts[table])
    return table
