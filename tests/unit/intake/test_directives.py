"""Which lines of a script are directives, what they say, and where the fault is when they say it wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ScriptError
from gateway.intake import burst, directives, script, tokens

HEAD = "#!/bin/sh\n"


def options(*lines: str, tail: str = "hostname\n") -> dict[str, str]:
    return dict(directives.read(HEAD + "".join(f"{line}\n" for line in lines) + tail).options)


def fault(*lines: str) -> ScriptError:
    with pytest.raises(ScriptError) as refusal:
        options(*lines)
    return refusal.value


@pytest.mark.parametrize("line", ["  #SBATCH -n3", "# SBATCH -n3", "##SBATCH -n3", "#sbatch -n3"])
def test_only_the_first_column_and_the_exact_word_make_a_directive(line: str) -> None:
    """Anything else is a comment."""
    assert options(line) == {}


def test_the_magic_word_is_only_a_beginning() -> None:
    """``#SBATCH-n3`` is a directive, and ``#SBATCHX`` a wrong one."""
    assert options("#SBATCH-n3") == {"ntasks": "3"}
    assert fault("#SBATCHX").exit_code == 255


def test_slurm_is_a_second_magic_word_and_warned_about() -> None:
    """``#SLURM`` lines count; a comment that begins so is therefore wrong."""
    found = directives.read(f"{HEAD}#SLURM -n3\n")
    assert dict(found.options) == {"ntasks": "3"}
    assert "line 2" in found.warnings[0]
    assert "settings" in fault("#SLURM settings below").detail


@pytest.mark.parametrize("command", ["set -e", '"""Doc."""', "x=1", "\tdate"])
def test_the_first_command_ends_the_directives(command: str) -> None:
    """What follows it is the script's own business, for #BURST lines as well."""
    assert options("#SBATCH -n3", command, "#SBATCH -n5", "#SBATCH --bogus", "#BURST --bogus") == {"ntasks": "3"}


def test_blank_lines_and_comments_do_not_end_the_directives() -> None:
    """Nor does a comment that is indented."""
    assert options("#SBATCH -n3", "", "  ", "# x", "  # y", "#SBATCH -c2") == {"ntasks": "3", "cpus-per-task": "2"}


def test_an_option_may_have_its_value_on_the_next_line() -> None:
    """All directives are one command line to sbatch."""
    assert options("#SBATCH -n", "#SBATCH 3") == {"ntasks": "3"}


@pytest.mark.parametrize(
    ("lines", "line", "column", "detail"),
    [
        (["#SBATCH -n 3", "#SBATCH -c 2 --bogus=1"], 3, 14, "unrecognized option '--bogus=1'"),
        (["#SBATCH -n 3 foo"], 2, 14, "Invalid directive found in batch script: foo"),
        (["#SBATCH --time=abc"], 2, 9, "Invalid --time specification"),
        (["# x", "", '#SBATCH -J "a'], 4, 12, "Unmatched"),
        (["#SBATCH --uid=0"], 2, 9, "--uid is not supported"),
        (["#SBATCH hetjob"], 2, 9, "heterogeneous"),
        (["#PBS -N x"], 2, 1, "#PBS lines are not translated"),
        (["hostname", "#BSUB -J x"], 3, 1, "#BSUB lines are not translated"),
    ],
)
def test_a_fault_has_its_place(lines: list[str], line: int, column: int, detail: str) -> None:
    """Line and column point at the word at fault, and a hint says what to do."""
    found = fault(*lines)
    assert (found.line, found.column) == (line, column)
    assert detail in found.detail
    assert found.hint
    assert found.field == f"script:{line}"


def test_other_schedulers_lines_may_be_passed_over() -> None:
    """By the command line, the environment, or the script itself."""
    assert dict(directives.read(f"{HEAD}#PBS -N x\n", ignore_pbs=True).options) == {}
    assert options("#SBATCH --ignore-pbs", "#PBS -N x") == {"ignore-pbs": ""}


@pytest.mark.parametrize(
    ("text", "detail", "line"),
    [
        ("", "empty", None),
        (" \n\t\n", "whitespace", 1),
        ("hostname\n", "does not look like a batch script", 1),
        ("\ufeff#!/bin/sh\n", "does not look like a batch script", 1),
        (" #!/bin/sh\n", "does not look like a batch script", 1),
        ("\n#!/bin/sh\n", "does not look like a batch script", 1),
        ("#!/bin/sh\necho\necho \0\n", "NULL character", 3),
        ("#!/bin/sh\necho a\r\n", "DOS line breaks", 2),
    ],
)
def test_a_script_that_sbatch_refuses_is_refused_with_the_line(text: str, detail: str, line: int | None) -> None:
    """sbatch ends with 1 for each of these."""
    with pytest.raises(ScriptError, match=detail) as refusal:
        directives.read(text)
    assert (refusal.value.exit_code, refusal.value.line) == (1, line)
    assert refusal.value.hint or "\0" in text


