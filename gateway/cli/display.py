"""How the commands show things: tables, times, sizes, JSON.

Invariant: what is piped is plain text without colour or box lines; NO_COLOR is respected on a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

_KIBI = 1024
_STYLES = {
    "COMPLETED": "green", "RUNNING": "cyan", "PENDING": "yellow", "FAILED": "red", "CANCELLED": "magenta",
    "TIMEOUT": "red", "NODE_FAIL": "red", "OUT_OF_MEMORY": "red", "REFUSED": "red",
    "idle": "green", "busy": "cyan", "booting": "yellow", "requested": "yellow",
}  # fmt: skip


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def show_json(view: BaseModel | Sequence[BaseModel]) -> None:
    """Print a view, or a list of views, as JSON."""
    plain = view.model_dump(mode="json") if isinstance(view, BaseModel) else [v.model_dump(mode="json") for v in view]
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a column whose name starts with ">" is aligned to the right."""
    if on_terminal():
        Console().print(rich_table(columns, rows))
    else:
        for line in plain_table(columns, list(rows)):
            click.echo(line)


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        # Ids and states stay whole; only the last column, a sentence, is broken into lines.
        whole = column is not columns[-1]
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=whole)
    for row in rows:
        table.add_row(*(f"[{_STYLES[cell]}]{cell}[/]" if cell in _STYLES else _escaped(cell) for cell in row))
    return table


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as aligned lines, without trailing blanks."""
    names = [column.removeprefix(">").upper() for column in columns]
    widths = [max(len(row[n]) for row in [names, *rows]) for n in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in [names, *rows]
    ]


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned; values that are empty are left out."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        if value:
            click.echo(f"{name.ljust(width)}  {value}")


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"."""
    whole = round(seconds)
    if seconds < 9.95:  # noqa: PLR2004 - below ten seconds the tenths tell something
        return f"{seconds:.1f} s"
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if not hours:
        return f"{minutes} min {whole % 60:02d} s"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60:02d} min"


def moment(when: datetime | None) -> str:
    """A point in time on the reader's clock: "2026-03-01 14:05:09"."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """How long ago something was: "12 s ago"."""
    if when is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def size(count: int) -> str:
    """Bytes for people, powers of 1024: "512 B", "1.5 KiB", "20.0 GiB"."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < _KIBI:
            break
        amount, unit = amount / _KIBI, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def _escaped(cell: str) -> str:
    """Square brackets are markup to rich and plain text to Slurm (node lists)."""
    return cell.replace("[", r"\[")
