"""ForeignCluster: a site's own Slurm, configured and started without a line of the product: own conf, key and users.

Invariant: it knows nothing of a gateway until a command of the product changes its files, and its daemons (munged,
slurmctld, two slurmd) are found by their pid files and ended with the test.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_site import PATIENCE_S, Answer, eventually, shared_cache

from gateway.daemons import Daemon
from gateway.engines import distribution, ports
from gateway.engines.distribution import Distribution

USER = "games"
"""The researcher: an ordinary user of this machine, who has no rights at all in Slurm."""

LOCAL = ("n1", "n2")

SLURM_CONF = """\
# slurm.conf of the physics department, kept by hand since 2019.
# Ask Petra before you change anything below the line!
ClusterName=physics
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmUser=daemon
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={top}/munge/munge.sock
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
PluginDir={plugins}
StateSaveLocation={top}/state
SlurmctldPidFile={top}/run/slurmctld.pid
SlurmctldSyslogDebug=quiet
SlurmdSpoolDir={top}/spool/%n
SlurmdPidFile={top}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2
JobCompType=jobcomp/filetxt \\
   # and sacct is not there yet
JobCompLoc={top}/state/jobs.txt
JobSubmitPlugins=lua
ResumeProgram={top}/resume-rack5
SuspendProgram="{top}/resume-rack5"
# ------------------------------------------------------------------ nodes
Include nodes.conf   # rack 4
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=2:00:00 State=UP
PartitionName=rack5 Nodes=dark[1-2] SuspendTime=600 State=UP\
"""
"""As an old site has it: comments, an include, and no newline at the end."""

NODES_CONF = """\
NodeName=n[1-2] NodeAddr=127.0.0.1 Port=[{n1}-{n2}] \\
    CPUs=2 RealMemory=1000
NodeName=dark[1-2] State=CLOUD CPUs=2 RealMemory=1000
"""
"""Two nodes that run, and two of a rack that the site's own programs power."""

OWN_LUA = """\
-- Petra's rules
function slurm_job_submit(job, partitions, uid)
  if job.name == "forbidden" then
    slurm.log_user("not with that name, says Petra")
    return slurm.ERROR
  end
  if job.name == "broken" then return job.name + 1 end
  job.comment = "seen by Petra"
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""

OWN_RESUME = """\
#!/bin/sh
echo "$@" >> {top}/state/resumed
"""


@dataclass(frozen=True)
class ForeignCluster:
    """A running site below ``top``; ``etc`` is its /etc/slurm."""

    top: Path
    programs: Distribution

    @property
    def etc(self) -> Path:
        """Its configuration."""
        return self.top / "etc"

    @property
    def conf(self) -> Path:
        """Its slurm.conf."""
        return self.etc / "slurm.conf"

    @property
    def munge_key(self) -> Path:
        """Its own key."""
        return self.top / "munge/munge.key"

    @property
    def home(self) -> Path:
        """The researcher's home, where jobs are submitted."""
        return self.top / "home"

    def start(self) -> None:
        """Bring up what does not run."""
        munge = self.top / "munge"
        options = {"key-file": self.munge_key, "socket": munge / "munge.sock", "pid-file": munge / "munged.pid"}
        words = [f"--{name}={value}" for name, value in {**options, "seed-file": munge / "seed"}.items()]
        self._start("munged", ["--foreground", "--force", *words], None)
        eventually((munge / "munge.sock").exists, "munged listens")
        self._start("slurmctld", ["-D"], "daemon")
        stepd = str(self.programs.program("slurmstepd"))
        for node in LOCAL:
            self._start("slurmd", ["-D", "-N", node, "-f", str(self.conf), "-d", stepd], None, node)
        for node in LOCAL:
            eventually(lambda name=node: self.node(name).startswith("idle"), "the site's own nodes are idle")

    def stop(self) -> None:
        """End its daemons."""
        for name in (*(f"slurmd-{node}" for node in LOCAL), "slurmctld", "munged"):
            self.daemon(name).stop()

    def daemon(self, name: str) -> Daemon:
        """munged, slurmctld or slurmd-NODE."""
        return Daemon(name, self.top / "run", self.top / f"log/{name}.log")

    def restart_slurmctld(self) -> None:
        """As an administrator does where a reconfiguration is not enough."""
        self.daemon("slurmctld").stop()
        self._start("slurmctld", ["-D"], "daemon")
        eventually(lambda: self.run("sinfo", "-h").code == 0, "slurmctld answers")

    def run(self, *words: str, user: str | None = None, within_s: float = PATIENCE_S) -> Answer:
        """One of the site's own Slurm commands, by its administrator or by ``user``, in the researcher's home."""
        environment = {"PATH": f"{self.programs.path[0]}:/usr/bin:/bin", "SLURM_CONF": str(self.conf)}
        who = pwd.getpwnam(user or "root")
        done = subprocess.run(
            words,
            env={**environment, "HOME": str(self.home), "USER": who.pw_name},
            cwd=self.home,
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def sbatch(self, script: str, *options: str, user: str = USER) -> int:
        """The site's own sbatch, by its own user; the job's id."""
        file = self.home / f"job-{secrets.token_hex(4)}.sh"
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)
        said = self.run("sbatch", "--parsable", *options, str(file), user=user)
        assert said.code == 0, said.err
        return int(said.out.split(";")[0])

    def job(self, number: int) -> dict[str, str]:
        """What ``scontrol show job`` says of a job."""
        shown = self.run("scontrol", "-o", "show", "job", str(number))
        assert shown.code == 0, shown.err
        words = (word.partition("=") for word in shown.out.split(" "))
        return {name: value for name, equals, value in words if equals}

    def comment(self, number: int) -> str:
        """A job's AdminComment, whole."""
        shown = self.run("scontrol", "-o", "show", "job", str(number)).out
        return found[1].strip() if (found := re.search(r"AdminComment=(.*?) (?:Comment|StdErr)=", shown)) else ""

    def until(self, number: int, *states: str) -> dict[str, str]:
        """Wait for one of ``states``; what is then known of the job."""
        return eventually(
            lambda: (job := self.job(number))["JobState"] in states and job, f"job {number} {states}", PATIENCE_S * 2
        )

    def node(self, name: str) -> str:
        """A node's state as sinfo prints it; "" for one that it does not know."""
        return self.run("sinfo", "-h", "-N", "-n", name, "-o", "%T").out.partition("\n")[0]

    def files(self) -> dict[str, tuple[str, int, int]]:
        """Name → digest, mode and owner of every file of its configuration."""
        found = {}
        for path in sorted(self.etc.iterdir()):
            status = path.stat()
            found[path.name] = (hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mode, status.st_uid)
        return found

    def _start(self, name: str, words: list[str], user: str | None, node: str = "") -> None:
        program = [str(self.programs.program(name)), *words]
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SLURM_CONF": str(self.conf),
            "RES_OPTIONS": "attempts:0",
        }
        self.daemon(f"{name}-{node}" if node else name).start([*drop, *program], env=environment, cwd=Path("/"))


