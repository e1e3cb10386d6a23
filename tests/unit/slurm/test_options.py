"""sbatch's options: reading them, putting them together, and slurmrestd's job description of them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import OptionError
from gateway.slurm import options as slurm
from gateway.slurm.getopt import LONG, SHORT, resolve

NOW = datetime(2030, 1, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["-N2", "--ntasks-per-node=2"], {"nodes": "2", "tasks_per_node": 2, "minimum_cpus": 2}),
        (["-n5", "--ntasks-per-node=2"], {"tasks": 5, "tasks_per_node": 2, "minimum_nodes": 3, "minimum_cpus": 5}),
        (["-N2-4", "-n3"], {"nodes": "2-3", "tasks": 3, "minimum_cpus": 3}),
        (["-N4", "-n2"], {"nodes": "2", "tasks": 2, "minimum_cpus": 2}),
        (["-N3", "-O"], {"nodes": "3", "overcommit": True, "minimum_cpus": 3}),
        (["-t5:30"], {"time_limit": {"set": True, "number": 6}, "minimum_cpus": 1}),
        (["-t0"], {"time_limit": {"set": True, "infinite": True}, "minimum_cpus": 1}),
        (["--mem=1500K"], {"memory_per_node": {"set": True, "number": 2}, "minimum_cpus": 1}),
        (
            ["--gres=gpu:1", "--gpus-per-node=a100:2"],
            {"tres_per_node": "gres/gpu:a100:2,gres/gpu:1", "minimum_cpus": 1},
        ),
        (["--gpus=2"], {"tres_per_job": "gres/gpu:2", "minimum_cpus": 1}),
        (
            ["--spread-job", "--kill-on-invalid-dep=yes"],
            {"flags": ["KILL_INVALID_DEPENDENCY", "SPREAD_JOB"], "minimum_cpus": 1},
        ),
        (["--begin=noon"], {"begin_time": {"set": True, "number": 1893585600}, "minimum_cpus": 1}),
        (["--exclusive=user"], {"shared": ["user"], "minimum_cpus": 1}),
        (
            ["-m", "plane=4"],
            {"distribution": "plane=4", "distribution_plane_size": {"set": True, "number": 4}, "minimum_cpus": 1},
        ),
        (
            ["--signal=B:10@30"],
            {
                "kill_warning_signal": "USR1",
                "kill_warning_delay": {"set": True, "number": 30},
                "kill_warning_flags": ["BATCH_JOB"],
                "minimum_cpus": 1,
            },
        ),
        (["--parsable", "--wait", "--export=ALL", "-D", "/x"], {"minimum_cpus": 1}),
    ],
)
def test_options_become_the_job_description_that_sbatch_itself_sends(words: list[str], fields: dict) -> None:
    """Compared once with `scontrol show job` of the same job submitted by sbatch 24.11.5; these are its fields."""
    assert slurm.rest_fields(slurm.parse(words).options, now=NOW) == fields


@pytest.mark.parametrize("name", [option.name for option in slurm.TABLE if option.support is slurm.Support.REFUSED])
def test_an_option_that_is_refused_says_why(name: str) -> None:
    """Each refusal names the option and has a reason."""
    option = LONG[name]
    assert option.reason
    with pytest.raises(OptionError, match=f"--{name} is not supported: {option.reason[:20]}"):
        slurm.parse([f"--{name}" if option.argument is slurm.Argument.NONE else f"--{name}=1"])


@pytest.mark.parametrize("word", ["--uid=0", "--gid=0", "--priority=TOP", "--nice=-1"])
def test_what_only_an_operator_may_ask_for_is_refused(word: str) -> None:
    """The gateway submits as Slurm's own user, who could do all of these for anyone."""
    with pytest.raises(OptionError):
        slurm.parse([word])


def test_options_end_at_the_first_other_word() -> None:
    """What follows the script is the script's."""
    parsed = slurm.parse(["-n", "3", "job.sh", "-n", "5", "--bogus"])
    assert parsed == slurm.Parsed({"ntasks": "3"}, ("job.sh", "-n", "5", "--bogus"))


def test_the_later_of_requeue_and_no_requeue_wins_across_sources() -> None:
    """An option replaces its opposite wherever that came from."""
    assert slurm.merge({"requeue": ""}, {"no-requeue": ""}, {}) == {"no-requeue": ""}
    assert slurm.merge({"no-requeue": ""}, {}, {"requeue": ""}) == {"requeue": ""}


def test_typed_memory_beats_memory_of_another_kind_from_the_environment() -> None:
    """As sbatch does; two kinds that are both typed are refused."""
    assert slurm.merge({"mem": "1G"}, {"mem-per-cpu": "1G"}, {}) == {"mem": "1G"}
    with pytest.raises(OptionError, match="mutually exclusive"):
        slurm.merge({"mem": "1G"}, {}, {"mem-per-cpu": "1G"})


def test_the_environment_has_what_srun_reads() -> None:
    """srun inside a job takes its task count from variables that sbatch sets."""
    options = slurm.parse(["-n4", "-c2", "--ntasks-per-node=2"]).options
    assert slurm.environment(options) == {
        "SLURM_NTASKS": "4",
        "SLURM_NPROCS": "4",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_NTASKS_PER_NODE": "2",
    }


WORDS = st.one_of(
    st.text(max_size=12),
    st.builds("--{}={}".format, st.sampled_from(sorted(LONG)), st.text(max_size=8)),
    st.builds("--{}".format, st.sampled_from(sorted(LONG))),
    st.builds("-{}{}".format, st.sampled_from(sorted(SHORT)), st.text(max_size=5)),
)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=6))
def test_no_words_do_anything_but_parse_or_raise(words: list[str]) -> None:
    """Whatever parses also becomes a job description."""
    with contextlib.suppress(OptionError):
        slurm.rest_fields(slurm.parse(words).options, now=NOW)


@settings(deadline=None)
@given(st.sampled_from(sorted(LONG)), st.integers(1, 30))
def test_an_abbreviation_means_the_option_or_is_ambiguous(name: str, length: int) -> None:
    """Any beginning of a name is that option, unless it is the beginning of another option too."""
    short = name[:length]
    meant = {LONG[full].name for full in LONG if full.startswith(short)}
    if short in LONG or len(meant) == 1:
        assert resolve(short, f"--{short}")[1] is (LONG[short] if short in LONG else LONG[name])
    else:
        with pytest.raises(OptionError, match="ambiguous"):
            resolve(short, f"--{short}")
