"""The project's shape: who may import whom, how long a file may be, which names say nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 500
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core", "lib", "tools"}
SOURCES = sorted(
    path
    for folder in ("gateway", "slurm_plugins", "cloud_init", "tests", "bench")
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in {"gateway", "slurm_plugins"}]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_import_contracts_hold():
    """Layers, doors without the server side, one place for each library: the contracts in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_too_long(path):
    """A file of more than 500 lines has a second noun inside."""
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_name_says_what_is_inside(path):
    """No module or folder is called by a word that any code would fit under."""
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert not parts & EMPTY_WORDS


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name_of)
def test_a_module_says_what_it_holds(path):
    """Every module begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name.startswith("test_")], ids=name_of)
def test_a_test_says_what_it_shows(path):
    """Every test has a sentence of its own."""
    tests = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not ast.get_docstring(test)] == []


def test_ansible_is_no_package():
    """A folder ``ansible`` with an ``__init__.py`` would shadow the real package."""
    assert not (ROOT / "ansible" / "__init__.py").exists()
