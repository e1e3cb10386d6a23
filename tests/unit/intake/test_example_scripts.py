"""The scripts in ``examples/``: plain sbatch scripts that say what they read, and whose answers can be checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gateway.intake import directives

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted(path for path in (ROOT / "examples").glob("*/*.sh") if path.name != "submit.sh")
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))

import examples  # noqa: E402 - known answers, beside the tests that run the jobs


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_input_of_an_example_is_beside_it(path: Path) -> None:
    """The script is read without a complaint, has a time limit, and its sources exist."""
    found = directives.read(path.read_text())
    assert "time" in found.options
    assert found.burst.stage_in
    assert all((path.parent / item.source).is_file() for item in found.burst.stage_in)


@pytest.mark.parametrize("name", sorted(examples.CHECKS))
def test_every_example_has_a_readme_with_its_known_answer(name: str) -> None:
    """A check belongs to a folder, whose README says where the numbers come from."""
    assert "known answer" in (ROOT / "examples" / name / "README.md").read_text()


def test_a_wrong_answer_is_told_with_the_difference(tmp_path: Path) -> None:
    """A check that could not fail would check nothing."""
    result = {"madelung": 1.7475, "ranks": 4, "hosts": ["a", "a", "b", "b"]}
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(AssertionError, match="off by -6"):
        examples.check_madelung(tmp_path)
    result["madelung"] = examples.MADELUNG
    (tmp_path / "result.json").write_text(json.dumps(result))
    examples.check_madelung(tmp_path)
    with pytest.raises(AssertionError, match="expected 3"):
        examples.check_madelung(tmp_path, nodes=3)
