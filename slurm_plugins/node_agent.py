#!/usr/bin/python3
"""The agent of an elastic node: it joins the cluster, keeps the node's lease, and moves a job's files in and out.

    node_agent.py run [--process] [--join FILE]   the node's daemon
    node_agent.py prolog | epilog                 around each job, by slurmd; SLURM_SCRIPT_CONTEXT may say which
    node_agent.py live ID PARENT                  by prolog: shows what a running job prints

Below ROOT (0700): identity.json, what the one-time token was traded for; jobs/ID/, a job's plan, the snapshot taken
before it ran and the list of what is in the store already; agent.log.

Invariant: no secret is in argv, in the environment or in the log; what lies below a job's directory is opened with
the job user's own rights; each command may be killed at any line and run again.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import fnmatch
import hashlib
import hmac
import http.client
import json
import logging
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

BLOCK = 1 << 20
BATCH = 500
"""URLs asked for at once; the gateway gives up to 1000."""
READS = 3
"""How often a file that changes while it is read is read."""
KEY_BYTES = 700
"""S3 takes keys of 1024 bytes (UTF-8), and the job's own prefix comes before ours."""
LIVE_S, LIVE_BYTES = 2.0, 1 << 20

log = logging.getLogger("agent")
Json = dict[str, Any]
T = TypeVar("T")


class Unavailable(Exception):
    """Nobody answered, or the answer was "later"."""


class Refused(Exception):
    """The answer is no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class FileTrouble(Exception):
    """One file of a job cannot be staged."""


def main() -> int:
    """Run one command and return its exit code; a prolog's or epilog's other than 0 makes slurmd drain the node."""
    os.umask(0o022)
    options = _options()
    root = Path(options.root.replace("%n", os.environ.get("SLURMD_NODENAME", "")))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    shape = f"%(asctime)s {options.command}[{os.getpid()}] %(message)s"
    logging.basicConfig(filename=root / "agent.log", format=shape, level=logging.INFO)
    try:
        if options.command == "run":
            return run(root, Path(options.join), options.patience, process=options.process)
        node = Node(root, json.loads((root / "identity.json").read_text()), options.patience)
        if options.command == "live":
            return live(node, options.id, options.parent)
        job = Job(*(int(os.environ[f"SLURM_JOB_{name}"]) for name in ("ID", "UID", "GID")))
        return prolog(node, job) if options.command == "prolog" else epilog(node, job)
    except (Unavailable, Refused, FileTrouble, OSError, subprocess.CalledProcessError) as error:
        log.error("gave up: %s", error)  # noqa: TRY400 - a trace adds lines, not knowledge
        print(f"node_agent {options.command}: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    root = os.environ.get("BURST_AGENT_ROOT", "/var/lib/burst")
    parser.add_argument("--root", default=root, help="its own folder; %%n is SLURMD_NODENAME")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds to wait for one who does not answer")
    commands = parser.add_subparsers(dest="word", metavar="run | prolog | epilog")
    start = commands.add_parser("run")
    start.add_argument("--process", action="store_true", help="the node is only a slurmd, not a machine of its own")
    start.add_argument("--join", default="/etc/burst/join.json")
    show = commands.add_parser("live")
    show.add_argument("id", type=int)
    show.add_argument("parent", type=int)
    commands.add_parser("prolog")
    commands.add_parser("epilog")
    options = parser.parse_args()
    # slurmd gives its programs no arguments, but it says what they are: prolog_slurmd, epilog_slurmd.
    options.command = options.word or os.environ.get("SLURM_SCRIPT_CONTEXT", "").removesuffix("_slurmd")
    if options.command not in commands.choices:
        parser.error("say run, prolog or epilog")
    return options


# ------------------------------------------------------------------------------------------------ the node's daemon


def run(root: Path, join_file: Path, patience: float, *, process: bool) -> int:
    """Become one of Slurm's nodes for as long as the gateway renews the lease, then end this machine."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    node = Node(root, joined(root, join_file, patience, process=process), patience)
    log.info("joined as %s", node.kid)
    if process:
        with own_slurmd(node) as alive:
            keep_lease(node, alive)
        return 0
    start_system_slurmd(node.identity)
    keep_lease(node, lambda: True)
    subprocess.run(["systemctl", "poweroff"], check=True)
    return 0


