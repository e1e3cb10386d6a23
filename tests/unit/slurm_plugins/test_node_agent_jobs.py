"""Prolog and epilog as slurmd runs them, against a real object store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from agent_site import BURST_ID, CREDENTIAL, NODE, SLURM_ID, named, until

from gateway.jobs.job import StageIn
from gateway.wire import JobStore

MEMORY_MB = 80
"""What the agent may take, whatever the size of the files; Python alone takes about 25."""


def put_input(site, content: bytes, destination: str) -> StageIn:
    digest = hashlib.sha256(content).hexdigest()
    key = f"inputs/demo/{digest}"
    site.store.put_bytes(key, content)
    return StageIn("somewhere", destination, key=key, size=len(content), sha256=digest)


def test_prolog_makes_the_job_a_place(site):
    """Its folders are its own and closed to others; its inputs are there; so is its credential."""
    site.inputs = [put_input(site, b"one", "in.dat"), put_input(site, b"two" * 100000, "deep/er/in.dat")]
    assert site.run("prolog") == 0
    assert (site.work / "in.dat").read_bytes() == b"one"
    assert (site.work / "deep/er/in.dat").read_bytes() == b"two" * 100000
    for folder in ("work", "home", "tmp"):
        assert (site.directory / folder).stat().st_mode & 0o777 == 0o700
    token = site.directory / "token"
    assert token.read_text() == CREDENTIAL
    assert token.stat().st_mode & 0o777 == 0o400
    assert sorted(path.name for path in site.work.rglob("*.part")) == []
    assert not (site.directory / "store.json").exists()


def test_a_job_with_keys_finds_its_place_in_the_store(site):
    """Bucket, output prefix and the keys of its inputs, in a file that only its user reads, outside its outputs."""
    site.job_store = JobStore(bucket="b", output_prefix="jobs/1/0/objects/", inputs={"in.dat": "inputs/ada/1"})
    assert site.run("prolog") == 0
    file = site.directory / "store.json"
    assert json.loads(file.read_text()) == {
        "bucket": "b",
        "output_prefix": "jobs/1/0/objects/",
        "inputs": {"in.dat": "inputs/ada/1"},
    }
    assert file.stat().st_mode & 0o777 == 0o400
    assert site.run("epilog") == 0
    assert site.staged() == {}


def test_a_job_leaves_what_it_made_or_changed(site):
    """New, changed, renamed and touched files are outputs; unchanged and deleted ones are not."""
    names = ("same", "changed", "renamed", "deleted", "grown", "replaced", "deep/same")
    site.inputs = [put_input(site, f"input {name}".encode(), name) for name in names]
    site.run("prolog")
    work = site.work
    (work / "new").write_bytes(b"new")
    (work / "empty").touch()
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "c").write_bytes(b"deep")
    (work / "changed").write_bytes(b"INPUT CHANGED"[:13])
    (work / "renamed").rename(work / "renamed to")
    (work / "deleted").unlink()
    with (work / "grown").open("ab") as file:
        file.write(b" and more")
    old = (work / "replaced").stat()
    (work / "tmp").write_bytes(b"INPUT replaced")
    (work / "tmp").rename(work / "replaced")
    os.utime(work / "replaced", ns=(old.st_atime_ns, old.st_mtime_ns))
    assert site.run("epilog") == 0, site.log
    assert site.staged() == {
        "new": b"new",
        "empty": b"",
        "a/b/c": b"deep",
        "changed": b"INPUT CHANGED",
        "renamed to": b"input renamed",
        "grown": b"input grown and more",
        "replaced": b"INPUT replaced",
    }
    assert site.manifest().errors == ()
    for entry in site.manifest().entries:
        assert entry.key == f"files/{NODE}/{entry.path}"
        assert entry.sha256 == hashlib.sha256(site.staged()[entry.path]).hexdigest()


def test_nothing_stays_on_the_node(site):
    """After the epilog neither the job's folder, nor its credential, nor the agent's notes on it are left."""
    site.run("prolog")
    assert site.run("epilog") == 0
    assert not site.directory.exists()
    assert list((site.state / "jobs").iterdir()) == []
    assert [path for path in site.jobs.iterdir() if path.name != ".lock"] == []


ODD_NAMES = [
    b"plain.txt",
    b"with\nnewline",
    b"tab\tand\x01control",
    "größe-日本-\N{GRINNING FACE}".encode(),
    "decomposed-o\N{COMBINING DIAERESIS}".encode(),
    "decomposed-\N{LATIN SMALL LETTER O WITH DIAERESIS}".encode(),
    b"not-utf8-\xff\xfe",
    b"not-utf8-\\xff\\xfe",
    b" leading and trailing ",
    b"percent%2Fslash?query#hash&amp;+plus",
    b"quote'\"`$(touch x);*[a]",
    b".hidden",
    b"-rf",
    b"back\\slash",
    b".rclone_temp_put_x",
    b"n" * 255,
    b"deep/" * 60 + b"file",
]


def test_any_name_that_linux_allows(site):
    """Every file arrives with its content under a path that is text, whatever bytes its name is made of."""
    site.run("prolog")
    for name in ODD_NAMES:
        path = site.work / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    assert site.run("epilog") == 0, site.log
    staged = site.staged()
    assert sorted(staged.values()) == sorted(ODD_NAMES)
    assert site.manifest().errors == ()
    for path, name in staged.items():
        if name.decode(errors="ignore").encode() == name and name != b"not-utf8-\\xff\\xfe":
            assert path == name.decode()
    assert {staged[path] for path in staged if path.startswith("not-utf8")} == set(ODD_NAMES[6:8])


def test_links_and_other_kinds_of_file(site, tmp_path):
    """A link inside is followed once; one that leaves, dangles or is no file's is named, and not read."""
    secret = tmp_path / "secret"
    secret.write_text("not the job's")
    site.run("prolog")
    work = site.work
    (work / "folder").mkdir()
    (work / "folder" / "real").write_bytes(b"real")
    (work / "inside").symlink_to("folder/real")
    (work / "inside folder").symlink_to("folder")
    (work / "loop").symlink_to("loop")
    (work / "outside").symlink_to(secret)
    (work / "outside folder").symlink_to(tmp_path)
    (work / "dangling").symlink_to("nothing")
    (work / "token").symlink_to("../token")
    os.mkfifo(work / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(work)
        listener.bind("socket")
        os.chdir(here)
        assert site.run("epilog") == 0, site.log
    assert site.staged() == {"folder/real": b"real", "inside": b"real"}
    told = "\n".join(site.manifest().errors)
    for name in ("loop", "outside", "outside folder", "dangling", "token", "fifo", "socket"):
        assert f"{NODE}: {name}: " in told
    assert len(site.manifest().errors) == 7


def test_globs_choose_what_is_staged_out(site):
    """With --stage-out only what matches, what is below a named folder, and what the job printed is kept."""
    site.stage_out = ("*.dat", "results", "logs/")
    site.environment = {"BURST_STDOUT": "run.txt", "BURST_STDERR": "errors/run.txt"}
    site.run("prolog")
    kept = ["a.dat", "deep/b.dat", "results/x", "results/deep/y", "logs/z", "run.txt", "errors/run.txt", "slurm-12.out"]
    for name in [*kept, "scratch.bin", "resultsnot", "errors/other"]:
        (site.work / name).parent.mkdir(parents=True, exist_ok=True)
        (site.work / name).write_text(name)
    (site.work / "scratch.fifo").symlink_to("/etc/passwd")
    site.run("epilog")
    assert sorted(site.staged()) == sorted(kept)
    assert site.manifest().errors == ()


def test_a_file_nobody_may_read_is_named(site):
    """Where rights stop the job's user they stop the agent; the other files are kept."""
    if site.uid == 0:
        pytest.skip("nothing stops root; test_node_agent_user.py has this as another user")
    site.run("prolog")
    (site.work / "closed").write_text("x")
    (site.work / "closed").chmod(0)
    (site.work / "open").write_text("y")
    assert site.run("epilog") == 0
    assert site.staged() == {"open": b"y"}
    assert site.manifest().errors == (f"{NODE}: closed: not opened: Permission denied",)
    assert not site.directory.exists()


def test_a_large_file_takes_little_memory(site):
    """200 MB in and 200 MB out, a block at a time."""
    content = os.urandom(1 << 20) * 200
    site.inputs = [put_input(site, content, "in.dat")]
    for context in ("prolog", "epilog"):
        process = site.start(context)
        assert peak_memory_mb(process) < MEMORY_MB
        assert process.returncode == 0
        if context == "prolog":
            (site.work / "in.dat").rename(site.work / "out.dat")
    [entry] = site.manifest().entries
    assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert site.store.head(site.attempt.prefix + entry.key).size == len(content)


def peak_memory_mb(process: subprocess.Popen) -> int:
    """VmHWM (proc_pid_status(5)) as last seen; getrusage would count what the process was before its exec."""
    peak = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = int(found.group(1)) >> 10 if found else peak
        threading.Event().wait(0.005)
    return peak


def test_a_sparse_file_arrives_whole(site):
    """Holes are zeros in the store."""
    site.run("prolog")
    with (site.work / "sparse").open("wb") as file:
        file.truncate(5_000_000)
        file.seek(4_000_000)
        file.write(b"end")
    site.run("epilog")
    assert site.staged()["sparse"] == bytes(4_000_000) + b"end" + bytes(999_997)


def test_inputs_that_cannot_be_had_cancel_the_job(site):
    """Wrong content is the job's trouble: the gateway is told, the node is not drained, the epilog reports it."""
    wrong = put_input(site, b"expected", "in.dat")
    site.store.put_bytes(wrong.key, b"tampered")
    site.inputs = [wrong]
    assert site.run("prolog") == 0
    [said] = named(site, "prolog-failed")
    assert said["scheduler_id"] == SLURM_ID
    assert "in.dat" in said["error"]
    assert "SHA-256" in said["error"]
    assert not (site.work / "in.dat").exists()
    assert site.run("epilog") == 0
    assert site.staged() == {}
    assert "in.dat" in site.manifest().errors[0]
    assert not site.directory.exists()


@pytest.mark.parametrize("destination", ["../out", "/etc/burst-was-here", "a/../../b"])
def test_an_input_never_leaves_the_working_directory(site, destination):
    """Even if the gateway were to ask for it."""
    good = put_input(site, b"x", "good")
    reply = site._prolog({"scheduler_id": SLURM_ID})[1]
    url = site.store.presign_get(good.key, 60, "node")
    reply["inputs"] = [{"destination": destination, "size": 1, "sha256": good.sha256, "url": url}]
    site.hook = lambda name, said: (200, site.vouched(reply, said["nonce"])) if name == "prolog" else None
    assert site.run("prolog") == 0
    assert "would leave" in named(site, "prolog-failed")[0]["error"]
    assert not Path("/etc/burst-was-here").exists()


def test_a_directory_elsewhere_is_refused(site):
    """A job's directory lies directly below the one for them."""
    for directory in ("/srv/elsewhere", f"{site.jobs}/../x", f"{site.jobs}/..", f"{site.jobs}/a/b"):
        reply = {**site._prolog({"scheduler_id": SLURM_ID})[1], "directory": directory}
        site.hook = lambda name, said, plan=reply: (
            (200, site.vouched(plan, said["nonce"])) if name == "prolog" else None
        )
        assert site.run("prolog") == 0
        assert "no place for a job" in named(site, "prolog-failed")[-1]["error"]


def test_a_job_of_somebody_else_is_left_alone(site):
    """A Slurm may run jobs that the gateway does not know."""
    site.hook = lambda name, _: (404, {}) if name == "prolog" else None
    assert site.run("prolog") == 0
    assert site.run("epilog") == 0
    assert not site.directory.exists()
    assert named(site, "epilog") == []


def test_a_requeued_job_starts_clean(site):
    """What an attempt left is not there for the next one, and the next one's outputs are its own."""
    site.run("prolog")
    (site.work / "of the first").write_text("x")
    site.attempt = type(site.attempt)(BURST_ID, -1, 1, SLURM_ID, "RUNNING", (NODE,))
    assert site.run("prolog") == 0
    assert list(site.work.iterdir()) == []
    (site.work / "of the second").write_text("y")
    assert site.run("epilog") == 0
    assert site.staged() == {"of the second": b"y"}


def test_a_prolog_that_ran_already_changes_nothing(site):
    """Run twice, it does not undo what the job did meanwhile."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    assert site.run("prolog") == 0
    assert site.run("epilog") == 0
    assert site.staged() == {"out": b"x"}


def test_on_a_shared_file_system_only_the_leader_stages(site):
    """Another node of the job touches nothing and reports an empty part."""
    site.shared, site.leader = True, False
    site.joined()
    site.directory.mkdir(parents=True)
    (site.directory / "of the leader").write_text("x")
    assert site.run("prolog") == 0
    assert site.run("epilog") == 0
    assert named(site, "epilog") == [{"scheduler_id": SLURM_ID, "attempt": "0", "files": [], "errors": []}]
    assert (site.directory / "of the leader").exists()


def test_tasks_of_an_array_share_a_directory_until_the_last_has_ended(site):
    """The first task's end takes nothing from the second."""
    site.shared = True
    site.joined()
    site.run("prolog")
    other = site.directory / "holders" / "13"
    other.touch()
    (site.work / "out").write_text("x")
    assert site.run("epilog") == 0
    assert site.work.exists()
    other.unlink()
    site.run("prolog")
    assert not (site.work / "out").exists()


def test_what_a_running_job_prints_is_shown(site):
    """The end of stdout is in the store while the job runs; when the epilog has run, nobody uploads any more."""
    site.run("prolog")
    printed = site.work / f"slurm-{SLURM_ID}.out"
    printed.write_text("hello\n")
    live = f"{site.attempt.prefix}live/stdout"
    until(lambda: site.store.head(live) is not None)
    assert site.store.get_bytes(live) == b"hello\n"
    printed.write_text("hello\nworld\n")
    until(lambda: site.store.get_bytes(live) == b"hello\nworld\n")
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if is_live(p, site)]
    site.run("epilog")
    until(lambda: not [p for p in Path("/proc").glob("[0-9]*/cmdline") if is_live(p, site)])


