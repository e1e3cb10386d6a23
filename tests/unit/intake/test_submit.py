"""From a submission to a JobRequest: precedence, paths, environment, inputs, resources and what they take."""

from __future__ import annotations

import pytest

from gateway import wire
from gateway.errors import BurstError, InputMissing, InvalidRequest, OptionError, ScriptError
from gateway.intake.submit import read
from gateway.jobs.fit import nodes_on
from gateway.jobs.job import JobRequest, Resources, StageIn

DIGEST = "0" * 64


def submit(*lines: str, options: tuple[str, ...] = (), **other: object) -> JobRequest:
    script = "#!/bin/sh\n" + "".join(f"{line}\n" for line in lines) + "hostname\n"
    request = wire.SubmitRequest(script=script, options=options, **{"submit_directory": "/home/me/run", **other})
    return read(request, default_time_limit_s=3600, max_time_limit_s=86400)


def test_the_command_line_beats_the_environment_which_beats_the_script() -> None:
    """As in sbatch, and contrary to what many expect."""
    environment = {"SBATCH_JOB_NAME": "env", "SBATCH_PARTITION": "env"}
    job = submit("#SBATCH -J script -p script --comment=script", options=("-J", "cli"), environment=environment)
    assert (job.name, job.options["partition"], job.options["comment"]) == ("cli", "env", "script")


@pytest.mark.parametrize(
    ("name", "expected"), [("job.sh", "job.sh"), ("/a/b/job.sh", "job.sh"), ("wrap", "wrap"), ("sbatch", "sbatch")]
)
def test_a_job_without_a_name_has_its_scripts(name: str, expected: str) -> None:
    """The file's own name, without its folder."""
    assert submit(script_name=name).name == expected


def test_options_of_the_command_alone_do_not_reach_slurm() -> None:
    """--parsable, --wait and the like are for who typed them."""
    job = submit("#SBATCH --parsable", options=("--wait", "-Q", "--test-only", "--export=ALL"))
    assert set(job.options) == {"time"}


def test_a_job_without_a_time_limit_gets_the_default_one() -> None:
    """So that its price has a bound; Slurm is told the same limit."""
    job = submit()
    assert (job.options["time"], job.resources.time_limit_s) == ("60", 3600)


@pytest.mark.parametrize("limit", ["2-0", "0", "UNLIMITED", "1441"])
def test_a_time_limit_above_the_most_is_refused(limit: str) -> None:
    """In slurmctld's words."""
    with pytest.raises(OptionError, match="time limit is invalid") as refusal:
        submit(f"#SBATCH --time={limit}")
    assert refusal.value.exit_code == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("out/%j.txt", "out/%j.txt"),
        ("/home/me/run/out/%x-%A_%a.txt", "out/%x-%A_%a.txt"),
        ("/scratch/x/%j.out", "%j.out"),
        ("../%j.out", "%j.out"),
        ("/dev/null", "/dev/null"),
        ("none", "none"),
        ("", None),
        ("/", None),
    ],
)
def test_output_paths_stay_below_the_working_directory(given: str, expected: str | None) -> None:
    """Absolute paths of the submitting machine become relative where they can, else their file name."""
    assert submit(f'#SBATCH "--output={given}"').options.get("output") == expected


def test_chdir_is_the_working_directory() -> None:
    """Paths below it are relative to it; Slurm is not told of it."""
    job = submit("#SBATCH --chdir=sub --output=/home/me/run/sub/a.out --error=/home/me/run/b.err")
    assert "chdir" not in job.options
    assert (job.options["output"], job.options["error"]) == ("a.out", "b.err")


def test_only_variables_that_export_names_travel() -> None:
    """The submitting machine's others mean nothing on another machine."""
    environment = {"HOME": "/home/me", "SEED": "7", "SBATCH_PARTITION": "p"}
    job = submit("""#SBATCH "--export=ALL,SEED,MODE='a,b',GONE\"""", environment=environment)
    assert job.environment == {"SEED": "7", "MODE": "a,b"}
    assert submit(environment=environment).environment == {}


