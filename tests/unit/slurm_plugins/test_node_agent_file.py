"""The one file that a node is given: complete, alone, and the same as the modules that a reviewer reads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

from slurm_plugins.agent.one_file import PARTS, agent_text

SHARED = {"log"}
"""Names that several modules give to the same thing."""


def test_it_stands_alone(tmp_path):
    """It runs with the standard library and nothing else on its path."""
    file = tmp_path / "node_agent.py"
    file.write_text(agent_text())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(file), "--help"], capture_output=True, text=True, check=True, env={}
    )
    assert "joins the cluster" in done.stdout


def test_it_imports_the_standard_library_only():
    """Nothing is to be installed on a node."""
    imported = set()
    for node in ast.walk(ast.parse(agent_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= sys.stdlib_module_names


def test_no_name_means_two_things():
    """Modules that are joined into one share one namespace."""
    names: Counter[str] = Counter()
    for node in ast.parse(agent_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    assert {name for name, count in names.items() if count > 1} <= SHARED


def test_it_is_the_same_each_time():
    """Its digest is in every invitation."""
    assert agent_text() == agent_text.__wrapped__()
    assert agent_text().startswith("#!/usr/bin/python3\n")
    assert len(PARTS) == len(set(PARTS))
