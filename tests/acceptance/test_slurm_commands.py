"""The Slurm-named commands against a whole gateway: unmodified tools, Slurm's own output, and whose jobs they reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_site import Answer, NewSite, Site, eventually

SUBMITIT = """
import sys, time, submitit

def add(a, b):
    return a + b

executor = submitit.SlurmExecutor(folder=sys.argv[1])
executor.update_parameters(time=5, cpus_per_task=1)
good, endless = executor.submit(add, 2, 3), executor.submit(time.sleep, 600)
good.watcher.delay_s = 1
print("result", good.result())
endless.cancel()
while (state := endless.watcher.get_state(endless.job_id, mode="force")) in {"UNKNOWN", "PENDING", "RUNNING"}:
    time.sleep(0.5)
print("cancelled", state)
"""

DASK = """
import sys
from dask.distributed import Client
from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    with SLURMCluster(
        cores=1, memory="400MB", processes=1, walltime="00:05:00", interface="lo", python=sys.executable,
        log_directory=sys.argv[1],
    ) as cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(1, timeout=100)
        print("result", client.submit(sum, [1, 2, 3]).result())
        print("worker", *(worker.job_id for worker in cluster.workers.values()))
"""


@dataclass
class Commands:
    """A site, the folder of its commands, and a folder to submit from."""

    site: Site
    folder: Path
    here: Path

    def __call__(self, *words: str, user: str = "demo", stdin: str | None = None, **env: str) -> Answer:
        """Run a command with nothing but PATH changed."""
        self.site.login(user).close()
        done = subprocess.run(
            words, cwd=self.here, env={**self.environment(user), **env}, input=stdin, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def environment(self, user: str = "demo") -> dict[str, str]:
        """PATH begins with the commands."""
        plain = self.site.environment(user)
        return {**plain, "PATH": f"{self.folder}:{plain['PATH']}"}

    def real(self, *words: str) -> Answer:
        """Slurm's own command of that name, on the same cluster."""
        env = {**os.environ, **self.site.facts["slurm"]["environment"]}
        done = subprocess.run(words, env=env, cwd=self.here, capture_output=True, text=True, check=False, timeout=60)
        return Answer(done.returncode, done.stdout, done.stderr)

    def submit(self, *options: str, wrap: str = "true", user: str = "demo") -> str:
        """sbatch --wrap; the job's id."""
        done = self("sbatch", "--parsable", *options, "--wrap", wrap, user=user)
        assert done.code == 0, done.err
        return done.out.strip()

    def ended(self, job: str) -> str:
        """Wait until sacct has a job as ended; its state."""

        def look() -> str:
            state = self("sacct", "-X", "-n", "-P", "-j", job, "-o", "State").out.strip()
            return "" if state in {"", "PENDING", "RUNNING"} else state

        return eventually(look, f"job {job} ended")