def joined(root: Path, join_file: Path, patience: float, *, process: bool) -> Json:
    """This node's identity: the one it has, or what it gets for its one-time token.

    A lost reply is asked for again with the same nonce, which nobody but this node ever knew.
    """
    identity_file = root / "identity.json"
    if identity_file.exists():
        return dict(json.loads(identity_file.read_text()))
    invitation = json.loads(join_file.read_text())
    if "nonce" not in invitation:
        invitation["nonce"] = secrets.token_hex(16)
        write_privately(join_file, json.dumps(invitation))
    request = {"node": invitation["node"], "token": invitation["token"], "inventory": _inventory(invitation["nonce"])}
    url = invitation["gateway_url"].rstrip("/") + "/api/v1/nodes/join"
    reply = patiently(lambda: web.post(url, json.dumps(request).encode(), {}), patience)
    kept = {name: value for name, value in invitation.items() if name not in {"token", "nonce"}}
    identity = {**kept, **reply, "isolated": not process}
    write_privately(identity_file, json.dumps(identity))
    write_privately(join_file, json.dumps(kept))
    return identity


def _inventory(nonce: str) -> Json:
    """What this machine has, to be compared with what was ordered."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    agent = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return {"nonce": nonce, "cpus": os.cpu_count(), "memory_mb": memory >> 20, "agent_sha256": agent}


def start_system_slurmd(identity: Json) -> None:
    """Give Debian's munge and slurmd their key and options, and start them; this file is slurmd's prolog and epilog."""
    Path(__file__).chmod(0o755)
    munge = pwd.getpwnam("munge")
    key = base64.b64decode(identity["munge_key"])
    write_privately(Path("/etc/munge/munge.key"), key, 0o400, (munge.pw_uid, munge.pw_gid))
    options = f"-b -N {identity['node']} --conf-server {identity['slurm_conf_server']}"
    Path("/etc/default/slurmd").write_text(f'SLURMD_OPTIONS="{options}"\n')
    subprocess.run(["systemctl", "restart", "munge", "slurmd"], check=True)


@contextlib.contextmanager
def own_slurmd(node: Node) -> Iterator[Callable[[], bool]]:
    """A slurmd as a child, which ends with the agent; yields what tells whether it lives."""
    conf = node.identity["slurm_conf"]
    command = [node.identity.get("slurmd", "slurmd"), "-D", "-b", "-N", node.identity["node"], "-f", conf]
    if stepd := node.identity.get("slurmstepd"):
        command += ["-d", stepd]
    with (node.root / "slurmd.log").open("ab") as output:
        slurmd = subprocess.Popen(command, env={**os.environ, "SLURM_CONF": conf}, stdout=output, stderr=output)
    try:
        yield lambda: slurmd.poll() is None
    finally:
        slurmd.terminate()
        slurmd.wait()


def keep_lease(node: Node, alive: Callable[[], bool]) -> None:
    """Return when the gateway wants the node drained, or has not renewed its lease for twice the lease's time."""
    seconds = float(node.identity["lease_seconds"])
    ends, due = _uptime() + 2 * seconds, 0.0
    while alive() and _uptime() < ends:
        if _uptime() >= due:
            due = _uptime() + min(seconds / 3, 5.0)
            with contextlib.suppress(Unavailable, Refused):
                reply = node.ask("nodes/self/lease", {})
                if reply["drain"]:
                    log.info("the gateway wants this node drained")
                    return
                seconds = float(reply["lease_seconds"])
                ends, due = _uptime() + 2 * seconds, _uptime() + seconds / 3
        time.sleep(min(1.0, seconds / 6))
    log.info("slurmd has ended, or the lease was not renewed")


