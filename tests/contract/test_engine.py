"""The contract of every Engine: what the gateway relies on, asked of a real Slurm."""

from __future__ import annotations

import os
import pwd
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from real_sshd import sshd_in
from submitter import Submitter, eventually, ran

from gateway.engines.commands import SlurmCommandsEngine
from gateway.engines.login_node import LoginNode
from gateway.errors import NotFound, SchedulerRefused, SchedulerUnavailable
from gateway.ssh.authority import Authority, Identity, make_private_key


@pytest.fixture
def jobs(engine, cluster):
    return Submitter(engine, cluster)


def test_version(engine, cluster):
    """It tells the release of the Slurm that runs."""
    assert engine.version() == cluster.slurm.version
    assert re.fullmatch(r"\d\d\.\d\d\.\d+", engine.version())


def test_a_job_runs_on_a_node_that_did_not_exist(jobs):
    """Given no node, a job's node is resumed, and the job's record tells its whole life."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    job = jobs.submit('echo "$GREETING $SLURM_JOB_ID"; exit 3')
    (task,) = jobs.ended(job)
    assert jobs.text(task) == f"hello there {job}\n"
    assert (task.id, task.state, task.exit_code, task.signal, task.restarts) == (job, "FAILED", 3, None, 0)
    assert (task.array_job_id, task.array_task_id, task.partition, task.name) == (None, None, "burst", "contract")
    assert task.nodes == (task.batch_host,)
    assert before < task.submitted_at <= task.started_at <= task.ended_at < datetime.now(UTC) + timedelta(seconds=2)
    assert jobs.engine.output(job) == (task.standard_output, task.standard_error)


def test_states_is_enough_for_polling(jobs):
    """The cheap call shows the same states as the whole record."""
    job = jobs.submit("true")
    (task,) = jobs.ended(job)
    assert jobs.engine.states()[job] == task.states


def test_a_waiting_job_has_no_times(jobs):
    """A held job has neither started nor ended, whatever Slurm plans for it."""
    job = jobs.submit("true", hold="")
    (task,) = jobs.engine.job(job)
    assert (task.state, task.nodes, task.started_at, task.ended_at) == ("PENDING", (), None, None)
    assert task.reason == "JobHeldUser"
    jobs.engine.cancel(job)


def test_a_job_is_found_by_its_token(jobs):
    """A submission whose answer was lost is found again; an unknown token finds nothing."""
    submission = jobs.submission("true", array="1-2")
    job = jobs.engine.submit(submission)
    assert jobs.engine.find(submission.token) == job
    jobs.ended(job)
    assert jobs.engine.find(submission.token) == job
    assert {task.token for task in jobs.engine.job(job)} == {submission.token}
    assert jobs.engine.find(uuid.uuid4().hex) is None


def test_an_array_is_seen_task_by_task(jobs):
    """Every task has its own id, index, output and state; one task is cancelled without the others."""
    job = jobs.submit('echo "task $SLURM_ARRAY_TASK_ID"; [ $SLURM_ARRAY_TASK_ID != 2 ] || exec sleep 300', array="1-3")
    jobs.until(job, lambda task: task.array_task_id is not None and (task.finished or ran(task)))
    eventually(lambda: all(task.finished or task.array_task_id == 2 for task in jobs.engine.job(job)))
    jobs.engine.cancel(job, 2)
    tasks = {task.array_task_id: task for task in jobs.ended(job)}
    assert {index: task.state for index, task in tasks.items()} == {1: "COMPLETED", 2: "CANCELLED", 3: "COMPLETED"}
    assert {task.array_job_id for task in tasks.values()} == {job}
    assert {index: jobs.text(task).splitlines()[0] for index, task in tasks.items()} == {
        n: f"task {n}" for n in (1, 2, 3)
    }
    states = jobs.engine.states()
    assert {index: states[task.id] for index, task in tasks.items()} == {n: task.states for n, task in tasks.items()}


def test_a_job_of_two_nodes_starts_when_both_are_up(jobs):
    """srun in the batch script reaches every node at once."""
    job = jobs.submit("srun bash -c 'echo $SLURMD_NODENAME'", nodes="2")
    (task,) = jobs.ended(job)
    assert task.state == "COMPLETED", jobs.text(task)
    assert len(task.nodes) == 2
    assert sorted(jobs.text(task).split()) == sorted(task.nodes)


def test_gpus_are_counted(jobs):
    """A size's GPUs are given out by Slurm, though no device is behind them."""
    job = jobs.submit("echo $SLURM_JOB_GPUS on $SLURMD_NODENAME", gres="gpu:2")
    (task,) = jobs.ended(job)
    assert jobs.text(task) == "0,1 on gpu-1\n"


def test_cancel(jobs):
    """A running job ends as CANCELLED; cancelling it again is no error; a job that never was is NotFound."""
    job = jobs.submit("exec sleep 300")
    jobs.until(job, ran)
    jobs.engine.cancel(job)
    (task,) = jobs.ended(job)
    assert task.state == "CANCELLED"
    jobs.engine.cancel(job)
    with pytest.raises(NotFound):
        jobs.engine.cancel(9_999_999)


def test_signal(jobs):
    """A step of the running job gets the signal that was named."""
    job = jobs.submit("srun bash -c 'trap \"echo got USR1; exit 0\" USR1; echo ready; while :; do sleep 0.1; done'")
    (task,) = jobs.until(job, ran)
    eventually(lambda: "ready" in jobs.text(task) or None)
    jobs.engine.signal(job, "USR1")
    (task,) = jobs.ended(job)
    assert "got USR1" in jobs.text(task).splitlines()


