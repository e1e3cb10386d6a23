# ruff: noqa: INP001 - a script, not a package
"""Writes docs/commands.md, docs/configuration.md and docs/policy.md from the commands, the settings and the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from policy_page import policy
from pydantic_core import PydanticUndefined

from gateway.cli.burst import SECTIONS, burst
from gateway.node_types import OfferSettings
from gateway.settings import (
    CloudSettings,
    CloudSizeSettings,
    InstitutionSettings,
    Settings,
    SiteSettings,
    SizeSettings,
    UnitSettings,
)

HERE = Path(__file__).parent
WIDTH = 100


def main() -> None:
    """Write all of them."""
    (HERE / "commands.md").write_text(commands())
    (HERE / "configuration.md").write_text(settings())
    (HERE / "policy.md").write_text(policy())


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
        "# Configuration\n\nWritten by `make docs`. Read from `DIR/burst.toml` and, for types of nodes, "
        "`DIR/node-types.toml`; a variable `BURST_SERVER_NAME`, or `burst up --set name=value`, wins over the files. "
        "An unknown name is an error.\n\n"
    )
    sizes = "\n## One of `sizes`\n\nIn the file each is a `[[sizes]]` table.\n\n"
    units = "\n## One of `units`\n\nIn the file each is a `[[units]]` table; see [money](money.md).\n\n"
    site = "\n## `site`\n\nIn the file a `[site]` table; see [site.md](site.md).\n\n"
    clouds = (
        "\n## One of `clouds`\n\nIn the file each is a `[[clouds]]` table; [clouds.md](clouds.md) has examples.\n\n"
    )
    cloud_sizes = "\n## One of a cloud's `sizes`\n\nIn the file each is a `[[clouds.sizes]]` table below its cloud.\n\n"
    institutions = (
        "\n## One of `institutions`\n\nIn the file each is an `[[institutions]]` table; "
        "[sign-in.md](sign-in.md) has an example.\n\n"
    )
    offers = (
        "\n## One of a size's `offers`\n\nIn the file each is a `[[sizes.offers]]` table below its size, or short "
        '"CLOUD/SIZE[@ZONE][+spot]"; see [offers.md](offers.md).\n\n'
    )
    tables = (
        (sizes, SizeSettings),
        (offers, OfferSettings),
        (clouds, CloudSettings),
        (cloud_sizes, CloudSizeSettings),
        (units, UnitSettings),
        (site, SiteSettings),
        (institutions, InstitutionSettings),
    )
    return intro + _table(Settings) + "".join(heading + _table(kind) for heading, kind in tables)


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
        rows.append(f"| `{name}` | {_default(name, field)} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def _default(name: str, field: Any) -> str:
    if field.is_required():
        return "(needed)"
    value = field.default
    if name == "sizes" and value:
        return "small, large, gpu"
    if name == "units" and value:
        return "mc.sweep@v1, xtb.opt@v1, run@v1"
    if value in (PydanticUndefined, (), ""):
        return "(none)"
    if isinstance(value, tuple):
        return "`" + ", ".join(map(str, value)) + "`"
    return "(none)" if value is None else f"`{value}`"


if __name__ == "__main__":
    main()