def _uptime() -> float:
    """Seconds since boot, those in which the machine was suspended included: a lease runs on in them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# ---------------------------------------------------------------------------------------------------- before a job


def prolog(node: Node, job: Job) -> int:
    """Make the job's directory, fetch its inputs, hand it its credential, note what is there before it runs.

    Inputs that cannot be had are the job's trouble and not the node's: the gateway cancels the job before it answers
    ``prolog-failed``, and the node stays in service.
    """
    try:
        plan = node.post("nodes/self/prolog", {"scheduler_id": job.id})
    except Refused as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise
        log.info("job %d is none of the gateway's", job.id)
        return 0
    book = node.book(job.id)
    if book.get("snapshot") is not None and book.get("plan")["attempt"] == plan["attempt"]:
        return 0
    stages = plan["leader"] or not node.identity["shared_filesystem"]
    book.start({**plan, "stages": stages, "scheduler_id": job.id, "uid": job.uid, "gid": job.gid})
    if not stages:
        return 0
    try:
        prepare(node, job, plan)
        book.put("snapshot", {file.name: file.stamp for file in survey(node.directory(plan) / "work", job)})
        start_live(node, job)
    except (FileTrouble, Refused, Unavailable) as error:
        log.warning("job %d cannot start: %s", job.id, error)
        book.put("failure", str(error))
        node.post("nodes/self/prolog-failed", {"scheduler_id": job.id, "error": str(error)})
    return 0


def prepare(node: Node, job: Job, plan: Json) -> None:
    """Make DIRECTORY/{work,home,tmp}, put the inputs below work and the credential into token.

    DIRECTORY itself is the agent's, so the job can replace neither the token nor the folders. On a shared file system
    the tasks of an array have one DIRECTORY: each holds it, the first makes it and the last removes it.
    """
    directory = node.directory(plan)
    holders = directory / "holders"
    with node.lock():
        if not (holders.is_dir() and set(os.listdir(holders)) - {str(job.id)}):
            remove_tree(directory)
        holders.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)
        (holders / str(job.id)).touch()
        for folder in (directory / name for name in ("work", "home", "tmp")):
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, job.uid, job.gid)
    for wanted in plan["inputs"]:
        fetch(wanted, directory / "work", job, node.patience)
    write_privately(directory / "token", plan["credential"].encode(), 0o400, (job.uid, job.gid))


def fetch(wanted: Json, work: Path, job: Job, patience: float) -> None:
    """Download one input; at its destination it is only ever whole and verified."""
    destination = PurePosixPath(wanted["destination"])
    if destination.is_absolute() or ".." in destination.parts or not destination.name:
        raise FileTrouble(f"input {destination} would leave the working directory")
    target = work / destination
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    with trouble(f"input {destination}"):
        with acting_as(job):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("xb")
        with file:
            digest = patiently(lambda: download(wanted["url"], file), patience)
        if digest != wanted["sha256"]:
            raise FileTrouble(f"input {destination} is not what was uploaded: its SHA-256 is {digest}")
        with acting_as(job):
            temporary.replace(target)


def download(url: str, file: BinaryIO) -> str:
    """Fill ``file`` with what is at ``url`` and return its SHA-256."""
    file.seek(0)
    file.truncate()
    digest = hashlib.sha256()

    def take(block: bytes) -> None:
        digest.update(block)
        with trouble("not written"):
            file.write(block)

    web.exchange("GET", url, take=take)
    return digest.hexdigest()


def start_live(node: Node, job: Job) -> None:
    """Leave a child that shows what the job prints; it ends when epilog takes its file away."""
    node.book(job.id).live.touch()
    command = [sys.executable, __file__, "--root", str(node.root), "--patience", "0"]
    command += ["live", str(job.id), str(os.getppid())]
    # slurmd kills the prolog's process group when the prolog ends; a session of its own is not in it.
    none = subprocess.DEVNULL
    subprocess.Popen(command, stdin=none, stdout=none, stderr=none, start_new_session=True)


def live(node: Node, number: int, parent: int) -> int:
    """Upload the end of the job's stdout as live/stdout whenever it has grown, until epilog runs or slurmd is gone."""
    book = node.book(number)
    plan = book.get("plan")
    job = Job(number, plan["uid"], plan["gid"])
    path = node.directory(plan) / "work" / plan["environment"].get("BURST_STDOUT", f"slurm-{number}.out")
    shown = 0
    while book.live.exists() and Path(f"/proc/{parent}").exists():
        with contextlib.suppress(Unavailable, FileTrouble), opened(str(path), job) as file:
            size = os.fstat(file.fileno()).st_size
            if size != shown:
                file.seek(max(0, size - LIVE_BYTES))
                web.exchange("PUT", node.presign(plan, ["live/stdout"])[0], file.read(LIVE_BYTES))
                shown = size
        time.sleep(LIVE_S)
    return 0


