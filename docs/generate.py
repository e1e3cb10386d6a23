# ruff: noqa: INP001 - a script, not a package
"""Writes docs/commands.md and docs/configuration.md from the commands and the settings themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic_core import PydanticUndefined

from gateway.cli.burst import SECTIONS, burst
from gateway.settings import Settings, SiteSettings, SizeSettings

HERE = Path(__file__).parent
WIDTH = 100


def main() -> None:
    """Write both files."""
    (HERE / "commands.md").write_text(commands())
    (HERE / "configuration.md").write_text(settings())


def commands() -> str:
    """Every command's own help, by section."""
    parts = ["# Commands\n", "Written by `make docs` from the commands' own help.\n"]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        parts.extend(_command(name) for name in names)
    return "\n".join(parts)


def settings() -> str:
    """Every setting: name, default, meaning."""
    intro = (
        "# Configuration\n\nWritten by `make docs`. Read from `DIR/burst.toml`; a variable `BURST_SERVER_NAME`, or "
        "`burst up --set name=value`, wins over the file. An unknown name is an error.\n\n"
    )
    sizes = "\n## One of `sizes`\n\nIn the file each is a `[[sizes]]` table.\n\n"
    site = "\n## `site`\n\nIn the file a `[site]` table; see [site.md](site.md).\n\n"
    return intro + _table(Settings) + sizes + _table(SizeSettings) + site + _table(SiteSettings)


def _command(name: str) -> str:
    root = click.Context(burst, info_name="burst")
    command = burst.get_command(root, name)
    assert command is not None, name  # noqa: S101 - SECTIONS names only commands
    context = click.Context(command, parent=root, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    text = f"### burst {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if not isinstance(command, click.Group):
        return text
    return "\n".join((text, *(_part(context, name, part) for part in command.commands.values())))


def _part(parent: click.Context, name: str, command: click.Command) -> str:
    """One command of a group."""
    context = click.Context(
        command, parent=parent, info_name=command.name, terminal_width=WIDTH, max_content_width=WIDTH
    )
    return f"### burst {name} {command.name}\n\n```text\n{command.get_help(context)}\n```\n"


def _table(model: Any) -> str:
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_default(name, field.default)} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def _default(name: str, value: object) -> str:
    if value is PydanticUndefined:
        return "(needed)"
    if name == "sizes":
        return "small, large, gpu"
    if isinstance(value, tuple):
        return "`" + ", ".join(map(str, value)) + "`"
    return "(none)" if value is None else f"`{value}`"


if __name__ == "__main__":
    main()