@contextmanager
def foreign_cluster() -> Iterator[ForeignCluster]:
    """A site of its own in a new directory, running; BURST_TEST_KEEP=1 keeps the directory, to look at its logs."""
    programs = distribution.find("auto", shared_cache(), "trixie", print)
    cluster = ForeignCluster(Path(tempfile.mkdtemp(prefix="burst-foreign-")), programs)
    try:
        _furnish(cluster)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        if os.environ.get("BURST_TEST_KEEP"):
            print(f"kept: {cluster.top}")  # noqa: T201 - asked for
        else:
            shutil.rmtree(cluster.top)


def _furnish(cluster: ForeignCluster) -> None:
    top = cluster.top
    top.chmod(0o755)
    for name in ("etc", "log", "run", "spool"):
        (top / name).mkdir()
    for name, owner in (("munge", "root"), ("state", "daemon"), ("home", USER)):
        (top / name).mkdir(mode=0o755)
        shutil.chown(top / name, owner)
    shutil.chown(top / "run", "daemon")
    cluster.munge_key.write_bytes(secrets.token_bytes(128))
    cluster.munge_key.chmod(0o400)
    chosen = ports.remembered(top / "ports.json", {"slurmctld": 1, "n1": len(LOCAL)})
    chosen["n2"] = chosen["n1"] + 1
    host = socket.gethostname().split(".")[0]
    facts = {"host": host, "top": top, "plugins": cluster.programs.plugin_dir, **chosen}
    cluster.conf.write_text(SLURM_CONF.format(**facts))
    (cluster.etc / "nodes.conf").write_text(NODES_CONF.format(**facts))
    lua = cluster.etc / "job_submit.lua"
    lua.write_text(OWN_LUA)
    lua.chmod(0o640)
    shutil.chown(lua, "daemon")
    resume = top / "resume-rack5"
    resume.write_text(OWN_RESUME.format(top=top))
    resume.chmod(0o755)
    (cluster.etc / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
