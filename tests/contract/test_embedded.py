"""The embedded Slurm's life: it is adopted, healed and stopped, and its nodes come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from slurm_clusters import SIZES, Cluster, cluster_in, processes_of
from submitter import Submitter, eventually, ran

from gateway.engines.embedded import EmbeddedSlurm, Site
from gateway.errors import SetupError
from gateway.settings import Settings

DAEMONS = ("munged", "slurmctld", "slurmrestd")


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {name: cluster.daemon(name).pid() for name in DAEMONS}


@pytest.fixture
def own_jobs(own_cluster):
    return Submitter(own_cluster.slurm.engine(), own_cluster)


def test_started_twice_it_is_the_same(cluster):
    """A second start, by a gateway that knows nothing of the first, adopts what runs."""
    before = pids(cluster)
    again = EmbeddedSlurm(cluster.settings, cluster.slurm._distribution, Site("process"))
    again.start()
    assert again.heal() == ()
    assert pids(cluster) == before
    assert None not in before.values()
    assert again.engine().version() == cluster.slurm.version


def test_secrets_are_private(cluster):
    """Keys are 0600 in a folder of 0700, and no configuration file holds one."""
    folder = cluster.settings.secrets_dir
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = sorted(folder.iterdir())
    assert [key.name for key in keys] == ["jwt.key", "munge.key"]
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_only_loopback_is_listened_on(cluster):
    """A cluster of processes offers nothing to the network."""
    sockets = [c.laddr.ip for p in cluster.processes() for c in p.net_connections("inet") if c.status == "LISTEN"]
    assert sockets
    assert set(sockets) == {"127.0.0.1"}


def test_commands_work_by_hand(cluster):
    """SLURM_CONF and PATH are all that sinfo needs."""
    done = subprocess.run(
        ["sinfo", "-h", "-o", "%P %D"], env=cluster.slurm.environment(), capture_output=True, text=True, check=True
    )
    assert "burst*" in done.stdout


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_that_was_killed_is_restarted(own_cluster, name):
    """Given kill -9 of one daemon, heal restarts that one, on the same port, and the cluster answers."""
    before, url = pids(own_cluster), own_cluster.slurm.url
    os.kill(before[name], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before[name])] if psutil.pid_exists(before[name]) else [], timeout=5)
    assert own_cluster.slurm.heal() == (name,)
    after = pids(own_cluster)
    assert {other for other in DAEMONS if after[other] != before[other]} == {name}
    assert own_cluster.slurm.url == url
    assert own_cluster.slurm.engine().states() == {}


def test_a_running_job_survives_its_controller(own_cluster, own_jobs):
    """kill -9 of slurmctld while a job runs: after heal the job goes on and ends as it would have.

    slurmctld saves some seconds after a change, or at once if the last save is old: what was submitted after the job
    was seen to run, and is in the file, says that the running job is in it too.
    """
    job = own_jobs.submit("echo begun; until [ -e go ]; do sleep 0.1; done; echo done")
    (task,) = own_jobs.until(job, ran)
    eventually(lambda: "begun" in own_jobs.text(task) or None)
    own_jobs.submit("true", job_name="later-than-the-run", hold="")
    saved = own_cluster.settings.slurm_dir / "state" / "job_state"
    eventually(lambda: saved.exists() and b"later-than-the-run" in saved.read_bytes())
    os.kill(own_cluster.daemon("slurmctld").pid(), signal.SIGKILL)
    eventually(lambda: own_cluster.slurm.heal() == ("slurmctld",))
    (own_cluster.work / "go").touch()
    (task,) = own_jobs.ended(job)
    assert (task.state, task.restarts, own_jobs.text(task)) == ("COMPLETED", 0, "begun\ndone\n")


def test_an_idle_node_is_released(own_cluster, own_jobs):
    """After its SuspendTime, here 3 s, a node that no job needs is suspended."""
    (task,) = own_jobs.ended(own_jobs.submit("true"))
    (name,) = task.nodes
    eventually(lambda: [one for one in own_cluster.site.handled if one["program"] == "suspend"] or None)
    assert [(one["program"], one["nodes"]) for one in own_cluster.site.handled] == [("resume", name), ("suspend", name)]


def test_stop_leaves_nothing(slurm_programs, tmp_path):
    """After stop no process works on the folder; the ports of before are used again."""
    with cluster_in(tmp_path, slurm_programs) as running:
        ports = json.loads((tmp_path / "slurm" / "ports.json").read_text())
        assert processes_of(tmp_path)
    assert processes_of(tmp_path) == []
    again = EmbeddedSlurm(running.settings, slurm_programs, Site("process"))
    again.start()
    try:
        assert again.url.endswith(f":{ports['slurmrestd']}")
        assert again.conf_server.endswith(f":{ports['slurmctld']}")
    finally:
        again.stop()
    assert processes_of(tmp_path) == []


def test_other_sizes_are_taken_up_at_the_next_start(own_cluster):
    """A changed configuration restarts slurmctld, and nothing else is lost."""
    munged = own_cluster.daemon("munged").pid()
    sizes = (*SIZES, SIZES[0].model_copy(update={"name": "huge", "max_nodes": 1}))
    settings = own_cluster.settings.model_copy(update={"sizes": sizes})
    EmbeddedSlurm(settings, own_cluster.slurm._distribution, Site("process")).start()
    assert "huge-1" in {node.name for node in own_cluster.slurm.engine().nodes()}
    assert own_cluster.daemon("munged").pid() == munged


def test_a_folder_too_deep_for_sockets_is_refused(slurm_programs, tmp_path):
    """Unix sockets have short paths: said before anything is made."""
    deep = tmp_path / ("x" * 100)
    with pytest.raises(SetupError, match="longer than 107 bytes") as refusal:
        EmbeddedSlurm(Settings(directory=deep), slurm_programs, Site("process")).start()
    assert "burst up --dir" in refusal.value.hint
    assert not Path(deep).exists()
