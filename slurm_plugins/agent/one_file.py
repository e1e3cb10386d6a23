"""OneFile: the agent as the one file that a node is given, so that one digest vouches for all that it runs as root.

Invariant: the file is the modules, each unchanged but for its imports of the others, in an order in which every name is
defined before it is used; no name is defined by two of them.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources

PARTS = (
    "web",
    "filesystem",
    "programs",
    "key",
    "clock",
    "lease",
    "book",
    "node",
    "scontrol",
    "survey",
    "live",
    "specification",
    "before_job",
    "after_job",
    "guest",
    "gpus",
    "stock",
    "metadata",
    "preemption",
    "power_off",
    "daemon",
)
"""The modules below ``slurm_plugins.agent``, before ``slurm_plugins.node_agent``."""

_FUTURE = "from __future__ import annotations\n"


@cache
def agent_text() -> str:
    """The text of ``node_agent.py`` for a node; it needs Python 3.11 and nothing else."""
    package = resources.files("slurm_plugins")
    last = package.joinpath("node_agent.py").read_text(encoding="utf-8")
    # What a reader wants first stays first: the shebang, and the docstring that explains the whole.
    opening, _, main = last.partition(_FUTURE)
    parts = [package.joinpath("agent", f"{name}.py").read_text(encoding="utf-8") for name in PARTS]
    return opening + _FUTURE + "\n" + "\n\n".join(_standing_alone(text) for text in (*parts, _FUTURE + main))


def _standing_alone(text: str) -> str:
    """A module's text without its imports of the future and of the other parts."""
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("__future__", "slurm_plugins.")):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines) + "\n"