def test_a_signal_that_cannot_be_sent_is_refused(jobs):
    """An unknown name, and a job that has ended, are refused; nothing is sent."""
    job = jobs.submit("true")
    jobs.ended(job)
    with pytest.raises(SchedulerRefused, match="Unknown signal NOPE"):
        jobs.engine.signal(job, "NOPE")
    with pytest.raises(SchedulerRefused, match="already completing or completed"):
        jobs.engine.signal(job, "USR1")
    with pytest.raises(NotFound):
        jobs.engine.signal(9_999_999, "USR1")


def test_requeue(jobs):
    """A requeued job waits again, its restart counted; a job that has ended for good is refused in Slurm's words."""
    job = jobs.submit("exec sleep 300")
    jobs.until(job, ran)
    jobs.engine.requeue(job)
    (task,) = jobs.until(job, lambda task: task.state == "PENDING")
    assert task.restarts == 1
    assert not task.finished
    jobs.engine.cancel(job)
    with pytest.raises(NotFound):
        jobs.engine.requeue(9_999_999)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "nowhere"}, "Invalid partition name specified"),
        ({"gres": "gpu:9"}, "Requested node configuration is not available"),
        ({"mem": "10000000M"}, "Requested node configuration is not available"),
        ({"constraint": "huge"}, "Invalid feature specification"),
        ({"dependency": "afterok:9999999"}, "Job dependency problem"),
    ],
)
def test_a_refusal_is_in_slurms_own_words(jobs, options, words):
    """What Slurm does not take is refused with its text and number."""
    with pytest.raises(SchedulerRefused, match=words) as refusal:
        jobs.submit("true", **options)
    assert refusal.value.errno


def test_a_job_that_never_was(engine):
    """Asking for it, or for its output, is NotFound."""
    with pytest.raises(NotFound):
        engine.job(9_999_999)
    with pytest.raises(NotFound):
        engine.output(9_999_999)


def test_nodes_are_drained_and_resumed(engine):
    """A node that is drained says why; resumed, it is as before."""
    engine.update_nodes(["small-5", "small-6"], "DRAIN", "burst: to be looked at")
    drained = {node.name: node for node in engine.nodes() if "DRAIN" in node.states}
    assert {name: node.reason for name, node in drained.items()} == dict.fromkeys(
        ("small-5", "small-6"), "burst: to be looked at"
    )
    engine.update_nodes(drained, "RESUME")
    assert not [node for node in engine.nodes() if "DRAIN" in node.states]
    assert {(node.cpus, node.memory_mb) for node in engine.nodes()} == {(2, 1024), (4, 4096)}


def test_a_node_is_powered_down_on_request(jobs, cluster):
    """POWER_DOWN of an idle node calls SuspendProgram for it, and Slurm sees it go."""
    (task,) = jobs.ended(jobs.submit("true"))
    (name,) = task.nodes
    jobs.engine.update_nodes([name], "POWER_DOWN")
    eventually(
        lambda: [one for one in cluster.site.handled if (one["program"], one["nodes"]) == ("suspend", name)] or None
    )
    (node,) = (node for node in jobs.engine.nodes() if node.name == name)
    assert node.states & {"POWERING_DOWN", "POWERED_DOWN"}


@pytest.mark.parametrize(("names", "state"), [(["nowhere-1"], "DRAIN"), (["small-1"], "UPSIDE_DOWN")])
def test_a_node_or_state_that_is_not_there_is_refused(engine, names, state):
    """Neither is taken for something else."""
    with pytest.raises(SchedulerRefused):
        engine.update_nodes(names, state)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root runs jobs as somebody else")
def test_a_job_runs_as_the_user_it_is_given(jobs):
    """Submitted by SlurmUser for somebody else, the job has that user's uid and gid; its files are theirs."""
    job = jobs.submit("id -u; id -g", user="nobody")
    (task,) = jobs.ended(job)
    known = pwd.getpwnam("nobody")
    assert jobs.text(task).split() == [str(known.pw_uid), str(known.pw_gid)]
    assert task.user == "nobody"
    assert (jobs.cluster.work / task.standard_output).stat().st_uid == known.pw_uid


def test_a_controller_that_is_away_is_said_to_be_away(own_cluster):
    """With slurmctld gone every call is SchedulerUnavailable, never an empty answer."""
    engine = own_cluster.slurm.engine()
    engine.version()
    own_cluster.daemon("slurmctld").stop()
    with pytest.raises(SchedulerUnavailable) as refusal:
        engine.states()
    assert refusal.value.retryable
    own_cluster.slurm.heal()
    assert engine.states() == {}
    own_cluster.daemon("slurmrestd").stop()
    with pytest.raises(SchedulerUnavailable, match="cannot be reached"):
        engine.nodes()
    engine.close()


def test_a_login_node_that_is_away_is_said_to_be_away(cluster, tmp_path):
    """With its sshd gone, or its door closed to us, every call is SchedulerUnavailable."""
    authority = Authority(make_private_key())
    with sshd_in(tmp_path, trusted=authority.public_line) as sshd:
        login = LoginNode(
            sshd.door, lambda: authority.identity(sshd.door.user, "t", datetime.now(UTC)), cluster.slurm.environment()
        )
        engine = SlurmCommandsEngine(login)
        assert engine.version() == cluster.slurm.version
        login.close()
        stranger = replace(login, identity=lambda: Identity(make_private_key().decode()))
        with pytest.raises(SchedulerUnavailable, match="refuses the login"):
            SlurmCommandsEngine(stranger).version()
    with pytest.raises(SchedulerUnavailable, match="does not answer") as refusal:
        engine.states()
    assert refusal.value.retryable