@pytest.fixture(scope="module")
def commands(module_site: NewSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """One gateway with process nodes, which share this machine's files, and its commands."""
    site = module_site(nodes="process", idle_s=20)
    folder = tmp_path_factory.mktemp("commands") / "bin"
    assert site.burst("commands", str(folder)).code == 0
    site.add_user("bob")
    return Commands(site, folder, tmp_path_factory.mktemp("here"))


def run_tool(commands: Commands, script: str, name: str) -> list[str]:
    """Run a script that uses a tool; what it printed."""
    file = commands.here / f"run_{name}.py"
    file.write_text(script)
    done = commands(sys.executable, str(file), str(commands.here / name))
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_submitit_runs_unmodified(commands: Commands) -> None:
    """Given PATH alone, when submitit submits two functions, then it has one's result and cancels the other."""
    assert run_tool(commands, SUBMITIT, "submitit") == ["result 5", "cancelled CANCELLED"]


def test_dask_jobqueue_runs_unmodified(commands: Commands) -> None:
    """Given PATH alone, when dask-jobqueue starts a worker, then it computes, and closing cancels its job."""
    result, worker = run_tool(commands, DASK, "dask")

    assert result == "result 6"
    job = worker.removeprefix("worker ")
    assert commands.ended(job) in {"CANCELLED", "COMPLETED"}
    assert (commands.here / "dask" / f"dask-worker-{job}.err").exists()


def test_a_job_runs_where_it_was_submitted(commands: Commands) -> None:
    """Given nodes that share the caller's files, when a script on stdin ends, then its output is beside the caller."""
    done = commands(
        "sbatch", "-o", "said-%j.txt", stdin="#!/bin/sh\necho $PWD $GREETING; srun -n1 hostname\n", GREETING="hello"
    )

    assert done.out.startswith("Submitted batch job ")
    assert done.err == ""
    job = done.out.split()[-1]
    assert commands.ended(job) == "COMPLETED"
    said = (commands.here / f"said-{job}.txt").read_text()
    assert said.splitlines()[0] == f"{commands.here} hello"
    assert len(said.splitlines()) == 2
    assert str(commands.here / f"said-{job}.txt") in commands.site.burst("logs", job).complaint


def test_prints_what_slurms_own_command_prints(commands: Commands) -> None:
    """Given jobs that wait and a job that ended, when both commands of a name are asked, then they print the same."""
    done = commands.submit("-J", "over", wrap="exit 3")
    held = commands.submit("--hold", "-J", "a_long_name_indeed", "-c2", "--mem=500", "--comment=a b")
    array = commands.submit("--array=1-4%2", "--begin=now+1hour", "-t10")
    commands.ended(done)
    for words in (
        ("squeue",),
        ("squeue", "-r", "-h"),
        ("squeue", "-t", "all", "-o", "%i|%j|%T|%M|%l|%D|%C|%m|%R|%r|%u|%P|%V|%S|%e|%Z"),
        ("squeue", "-j", held, "-h", "-o", "%i %t"),
        ("squeue", "-j", f"{array}_2"),
        ("squeue", "-j", "99999"),
        ("squeue", "-j", "99999,99998", "-h"),
        ("scontrol", "show", "job", "99999"),
        ("scontrol", "requeue", "99999"),
        ("scontrol", "release", "99999"),
        ("scontrol", "ping"),
        ("scontrol", "show", "hostnames", "a[1-3,05]"),
        ("scancel", "99999"),
        ("scancel", "-v", "99999"),
        ("scancel", "-s", "USR1", "99999"),
        ("scancel", "x"),
        ("sbatch", "--bogus"),
        ("sbatch", "/no/such/script"),
        ("sbatch", "--array=9-1", "--wrap=true"),
        ("sbatch", "--time=abc", "--wrap=true"),
    ):
        assert commands(*words) == commands.real(*words), " ".join(words)
    for name in (held, array, f"{array}_3", done):
        ours, theirs = (command("scontrol", "show", "job", name).out for command in (commands, commands.real))
        assert untold(ours) == untold(theirs)
    eventually(lambda: commands("sinfo") == commands.real("sinfo"), "sinfo prints what Slurm's prints")
    assert commands("sinfo", "-N") == commands.real("sinfo", "-N")
    assert commands("scancel", held, f"{array}_[1-2]", array) == Answer(0, "", "")
    assert commands.ended(held) == "CANCELLED"
    assert commands("sbatch", "--version").out == commands.real("sbatch", "--version").out


def untold(text: str) -> list[str]:
    """A job's report without what slurmrestd does not tell."""
    lines = [line for line in text.splitlines() if "OOMKillStep" not in line]
    return [line.partition("AllocNode:Sid")[0] for line in lines]


def test_sacct_keeps_what_ended(commands: Commands) -> None:
    """Given a failed job and an array, when sacct is asked, then it has each task, its step and its exit code."""
    failed, array = commands.submit(wrap="exit 7"), commands.submit("--array=1-2", "-J", "two")
    assert commands.ended(failed) == "FAILED"
    commands.ended(f"{array}_1"), commands.ended(f"{array}_2")

    rows = commands("sacct", "-P", "-n", "-j", failed, "-j", array, "-o", "JobID,JobName,State,ExitCode,NNodes").out
    assert rows.splitlines() == [
        f"{failed}|wrap|FAILED|7:0|1",
        f"{failed}.batch|batch|FAILED|7:0|1",
        f"{array}_1|two|COMPLETED|0:0|1",
        f"{array}_1.batch|batch|COMPLETED|0:0|1",
        f"{array}_2|two|COMPLETED|0:0|1",
        f"{array}_2.batch|batch|COMPLETED|0:0|1",
    ]
    assert commands("sacct", "-X", "-n", "-P", "-j", f"{array}_2", "-o", "jobid%9").out == f"{array}_2\n"
    assert commands("sacct", "-o", "bogus") == Answer(1, "", 'sacct: error: Invalid field requested: "bogus"\n')
    assert commands("sacct", "foo").code == 1


def test_hold_release_and_requeue(commands: Commands) -> None:
    """Given a waiting and a running job, when scontrol holds, releases, requeues, then Slurm's own squeue shows it."""
    job = commands.submit("--begin=now+1hour")
    assert commands("scontrol", "hold", job) == Answer(0, "", "")
    assert commands.real("squeue", "-h", "-j", job, "-o", "%r").out.startswith("JobHeld")
    assert commands("scontrol", "release", job) == Answer(0, "", "")
    eventually(lambda: "Held" not in commands.real("squeue", "-h", "-j", job, "-o", "%r").out, "released")
    running = commands.submit(wrap="sleep 600")
    state = ("squeue", "-h", "-j", running, "-o", "%T")
    eventually(lambda: commands.real(*state).out.strip() == "RUNNING", "running")
    assert commands("scontrol", "requeue", running) == Answer(0, "", "")
    eventually(lambda: "Restarts=1" in commands("scontrol", "show", "job", running).out, "requeued")
    assert commands("scancel", "-n", "wrap", "-t", "PD") == Answer(0, "", "")
    commands("scancel", running)
    assert commands.ended(job) == "CANCELLED"
    late = commands("scontrol", "requeue", job)
    assert (late.code, late.err) == (1, f"Job/step already completing or completed for job {job}\n")


def test_users_reach_their_own_jobs_only(commands: Commands) -> None:
    """Given a job of demo's, when bob looks, cancels, holds or requeues, then to bob there is no such job."""
    job = commands.submit("--hold")
    unknown = "slurm_load_jobs error: Invalid job id specified\n"

    assert commands("squeue", "-h", "-t", "all", user="bob").out == ""
    assert commands("squeue", "-j", job, user="bob") == Answer(1, "", unknown)
    assert commands("scontrol", "show", "job", job, user="bob") == Answer(1, "", unknown)
    assert commands("scancel", "-v", job, user="bob").err.endswith("Invalid job id specified\n")
    assert commands("scontrol", "release", job, user="bob").code == 1
    assert commands("scontrol", "requeue", job, user="bob").code == 1
    assert commands("sacct", "-n", "-j", job, user="bob").out == ""
    assert commands("squeue", "-h", "-j", job, "-o", "%r").out == "JobHeldUser\n"
    commands("scancel", job)


def test_a_token_looks_and_changes_nothing(commands: Commands) -> None:
    """Given a token of scontrol's, when it is shown as Slurm's clients do, then jobs are told and none is ended."""
    job = commands.submit("--hold")
    token = commands("scontrol", "token", "lifespan=600").out.strip().removeprefix("SLURM_JWT=")
    shown = {"X-SLURM-USER-NAME": "demo", "X-SLURM-USER-TOKEN": token}

    assert ask(commands, f"/slurm/v0.0.42/job/{job}", shown)[1]["jobs"][0]["state_reason"] == "JobHeldUser"
    assert ask(commands, "/slurm/v0.0.42/ping", {"Authorization": f"Bearer {token}"})[0] == 200
    assert ask(commands, "/slurm/v0.0.42/jobs", {})[0] == 401
    assert ask(commands, "/slurm/v0.0.42/jobs", {**shown, "Authorization": f"Bearer {token}"})[0] == 401
    assert ask(commands, "/slurm/v0.0.42/jobs", {**shown, "X-SLURM-USER-NAME": "bob"})[0] == 511
    status, answer = ask(commands, "/slurm/v0.0.42/jobs", {"X-SLURM-USER-TOKEN": token[:-4] + "AAAA"})
    assert (status, answer["errors"][0]["error_number"]) == (511, 1007)
    assert ask(commands, f"/slurm/v0.0.42/job/{job}", shown, "DELETE")[0] == 403
    assert ask(commands, "/slurm/v0.0.41/jobs", shown)[0] == 404
    assert commands("squeue", "-h", "-j", job, "-o", "%T").out == "PENDING\n"
    commands("scancel", job)


def ask(commands: Commands, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, dict]:
    """What the gateway answers to a client of Slurm's REST API."""
    request = urllib.request.Request(commands.site.url + path, headers=headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, json.loads(body) if body.startswith(b"{") else {}


def test_what_is_not_supported_is_refused_by_name(commands: Commands) -> None:
    """Given options and commands that are not there, when they are used, then the name and the reason are told."""
    for words, named in (
        (("squeue", "--start"), "--start is not supported"),
        (("sinfo", "-l"), "--long is not supported"),
        (("sacct", "-l"), "--long is not supported"),
        (("scontrol", "update", "x"), "update is not supported"),
        (("scontrol", "show", "config"), "show config is not supported"),
        (("srun", "hostname"), "not supported: job steps run inside a job"),
        (("salloc",), "not supported"),
        (("sbatch", "--bbf=x", "--wrap=true"), "--bbf is not supported"),
    ):
        said = commands(*words)
        assert said.code != 0
        assert named in said.complaint


def test_a_gateway_that_is_away_is_no_empty_list(commands: Commands) -> None:
    """Given nobody at the gateway's address, when squeue asks, then it fails in Slurm's words and lists nothing."""
    said = commands("squeue", BURST_URL="http://127.0.0.1:9")

    assert (said.code, said.out) == (1, "")
    assert "Unable to contact slurm controller (connect failure)" in said.err
