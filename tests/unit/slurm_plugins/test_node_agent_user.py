"""On a machine of its own the agent is root and the job is not: what lies between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from agent_site import NODE, AgentSite

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user"),
]

NOBODY = 65534


@pytest.fixture
def theirs(embedded):
    """A node whose jobs run as nobody; pytest's own folders are closed to nobody."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    store = embedded.open()
    for key, _ in list(store.list("jobs/")):
        store.delete(key)
    site = AgentSite(folder, store, uid=NOBODY, gid=NOBODY).joined()
    yield site
    site.close()
    shutil.rmtree(folder)


def as_nobody(script: str, directory: Path) -> None:
    """Run a job script as slurmd would."""
    subprocess.run(["sh", "-ec", script], cwd=directory, user=NOBODY, group=NOBODY, extra_groups=[], check=True)


def test_the_jobs_folders_and_token_are_its_users(theirs):
    """It may write below its folders and read its credential, and can replace neither."""
    theirs.run("prolog")
    as_nobody("cat ../token > got; echo x > ../home/x; echo y > ../tmp/y", theirs.work)
    for name in ("work", "home", "tmp", "token"):
        assert (theirs.directory / name).stat().st_uid == NOBODY
    for script in ("rm -f ../token", "mv ../work ../other", "touch ../more", f"cat {theirs.state}/node.key"):
        with pytest.raises(subprocess.CalledProcessError):
            as_nobody(script, theirs.work)
    assert theirs.run("epilog") == 0
    assert list(theirs.staged()) == ["got"]
    assert not theirs.directory.exists()


def test_root_reads_nothing_that_the_job_could_not(theirs):
    """Links to, and names of, what only root may read give the job nothing."""
    secret = theirs.root / "secret"
    secret.write_text("only root's")
    secret.chmod(0o600)
    theirs.run("prolog")
    as_nobody(
        "echo open > open; echo x > closed; chmod 0 closed; mkdir shut; echo x > shut/in; chmod 0 shut", theirs.work
    )
    # A second name for root's file, which protected_hardlinks would keep the job itself from making.
    (theirs.work / "hard").hardlink_to(secret)
    assert theirs.run("epilog") == 0
    assert theirs.staged() == {"open": b"open\n"}
    assert [error.partition(" ")[2] for error in theirs.manifest().errors] == [
        "shut: Permission denied",
        "closed: not opened: Permission denied",
        "hard: not opened: Permission denied",
    ]
    assert not theirs.directory.exists()


def test_a_folder_swapped_for_a_link_leads_nowhere(theirs):
    """An input is written with the job user's rights, even where that user has put a link in its way."""
    theirs.run("prolog")
    target = theirs.root / "roots"
    target.mkdir(mode=0o755)
    as_nobody(f"ln -s {target} results", theirs.work)
    assert theirs.run("epilog") == 0
    assert theirs.manifest().errors == (f"{NODE}: results: a link that leaves the working directory",)
    assert target.exists()


def test_what_the_job_left_running_is_killed(theirs):
    """Where the node is a machine, nobody's processes end with the job; tried in a process tree of its own."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a process namespace")
    theirs.run("prolog")
    identity = theirs.state / "identity.json"
    identity.write_text(identity.read_text().replace('"isolated": false', '"isolated": true'))
    script = f"""
        setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups sh -c 'echo x > out; exec sleep 1000' &
        job=$!
        while [ ! -s out ]; do sleep 0.05; done
        sleep 1000 & roots=$!
        {" ".join(theirs.command())} || exit 3
        wait $job; [ $? = 137 ] || exit 4
        kill $roots || exit 5
    """
    environment = {**theirs.slurmd_environment("epilog"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        cwd=theirs.work,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, theirs.log
    assert theirs.staged() == {"out": b"x\n"}
