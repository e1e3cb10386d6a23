"""burst commands: writes sbatch, squeue, scancel, sacct, sinfo and scontrol into a folder of their own.

Invariant: a file that is not ours is never replaced, so a site's own commands stay what they are.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from gateway.cli.invocation import examples, json_option
from gateway.cli.slurm_commands.program import NAMES
from gateway.errors import InvalidRequest

EXECUTABLE = "burst-slurm"
_TEXT = """#!/bin/sh
# One program, many names: the link that it is called by says which command it is. Written by burst commands.
exec {python} -I -c 'from gateway.cli.slurm_commands.program import main; main()' "$0" "$@"
"""


@click.command(
    epilog=examples("burst commands ~/burst-bin", 'PATH="$HOME/burst-bin:$PATH" squeue', "burst commands bin --remove")
)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--remove", is_flag=True, help="Take them away again.")
@json_option
def commands(directory: Path, remove: bool, as_json: bool) -> None:
    """Write the Slurm-named commands into DIR; put DIR first on PATH to use them.

    They talk to the gateway that you are logged in to. DIR should be a folder of their own.
    """
    names = take_away(directory) if remove else write(directory)
    if as_json:
        click.echo(json.dumps({"directory": str(directory.absolute()), "commands": names}))
    elif remove:
        click.echo(f"Removed {', '.join(names) or 'nothing'}")
    else:
        click.echo(f"Wrote {', '.join(names)}\nUse them: export PATH={shlex.quote(str(directory.absolute()))}:$PATH")


def write(directory: Path) -> list[str]:
    """Write the executable and its links; their names. Raises InvalidRequest for a name that is taken."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / EXECUTABLE
    for path in (program, *(directory / name for name in NAMES)):
        if (path.exists() or path.is_symlink()) and not _is_ours(path):
            raise InvalidRequest(f"{path} is not one of ours", hint="choose a folder for the gateway's commands alone")
    temporary = directory / f".{EXECUTABLE}.new"
    temporary.write_text(_TEXT.format(python=shlex.quote(sys.executable)))
    temporary.chmod(0o755)
    temporary.replace(program)
    for name in NAMES:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(EXECUTABLE)
    return list(NAMES)


def take_away(directory: Path) -> list[str]:
    """Remove what ``write`` made; the names."""
    found = [name for name in NAMES if _is_ours(directory / name)]
    for name in found:
        (directory / name).unlink()
    if _is_ours(directory / EXECUTABLE):
        (directory / EXECUTABLE).unlink()
    return found


def _is_ours(path: Path) -> bool:
    if path.name == EXECUTABLE:
        return path.is_file() and "gateway.cli.slurm_commands" in path.read_text(errors="replace")
    return path.is_symlink() and path.readlink() == Path(EXECUTABLE)
