"""burst call.

Invariant: stdout has the result and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_json
from gateway.cli.invocation import examples
from gateway.client.simulation import Simulation
from gateway.errors import OptionError


@click.command(
    epilog=examples(
        "burst call examples/ising-array temperature=2.1",
        "burst call examples/ising-array temperature=2.1 seed=7 | jq .energy",
        "burst call examples/ising-array",
    )
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("parameters", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also of a result that is a text.")
def call(folder: Path, parameters: tuple[str, ...], *, as_json: bool) -> None:
    """Run the simulation that FOLDER/simulation.toml describes, wait, and print its result.

    Without parameters it says which there are.
    """
    simulation = Simulation.load(folder)
    if not parameters and any(parameter.default is None for parameter in simulation.parameters):
        _describe(simulation, as_json=as_json)
        return
    values = dict(_pair(text) for text in parameters)
    simulation.arguments(values)
    with connected() as gateway:
        job = Simulation.load(folder, gateway).submit(values)
        click.echo(f"burst: job {job.name}", err=True)
        found = simulation.result(job)
    as_text = isinstance(found, str) and not as_json
    click.echo(found if as_text else json.dumps(found, indent=2), nl=not as_text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"{text!r} is not NAME=VALUE", hint="e.g. temperature=2.1", exit_code=2)
    return name, value


def _describe(simulation: Simulation, *, as_json: bool) -> None:
    if as_json:
        show_json(list(simulation.parameters))
        return
    click.echo(simulation.title)
    for parameter in simulation.parameters:
        default = "" if parameter.default is None else f" [default: {parameter.default}]"
        click.echo(f"  {parameter.name}={parameter.type.upper()}  {parameter.about}{default}")