def is_live(path: Path, site) -> bool:
    try:
        return f"{site.state}\0--patience\0000\0live" in path.read_text()
    except OSError:
        return False


def test_no_secret_is_told(site):
    """Neither the log, nor argv, nor what slurmd sees of the agent has a key, a credential or a presigned URL."""
    site.inputs = [put_input(site, b"x", "in.dat")]
    seen = []

    def look(_name: str, _said: dict):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            pid = path.parent
            try:
                if str(site.agent) in path.read_text():
                    seen.append(path.read_text() + (pid / "environ").read_text())
            except OSError:
                continue

    site.hook = look
    site.run("prolog")
    outputs = [site.output]
    (site.work / "out").write_text("x")
    site.store.delete(site.inputs[0].key)
    site.close()
    site.run("epilog", patience=1)
    outputs.append(site.output)
    site.open()
    site.run("epilog")
    told = "\n".join([*seen, *outputs, site.log])
    assert seen
    for secret in (
        CREDENTIAL,
        site.key.as_dict(private=True)["d"],
        "PRIVATE KEY",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "Bearer",
    ):
        assert secret not in told
    assert site.state.stat().st_mode & 0o777 == 0o700


def test_it_needs_a_node_that_has_joined(tmp_path, site):
    """Without an identity it says so in a line and fails."""
    (site.state / "identity.json").unlink()
    assert site.run("prolog") == 1
    assert "identity.json" in site.output
    assert "Traceback" not in site.output


def test_it_says_how_it_is_used(site):
    """Without a word and without slurmd's context it does nothing."""
    done = subprocess.run(site.command(), capture_output=True, text=True, env={}, check=False)
    assert done.returncode == 2
    assert "say run, prolog or epilog" in done.stderr