# ----------------------------------------------------------------------------------------------------- after a job


def epilog(node: Node, job: Job) -> int:
    """Put what the job made or changed into the store, report it, remove the job's directory.

    Run again after it was cut off, it goes on where it was; run again after it was done, it does nothing.
    """
    book = node.book(job.id)
    plan = book.get("plan")
    if plan is None:
        return 0
    book.live.unlink(missing_ok=True)
    if node.identity["isolated"]:
        end_processes_of(job)
    try:
        report(node, job, plan)
    except Refused as refusal:
        # The store may have lost what the list says it has: once more, from the start.
        log.warning("job %d: refused: %s", job.id, refusal)
        book.uploads.unlink(missing_ok=True)
        report(node, job, plan)
    if plan["stages"]:
        with node.lock():
            holders = node.directory(plan) / "holders"
            (holders / str(job.id)).unlink(missing_ok=True)
            if not (holders.is_dir() and os.listdir(holders)):
                remove_tree(holders.parent)
    remove_tree(book.folder)
    return 0


def end_processes_of(job: Job) -> None:
    """Kill what the job left running. Only where a node is a machine: there its user has no other business."""
    if job.uid == 0 or os.geteuid() != 0:
        return
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(job.gid)
            os.setuid(job.uid)
            # One call for all of them, so that no fork escapes it: kill(2), pid -1.
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def report(node: Node, job: Job, plan: Json) -> None:
    """Stage out, then tell the gateway what is in the store, and what could not be put there and why."""
    book = node.book(job.id)
    files: list[Json] = []
    errors: list[str] = []
    if book.get("snapshot") is not None:
        files, errors = stage_out(node, job, plan)
    elif plan["stages"]:
        errors = [book.get("failure") or "the job's directory was not made"]
    body = {"scheduler_id": job.id, "attempt": plan["attempt"], "files": files, "errors": errors[:1000]}
    node.post("nodes/self/epilog", body)
    log.info("job %d: %d files staged out, %d errors", job.id, len(files), len(errors))


def stage_out(node: Node, job: Job, plan: Json) -> tuple[list[Json], list[str]]:
    """Upload each file that is wanted and new or changed since the snapshot; return the manifest's part and errors."""
    book = node.book(job.id)
    before, done = book.get("snapshot"), book.uploaded()
    found = named(survey(node.directory(plan) / "work", job), node.identity["node"])
    found = [file for file in found if before.get(file.name) != file.stamp and wanted(plan, file.path)]
    outputs = [file for file in found if not file.trouble]
    errors = [f"{file.path}: {file.trouble}" for file in found if file.trouble]
    waiting = [file for file in outputs if done.get(file.key, {}).get("stamp") != file.stamp]
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        for file, url in zip(batch, node.presign(plan, [file.key for file in batch]), strict=True):
            try:
                done[file.key] = upload(node, job, plan, file, url)
                book.note(done[file.key])
            except FileTrouble as reason:
                errors.append(f"{file.path}: {reason}")
    entries = [done[file.key] for file in outputs if file.key in done]
    errors += [f"{entry['path']}: was still being written" for entry in entries if not entry["still"]]
    return [{name: entry[name] for name in ("path", "key", "size", "sha256")} for entry in entries], errors


