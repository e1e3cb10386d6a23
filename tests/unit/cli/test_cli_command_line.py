"""How ``burst submit`` splits its words: as sbatch does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.command_line import split
from gateway.errors import OptionError

SBATCH = st.sampled_from(
    [["-N2"], ["-N", "2"], ["--nodes=2"], ["--nodes", "2"], ["--exclusive"], ["--exclusive=user"], ["-H"], ["-J", "x"],
     ["-J", "--json"], ["--export", "--max-cost"], ["--nice"], ["-QW"], ["--exclus"], ["--ntasks=3"],
     ["--comment", "job.sh"]]
)  # fmt: skip
OWN = st.sampled_from(
    [["--json"], ["--dry-run"], ["--max-cost", "2"], ["--max-cost=2"], ["--stage-in", "-"], ["--stage-in=a:b"]]
)
SCRIPT = st.sampled_from(["job.sh", "./a", "/b", "-", "a b"])
ARGUMENTS = st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["--json", "-N2", "--", "--help"])), max_size=4)


@given(
    st.lists(st.one_of(SBATCH.map(lambda w: (w, False)), OWN.map(lambda w: (w, True))), max_size=6), SCRIPT, ARGUMENTS
)
def test_options_script_and_arguments_are_told_apart(groups, script, arguments):
    """Whatever the order: sbatch's options stay as typed, ours are taken out, the script's arguments are untouched."""
    words = [word for group, _ in groups for word in group]
    found = split([*words, script, *arguments])
    assert found.script == script
    assert found.arguments == tuple(arguments)
    assert found.options == tuple(word for group, own in groups if not own for word in group)
    assert sum(len(values) for values in found.own.values()) == sum(own for _, own in groups)


def test_an_optional_value_never_swallows_the_script():
    """``--exclusive job.sh``: only ``=`` joins an optional value (getopt_long(3))."""
    assert split(["--exclusive", "job.sh"]).script == "job.sh"


def test_a_value_that_looks_like_ours_is_a_value():
    """``-J --json`` names the job."""
    found = split(["-J", "--json", "job.sh"])
    assert found.sbatch == {"job-name": "--json"}
    assert found.own == {}


def test_repeated_inputs_are_all_kept():
    """--stage-in may be given more than once."""
    assert split(["--stage-in", "a", "--stage-in=b", "job.sh"]).own["--stage-in"] == ["a", "b"]


def test_without_words_the_script_comes_from_stdin():
    """No word at all: as sbatch."""
    assert split([]).script is None


@pytest.mark.parametrize(
    "words", [["--no-such"], ["-N"], ["--n"], ["--json=1"], ["--max-cost"], ["--stage-in"], ["-!"]]
)
def test_a_wrong_option_ends_as_with_sbatch(words):
    """sbatch ends with 255 for an option that it cannot read."""
    with pytest.raises(OptionError) as caught:
        split(words)
    assert caught.value.exit_code == 255
    assert caught.value.hint