def test_a_script_above_four_megabytes_is_refused_by_its_bytes() -> None:
    """slurmctld's max_script_size counts bytes, not letters."""
    letters = "é" * (script.MAX_BYTES // 2)
    with pytest.raises(ScriptError, match="the most is 4194304"):
        directives.read(f"{HEAD}# {letters}\n")
    with pytest.raises(ScriptError, match="the most is 4194304"):
        script.decode(b"#!" + b"x" * script.MAX_BYTES)
    directives.read(HEAD + "x" * (script.MAX_BYTES - len(HEAD)))


def test_a_script_that_is_not_utf8_is_refused_with_the_line() -> None:
    """It could not travel as text."""
    with pytest.raises(ScriptError, match="UTF-8") as refusal:
        script.decode(b"#!/bin/sh\n# gr\xfc\xdfe\n")
    assert refusal.value.line == 2


@settings(deadline=None)
@given(st.text(alphabet="#SBATCHURM -=n\"'\\:\n\t,3x", max_size=80) | st.text(max_size=60))
def test_no_script_does_anything_but_read_or_raise(body: str) -> None:
    """The only error is one with a place and an exit code of sbatch."""
    with contextlib.suppress(ScriptError):
        directives.read(HEAD + body)


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1), max_size=5))
def test_any_word_can_be_quoted(words: list[str]) -> None:
    """Backslashes before quotes and backslashes bring every word through unchanged."""
    escaped = ['"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words]
    found = list(tokens.words(" ".join(escaped), 7, 0))
    assert [word.text for word in found] == words
    assert all(word.line == 7 for word in found)


def requests(*lines: str) -> burst.Requests:
    return directives.read(HEAD + "".join(f"{line}\n" for line in lines)).burst


def test_burst_lines_say_what_travels_and_who_pays() -> None:
    """One line may hold several options, and plain Slurm sees a comment."""
    found = requests(
        "#BURST --stage-in=data/in.csv --stage-in=/home/me/p.toml:conf/p.toml",
        "#BURST --stage-out=*.json --stage-out=out/*",
        "#BURST --account-to=physics --max-cost=2.5",
    )
    assert found == burst.Requests(
        stage_in=(burst.Input("data/in.csv", "in.csv", 2), burst.Input("/home/me/p.toml", "conf/p.toml", 2)),
        stage_out=("*.json", "out/*"),
        account_to="physics",
        max_cost_ucr=2_500_000,
    )


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("#BURST --bogus=1", "unknown #BURST option: --bogus=1"),
        ("#BURST stage-in=x", "unknown #BURST option"),
        ("#BURSTING along", "unknown #BURST option: ING"),
        ("#BURST --stage-in x", "needs a value"),
        ("#BURST --stage-in=", "needs a value"),
        ("#BURST --stage-in=x:../y", "below the job's working directory"),
        ("#BURST --stage-in=x:/etc/passwd", "below the job's working directory"),
        ("#BURST --stage-in=..", "below the job's working directory"),
        ("#BURST --stage-out=/etc/*", "below the job's working directory"),
        ("#BURST --stage-in=s3://bucket/x", "s3:// are not supported"),
        ("#BURST --stage-in=burst://x:y", "burst:// are not supported"),
        ("#BURST --max-cost=0", "not an amount"),
        ("#BURST --max-cost=1e999999999", "not an amount"),
        ("#BURST --max-cost=0.0000001", "not an amount"),
        ("#BURST --units=vasp:3", "not CODE:N"),
        ("#BURST --units=run@v1:1 --units=run@v1:2", "has ordered run@v1 already"),
        ("#BURST --publish", "--publish is not supported"),
    ],
)
def test_a_wrong_burst_line_is_refused_with_its_place(line: str, detail: str) -> None:
    """Like a wrong #SBATCH line."""
    found = fault("# a comment", line)
    assert detail in found.detail
    assert (found.line, found.exit_code) == (3, 255)
    assert found.hint


@pytest.mark.parametrize(("first", "second"), [("x:a", "y:a"), ("x:a", "y:a/b"), ("x:a/b", "y:a"), ("x:a", "y:./a")])
def test_two_inputs_cannot_take_the_same_place(first: str, second: str) -> None:
    """Neither as the same file, nor one as the other's folder."""
    found = fault(f"#BURST --stage-in={first}", f"#BURST --stage-in={second}")
    assert "taken by line 2" in found.detail
    assert found.line == 3
