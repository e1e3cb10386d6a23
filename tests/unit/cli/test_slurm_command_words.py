"""Command lines of the Slurm-named commands, host lists, and the folder that they are written into."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.commands import take_away, write
from gateway.cli.slurm_commands import program, sacct
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.slurm_commands.hosts import expand, fold
from gateway.cli.slurm_commands.squeue import OPTIONS
from gateway.cli.slurm_commands.words import read
from gateway.errors import InvalidRequest


def test_options_are_read_as_getopt_reads_them() -> None:
    """Given abbreviations, joined values and operands between, when read, then each is where getopt has it."""
    line = read("squeue", OPTIONS, ["x", "-hj12,13", "--part=a", "--part", "b", "-t", "all", "--", "-j"])

    assert line.operands == ["x", "-j"]
    assert line.listed("jobs") == ["12", "13"]
    assert line.listed("partition") == ["a", "b"]
    assert line.has("noheader")
    assert line.last("states") == "all"


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("--no", "squeue: option '--no' is ambiguous; possibilities: '--nodelist' '--noheader'"),
        ("--me=x", "squeue: option '--me' doesn't allow an argument"),
        ("-j", "squeue: option requires an argument -- 'j'"),
        ("--steps", "squeue: error: --steps is not supported: slurmrestd v0.0.42 does not list steps"),
    ],
)
def test_what_getopt_refuses_is_refused(word: str, complaint: str) -> None:
    """Given a word that is no option or not supported, when read, then the complaint names it."""
    with pytest.raises(Failure) as failure:
        read("squeue", OPTIONS, [word])

    assert failure.value.text.splitlines()[0] == complaint


@given(st.sets(st.builds("{}{}".format, st.sampled_from(["a", "b-", "node"]), st.integers(0, 200)), min_size=1))
def test_host_lists_fold_and_expand(names: set[str]) -> None:
    """Given any names, when folded and written out again, then they are the same names."""
    assert set(expand(fold(names))) == names


def test_host_lists_are_slurms() -> None:
    """Given lists as Slurm writes them, when written out, then zeros are kept."""
    assert expand("a[1-3,05],b") == ["a1", "a2", "a3", "a05", "b"]
    assert fold(["small-10", "small-9", "gpu-1"]) == "gpu-1,small-[9-10]"
    with pytest.raises(ValueError, match="a\\[1"):
        expand("a[1")


def test_the_folder_holds_ours_alone(tmp_path: Path) -> None:
    """Given a folder with a command of the site's, when ours are written, then it is refused and left as it was."""
    assert write(tmp_path / "bin") == list(program.NAMES)
    assert write(tmp_path / "bin") == list(program.NAMES)
    assert take_away(tmp_path / "bin") == list(program.NAMES)
    assert list((tmp_path / "bin").iterdir()) == []
    site = tmp_path / "squeue"
    site.write_text("the site's")

    with pytest.raises(InvalidRequest, match="squeue is not one of ours"):
        write(tmp_path)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["squeue"]
    assert take_away(tmp_path) == []


def test_sacct_takes_fields_as_sacct_does() -> None:
    """Given names in any case, beginnings and widths, when read, then they are the columns of that name and width."""
    line = read("sacct", sacct.OPTIONS, ["-o", "jobid%5,state%-9,NodeL"])

    assert sacct._columns(line) == [("JobID", 5), ("State", -9), ("NodeList", 15)]
