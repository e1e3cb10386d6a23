"""burst completion: click's own completion scripts.

Invariant: what it prints is all that the shell needs; nothing is installed.
"""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from gateway.cli.invocation import examples, json_option
from gateway.errors import OptionError


@click.command(
    epilog=examples(
        "burst completion bash > ~/.local/share/bash-completion/completions/burst",
        "burst completion zsh > ~/.zfunc/_burst",
        "burst completion fish > ~/.config/fish/completions/burst.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL."""
    found = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if found is None:
        raise OptionError(f"click has no completion for {shell}", option="shell")
    text = found(root, {}, "burst", "_BURST_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": text}) if as_json else text)