def named(files: Iterable[File], node: str) -> list[File]:
    r"""Give each file a path for the manifest, which is text, and a key that every object store takes.

    Bytes that are not UTF-8 become ``\xNN`` in the path. rclone keeps names that begin with ".rclone_" for itself.
    """
    taken: dict[str, File] = {}
    for file in files:
        raw = os.fsencode(file.name)
        digest = hashlib.sha256(raw).hexdigest()
        path = raw.decode("utf-8", "backslashreplace")
        plain = path == file.name and path.isprintable() and unicodedata.is_normalized("NFC", path)
        plain = plain and len(raw) <= KEY_BYTES and "/.rclone_" not in f"/{path}"
        key = f"files/{node}/{path}" if plain else f"odd/{node}/{digest}"
        path = f"{path}.{digest[:8]}" if path in taken else path
        taken[path] = replace(file, path=path, key=key)
    return list(taken.values())


def wanted(plan: Json, path: str) -> bool:
    """Whether a file is to be staged out: all are; or those below a named folder or matching a glob, and the output.

    A star of a glob also stands for slashes: fnmatch(3) without FNM_PATHNAME.
    """
    if not plan["stage_out"]:
        return True
    printed = (plan["environment"].get(f"BURST_{stream}", "") for stream in ("STDOUT", "STDERR"))
    globs = (*plan["stage_out"], *printed, "slurm-*.out")
    return any(fnmatch.fnmatchcase(path, glob) or path.startswith(glob.rstrip("/") + "/") for glob in globs if glob)


def upload(node: Node, job: Job, plan: Json, file: File, url: str) -> Json:
    """PUT one file, again while it changes meanwhile; every try after the first has a fresh URL."""
    urls = [url]

    def put() -> Json:
        target = urls.pop() if urls else node.presign(plan, [file.key])[0]
        try:
            return send(file, job, target)
        except Refused as refusal:
            if refusal.status == HTTPStatus.FORBIDDEN and target == url:
                raise Unavailable("the URL has expired") from refusal
            raise

    for _ in range(READS):
        entry = patiently(put, node.patience)
        if entry["still"]:
            break
    return entry


def send(file: File, job: Job, url: str) -> Json:
    """Send one file as it is now; ``still`` says that it did not change meanwhile."""
    digest = hashlib.sha256()
    with opened(file.source, job) as content:
        before = stamp_of(os.fstat(content.fileno()))

        def blocks() -> Iterator[bytes]:
            left = before[0]
            while left:
                with trouble("not read"):
                    block = content.read(min(left, BLOCK))
                if not block:
                    raise Unavailable(f"{file.path} became shorter")
                digest.update(block)
                left -= len(block)
                yield block

        web.exchange("PUT", url, blocks(), {"Content-Length": str(before[0])})
        still = before == stamp_of(os.fstat(content.fileno()))
    facts = {"size": before[0], "sha256": digest.hexdigest(), "stamp": before, "still": still}
    return {"path": file.path, "key": file.key, **facts}


# ------------------------------------------------------------------------------------------------ files of the job


@dataclass(frozen=True)
class Job:
    """A job as slurmd tells it: Slurm's id, and whom it runs as."""

    id: int
    uid: int
    gid: int


@dataclass(frozen=True)
class File:
    """A file: its name below the working directory, where to open it, why it cannot be staged; then as ``named``."""

    name: str
    source: str
    stamp: list[int]
    trouble: str = ""
    path: str = ""
    key: str = ""


def survey(work: Path, job: Job) -> list[File]:
    """Everything below ``work`` that is no folder, by name. Links are followed only to files below ``work``."""
    found: list[File] = []

    def unreadable(error: OSError) -> None:
        found.append(File(os.path.relpath(error.filename, work), "", [], error.strerror))

    with acting_as(job):
        for folder, folders, names in os.walk(work, onerror=unreadable):
            found += [look(os.path.join(folder, name), work) for name in names]
            links = (path for name in folders if os.path.islink(path := os.path.join(folder, name)))
            found += [file for file in (look(path, work) for path in links) if file.trouble != FOLDER]
    return sorted(found, key=lambda file: file.name)