def test_a_job_has_the_variables_that_sbatch_sets_for_srun() -> None:
    """Without SLURM_NTASKS, srun in the job would start one task."""
    assert submit("#SBATCH -n4").environment == {"SLURM_NTASKS": "4", "SLURM_NPROCS": "4"}


def sent(source: str, destination: str) -> wire.InputFile:
    return wire.InputFile(source=source, destination=destination, sha256=DIGEST, size=3)


def test_inputs_are_matched_with_the_lines_that_ask_for_them() -> None:
    """A folder stands for its files; an input that no line asks for may come along."""
    job = submit(
        "#BURST --stage-in=data:in --stage-in=a.txt",
        inputs=(sent("data/x/1", "in/x/1"), sent("a.txt", "a.txt"), sent("b.txt", "b.txt")),
    )
    assert job.burst.stage_in == (
        StageIn("data/x/1", "in/x/1", 2, size=3, sha256=DIGEST),
        StageIn("a.txt", "a.txt", 2, size=3, sha256=DIGEST),
        StageIn("b.txt", "b.txt", None, size=3, sha256=DIGEST),
    )


def test_an_input_that_was_not_sent_is_missed_with_its_line() -> None:
    """Nothing is created for a job whose input is not there."""
    with pytest.raises(InputMissing, match="line 3") as refusal:
        submit("# inputs", "#BURST --stage-in=gone.txt")
    assert refusal.value.field == "script:3"


@pytest.mark.parametrize("destination", ["../x", "/etc/passwd", "a/../../x", "."])
def test_an_input_cannot_leave_the_working_directory(destination: str) -> None:
    """Whatever a client sends."""
    with pytest.raises(InvalidRequest, match="below the job's working directory"):
        submit(inputs=(sent("x", destination),))


@pytest.mark.parametrize(
    ("request_part", "error"),
    [
        ({"options": ("job.sh",)}, OptionError),
        ({"options": ("--bogus",)}, OptionError),
        ({"options": ("--comment=a\0b",)}, InvalidRequest),
        ({"environment": {"SBATCH_TIMELIMIT": "abc"}}, OptionError),
        ({"inputs": (sent("x", "y"), sent("z", "y"))}, InvalidRequest),
    ],
)
def test_what_is_wrong_is_refused(request_part: dict, error: type[BurstError]) -> None:
    """Before anything is created."""
    with pytest.raises(error):
        submit(**request_part)


def test_a_fault_in_the_script_is_sbatchs() -> None:
    """With line, column and exit code."""
    with pytest.raises(ScriptError) as refusal:
        submit("#SBATCH -N 4-2")
    assert (refusal.value.line, refusal.value.exit_code) == (2, 255)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("-N2 --ntasks-per-node=2", {"nodes": 2, "max_nodes": 2, "tasks": 4, "tasks_per_node": 2, "cpus_per_node": 2}),
        ("-n4 -c2", {"tasks": 4, "cpus_per_task": 2, "cpus_per_node": 2}),
        ("-N1 -n4", {"nodes": 1, "max_nodes": 1, "tasks": 4, "cpus_per_node": 4}),
        ("-N2-4", {"nodes": 2, "max_nodes": 4}),
        ("-N4 -n2", {"nodes": 2, "max_nodes": 2, "tasks": 2}),
        ("--mem=2G", {"memory_mb_per_node": 2048}),
        (
            "--mem-per-cpu=100 -c4",
            {"memory_mb_per_node": 400, "memory_mb_per_cpu": 100, "cpus_per_task": 4, "cpus_per_node": 4},
        ),
        ("--gpus=4", {"gpus": 4, "gpus_per_node": 1}),
        ("-N2 --gpus=4", {"nodes": 2, "max_nodes": 2, "gpus": 4, "gpus_per_node": 2}),
        ("--gres=gpu:a100:2,nic:1", {"gpus_per_node": 2, "gpu_types": ("a100",)}),
        ("--gpus=A100:1,a100:1 -N1", {"max_nodes": 1, "gpus": 2, "gpus_per_node": 2, "gpu_types": ("a100",)}),
        ("--gres=gpu", {"gpus_per_node": 1}),
        ("--gpus=4 --gpus-per-node=2", {"nodes": 2, "gpus": 4, "gpus_per_node": 2}),
        ("-n3 --gpus-per-task=a100:1", {"tasks": 3, "gpus": 3, "gpus_per_node": 1, "gpu_types": ("a100",)}),
        ("--array=0-9:2%2", {"array_tasks": 5}),
        ("--time=90", {"time_limit_s": 5400}),
    ],
)
def test_resources_are_the_numbers_that_slurm_comes_to(words: str, expected: dict) -> None:
    """What is priced is what runs."""
    assert submit(f"#SBATCH {words}").resources == Resources(**expected)


