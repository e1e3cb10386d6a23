"""Prolog: a job's directory, its inputs and its credential, made before it starts.

Invariant: a job starts with all of its inputs verified, or it is cancelled; either way the node stays in service.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from slurm_plugins.agent.filesystem import FileTrouble, Job, acting_as, remove_tree, trouble, write_privately
from slurm_plugins.agent.live import start_live
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.specification import Tampered, check
from slurm_plugins.agent.survey import survey
from slurm_plugins.agent.web import Json, Refused, Unavailable, patiently, web

log = logging.getLogger("agent")


def prolog(node: Node, job: Job) -> int:
    """Make the job's directory, fetch its inputs, hand it its credential, note what is there before it runs.

    Inputs that cannot be had are the job's trouble: the gateway has cancelled the job when it answers prolog-failed.
    """
    nonce = secrets.token_urlsafe(16)
    try:
        plan = node.post("nodes/self/prolog", {"scheduler_id": job.id, "nonce": nonce})
    except Refused as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise
        log.info("job %d is nothing to prepare for: %s", job.id, refusal)
        return 0
    try:
        check(node, job.id, plan, nonce)
    except Tampered as error:
        log.error("job %d is refused: %s", job.id, error)  # noqa: TRY400 - a trace adds lines, not knowledge
        refused = {"attempt": plan.get("attempt"), "stages": False, "scheduler_id": job.id, "refused": str(error)}
        node.book(job.id).start(refused)
        node.post("nodes/self/prolog-failed", {"scheduler_id": job.id, "error": str(error), "tampered": True})
        return 0
    book = node.book(job.id)
    if book.get("snapshot") is not None and book.get("plan")["attempt"] == plan["attempt"]:
        return 0
    stages = plan["leader"] or not node.identity["shared_filesystem"]
    book.start({**plan, "stages": stages, "scheduler_id": job.id, "uid": job.uid, "gid": job.gid})
    if stages:
        _stage_in(node, job, plan)
    return 0


def _stage_in(node: Node, job: Job, plan: Json) -> None:
    book = node.book(job.id)
    try:
        make_directory(node, job, plan)
        work = node.work(plan)
        for wanted in plan["inputs"]:
            fetch(wanted, work, job, node.patience_s)
        make_folders_of_streams(work, job, plan)
        token = node.directory(plan) / "token"
        write_privately(token, plan["credential"], 0o400, (job.uid, job.gid))
        if plan.get("store"):
            write_privately(node.directory(plan) / "store.json", json.dumps(plan["store"]), 0o400, (job.uid, job.gid))
        book.put("snapshot", baseline(node, job, plan))
        start_live(node, job)
    except (FileTrouble, Refused, Unavailable) as error:
        log.warning("job %d cannot start: %s", job.id, error)
        book.put("failure", str(error))
        node.post("nodes/self/prolog-failed", {"scheduler_id": job.id, "error": str(error)[:4000]})


def make_directory(node: Node, job: Job, plan: Json) -> None:
    """Make DIRECTORY/{work,home,tmp}.

    DIRECTORY itself is the agent's, so the job can replace neither these folders nor its token. On a shared file system
    the tasks of an array have one DIRECTORY: each holds it, the first makes it and the last removes it.
    """
    directory = node.directory(plan)
    with node.lock():
        if not set(tasks(directory, "holders")) - {str(job.id)}:
            remove_tree(directory)
        for kind in ("holders", "running"):
            (directory / kind).mkdir(parents=True, exist_ok=True)
            (directory / kind / str(job.id)).touch()
        directory.chmod(0o711)
        for folder in (directory / name for name in ("work", "home", "tmp")):
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, job.uid, job.gid)


def make_folders_of_streams(work: Path, job: Job, plan: Json) -> None:
    """Make the folders that the job prints into: where it was submitted they were there."""
    with trouble("a folder of --output or --error"), acting_as(job):
        for stream in ("BURST_STDOUT", "BURST_STDERR"):
            (work / plan["environment"].get(stream, "")).parent.mkdir(parents=True, exist_ok=True)


def baseline(node: Node, job: Job, plan: Json) -> Json:
    """What lay in ``work`` before the job ran: before the first task did, where tasks have one directory."""
    kept = node.directory(plan) / "baseline.json"
    with node.lock():
        if not kept.exists():
            found = {file.name: file.stamp for file in survey(node.work(plan), job)}
            write_privately(kept, json.dumps(found))
        return dict(json.loads(kept.read_text()))


def is_last(node: Node, job: Job, plan: Json) -> bool:
    """Whether, now that this task has ended, no other one runs in its directory."""
    directory = node.directory(plan)
    with node.lock():
        (directory / "running" / str(job.id)).unlink(missing_ok=True)
        return not tasks(directory, "running")


def release_directory(node: Node, job: Job, plan: Json) -> None:
    """Remove the job's directory, unless another task holds it."""
    directory = node.directory(plan)
    with node.lock():
        (directory / "holders" / str(job.id)).unlink(missing_ok=True)
        if not tasks(directory, "holders"):
            remove_tree(directory)


def tasks(directory: Path, kind: str) -> list[str]:
    """Slurm's ids of the jobs that use a directory: its ``holders``, and of those the ones still ``running``."""
    folder = directory / kind
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def fetch(wanted: Json, work: Path, job: Job, patience_s: float) -> None:
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
            digest = patiently(lambda: download(wanted["url"], file), patience_s)
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