FOLDER = "a folder"


def look(path: str, work: Path) -> File:
    """What ``path`` is to staging."""
    name = os.path.relpath(path, work)
    try:
        source = os.path.realpath(path, strict=True)
        status = os.lstat(source)
    except OSError as error:
        return File(name, path, [], error.strerror)
    if not source.startswith(os.path.realpath(work) + "/"):
        return File(name, path, [], "a link that leaves the working directory")
    if stat.S_ISDIR(status.st_mode):
        return File(name, path, [], FOLDER)
    if not stat.S_ISREG(status.st_mode):
        return File(name, path, [], "not a regular file")
    return File(name, source, stamp_of(status))


def stamp_of(status: os.stat_result) -> list[int]:
    """What changes when a file is written, replaced or given another date: size, mtime, inode, ctime."""
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


@contextlib.contextmanager
def opened(path: str, job: Job) -> Iterator[BinaryIO]:
    """A regular file of the job, opened as its user, without following a link or waiting for a FIFO's writer."""
    with trouble("not opened"), acting_as(job):
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0)
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileTrouble("not a regular file")
        yield file  # type: ignore[misc]


@contextlib.contextmanager
def acting_as(job: Job) -> Iterator[None]:
    """Open and make files with no more rights than the job's user has."""
    if os.geteuid() != 0 or job.uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([job.gid])
    os.setegid(job.gid)
    os.seteuid(job.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextlib.contextmanager
def trouble(what: str) -> Iterator[None]:
    """Turn the system's errors into FileTrouble."""
    try:
        yield
    except OSError as error:
        raise FileTrouble(f"{what}: {error.strerror}") from error


def remove_tree(tree: Path) -> None:
    """Remove a folder and all below it, if it is there, whatever rights its owner took from himself."""
    for folder, names, _ in os.walk(tree) if os.geteuid() != 0 else ():
        for path in (Path(folder, name) for name in names if not Path(folder, name).is_symlink()):
            path.chmod(0o700)
    if tree.exists():
        shutil.rmtree(tree)


def write_privately(path: Path, content: bytes, mode: int = 0o600, owner: tuple[int, int] = (-1, -1)) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        os.fchown(file.fileno(), *owner)
        file.write(content)
    temporary.replace(path)


# ----------------------------------------------------------------------------------------- what the agent remembers


class Book:
    """What is known of one job, in files that each are written whole; all are gone when the job is done with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = folder / "live"
        self.uploads = folder / "uploads"

    def start(self, plan: Json) -> None:
        """Forget an earlier attempt and begin."""
        remove_tree(self.folder)
        self.folder.mkdir(parents=True)
        self.put("plan", plan)

    def get(self, name: str) -> Any:
        """What was put; None for nothing."""
        file = self.folder / name
        return json.loads(file.read_text()) if file.exists() else None

    def put(self, name: str, value: Any) -> None:
        """Remember a JSON value."""
        write_privately(self.folder / name, json.dumps(value).encode())

    def note(self, entry: Json) -> None:
        """Remember that a file is in the store."""
        with self.uploads.open("a") as file:
            file.write("\n" + json.dumps(entry))

    def uploaded(self) -> dict[str, Json]:
        """The noted entries by key; a line that was cut off counts for nothing."""
        entries = {}
        for line in self.uploads.read_text().split("\n") if self.uploads.exists() else ():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                entries[entry["key"]] = entry
        return entries


# ------------------------------------------------------------------------------------------ the gateway and the store


@dataclass(frozen=True)
class Node:
    """This node: its folder, its identity, and its conversation with the gateway."""

    root: Path
    identity: Json
    patience: float

    @property
    def kid(self) -> str:
        """The name of its key."""
        return f"node:{self.identity['node']}:{self.identity['generation']}"

    def book(self, number: int) -> Book:
        """The notes on a job."""
        return Book(self.root / "jobs" / str(number))

    def directory(self, plan: Json) -> Path:
        """The job's directory, which lies in the folder for them and nowhere else."""
        directory = Path(plan["directory"])
        if str(directory.parent) != self.identity["job_directory"] or directory.name in {"", ".."}:
            raise FileTrouble(f"{directory} is no place for a job")
        return directory

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other agents of this machine from making and removing jobs' directories."""
        folder = Path(self.identity["job_directory"])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def presign(self, plan: Json, keys: list[str]) -> list[str]:
        """PUT URLs for keys below the attempt's prefix, under the job's credential; a new one if that has ended."""
        try:
            reply = self.post("jobs/self/presign", {"paths": keys}, plan["credential"])
        except Refused as refusal:
            if refusal.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                raise
            plan["credential"] = self.post("nodes/self/prolog", {"scheduler_id": plan["scheduler_id"]})["credential"]
            reply = self.post("jobs/self/presign", {"paths": keys}, plan["credential"])
        return list(reply["urls"])

    def post(self, path: str, body: Json, credential: str | None = None) -> Json:
        """``ask`` for as long as the node's patience lasts."""
        return patiently(lambda: self.ask(path, body, credential), self.patience)

    def ask(self, path: str, body: Json, credential: str | None = None) -> Json:
        """POST to the gateway, with a job's credential or else this node's signature."""
        target, content = f"/api/v1/{path}", json.dumps(body).encode()
        proof = f"Bearer {credential}" if credential else f"Burst {self._signature(target, content)}"
        return web.post(self.identity["gateway_url"].rstrip("/") + target, content, {"Authorization": proof})

    def _signature(self, target: str, content: bytes) -> str:
        """A compact JWS (RFC 7515) over method, target and body; good once and for a minute."""
        now = int(time.time())
        claims = {"iss": self.kid, "aud": self.identity["audience"], "iat": now, "exp": now + 60}
        claims |= {"jti": secrets.token_urlsafe(16), "htm": "POST", "htu": target}
        claims |= {"bsh": _base64url(hashlib.sha256(content).digest())}
        header = {"alg": "HS256", "kid": self.kid, "typ": "burst-request+jws"}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        key = base64.urlsafe_b64decode(self.identity["secret"] + "==")
        return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def patiently(act: Callable[[], T], patience: float) -> T:
    """Do it, again while the other side is away, at growing intervals."""
    ends, pause = time.monotonic() + patience, 0.1
    while True:
        try:
            return act()
        except Unavailable as error:
            if time.monotonic() + pause > ends:
                raise
            log.info("wait: %s", error)
        time.sleep(pause)
        pause = min(2 * pause, 15.0)


class Web:
    """HTTP/1.1 with one kept connection a host; it follows no redirect and uses no proxy."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def post(self, url: str, content: bytes, headers: dict[str, str]) -> Json:
        """POST JSON, return JSON."""
        return dict(json.loads(self.exchange("POST", url, content, {"Content-Type": "application/json", **headers})))

    def exchange(
        self,
        method: str,
        url: str,
        content: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """One request; the body of a good answer, or b"" after ``take`` had it block by block.

        Errors tell host and path, never the query, which in a presigned URL is a credential.
        """
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        place = (parts.scheme, parts.netloc)
        what = f"{method} {parts.netloc}{parts.path}"
        connection = self._idle.pop(place, None) or kinds[parts.scheme](parts.netloc, timeout=60)
        try:
            connection.request(method, parts._replace(scheme="", netloc="").geturl(), content, headers or {})
            answer = connection.getresponse()
            good = answer.status < HTTPStatus.MULTIPLE_CHOICES
            while take and good and (block := answer.read(BLOCK)):
                take(block)
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"{what}: {error or type(error).__name__}") from error
        self._idle[place] = connection
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in {408, 429}:
            raise Unavailable(f"{what}: {answer.status}")
        if not good:
            raise Refused(answer.status, f"{what}: {body[:500].decode(errors='replace')}")
        return body


web = Web()

if __name__ == "__main__":
    sys.exit(main())