@pytest.mark.parametrize("words", ["--array=5-1", "--array=1001", "-N0", "--gpus-per-task=1"])
def test_resources_that_slurmctld_refuses_are_refused(words: str) -> None:
    """Here already, with the option and sbatch's exit code 1."""
    with pytest.raises(OptionError) as refusal:
        submit(f"#SBATCH {words}")
    assert refusal.value.exit_code == 1
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("words", "node", "expected"),
    [
        ("-n5 -c2", (4, 1000, 0), 3),
        ("-n5", (2, 1000, 0), 3),
        ("-n5 --ntasks-per-node=1", (8, 1000, 0), 5),
        ("-N1 -n4", (2, 1000, 0), 0),
        ("-N2-4 -n8", (2, 1000, 0), 4),
        ("-N2-4 -n10", (2, 1000, 0), 0),
        ("-c4", (2, 1000, 0), 0),
        ("--mem=2G", (2, 1024, 0), 0),
        ("-n8 --mem-per-cpu=500", (8, 1000, 0), 4),
        ("--gpus=4", (8, 1000, 2), 2),
        ("--gpus=4", (8, 1000, 0), 0),
        ("--gpus-per-node=2", (8, 1000, 1), 0),
        ("", (2, 1024, 0), 1),
    ],
)
def test_a_job_takes_as_many_nodes_of_a_size_as_slurm_would_give_it(
    words: str, node: tuple[int, int, int], expected: int
) -> None:
    """0 where no number of such nodes could run it."""
    cores, memory_mb, gpus = node
    assert nodes_on(submit(f"#SBATCH {words}").resources, cores, memory_mb=memory_mb, gpus=gpus) == expected


def test_a_job_in_place_keeps_paths_and_environment() -> None:
    """Given a submitter whose files the nodes see, when a job is read, then nothing of it is moved or left behind."""
    job = submit("#SBATCH --output=/logs/%j.out --chdir=sub", in_place=True, environment={"HOME": "/home/me", "A": "1"})
    chosen = submit(options=("--export=A,B=2",), in_place=True, environment={"HOME": "/home/me", "A": "1"})

    assert (job.submit_directory, job.options["output"]) == ("/home/me/run/sub", "/logs/%j.out")
    assert "chdir" not in job.options
    assert job.environment == {"HOME": "/home/me", "A": "1"}
    assert chosen.environment == {"A": "1", "B": "2"}


def test_the_size_of_outputs_and_the_market_are_asked_for_in_burst_lines() -> None:
    """Powers of 1000, as disks and clouds count."""
    burst = submit("#BURST --output-size=2.5G --market=on-demand").burst
    assert (burst.output_bytes, burst.on_demand) == (2_500_000_000, True)

    burst = submit("#BURST --output-size=7\n#BURST --market=any").burst
    assert (burst.output_bytes, burst.on_demand) == (7, False)


@pytest.mark.parametrize("line", ["--output-size=big", "--output-size=-1", "--output-size=1P", "--market=spot"])
def test_a_size_or_market_that_is_none_is_refused_with_its_line(line: str) -> None:
    """As every #BURST option is."""
    with pytest.raises(ScriptError, match=line.partition("=")[0]) as refused:
        submit(f"#SBATCH -N1\n#BURST {line}")

    assert refused.value.line == 3
