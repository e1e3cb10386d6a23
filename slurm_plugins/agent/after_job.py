"""Epilog: a job's outputs, put into the store and reported, after it has ended however it ended.

Invariant: run again after it was cut off, it goes on where it was; run again after it was done, it does nothing. The
job's directory is removed only when the gateway has taken the report.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from typing import BinaryIO

from slurm_plugins.agent.before_job import is_last, release_directory
from slurm_plugins.agent.filesystem import FileTrouble, Job, opened, trouble
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.survey import File, is_output, is_printed, named, stamp_of, survey
from slurm_plugins.agent.web import BLOCK, Json, Refused, Unavailable, patiently, web

BATCH = 500
"""URLs asked for at once; the gateway gives up to 1000."""
READS = 3
"""How often a file that changes while it is read is read."""
ERRORS = 1000
"""How many of a job's troubles are told."""

log = logging.getLogger("agent")


def epilog(node: Node, job: Job) -> int:
    """Put what the job made or changed into the store, report it, remove the job's directory."""
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
        # The store may have lost what our notes say that it has: once more, from the start.
        log.warning("job %d: refused: %s", job.id, refusal)
        book.forget_uploads()
        report(node, job, plan)
    if plan["stages"]:
        release_directory(node, job, plan)
    book.close()
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
    elif plan.get("refused"):
        errors = [plan["refused"]]
    elif plan["stages"]:
        errors = [book.get("failure") or "the job's directory was not made"]
    body = {"scheduler_id": job.id, "attempt": plan["attempt"], "files": files, "errors": errors[:ERRORS]}
    node.post("nodes/self/epilog", body)
    log.info("job %d: %d files staged out, %d errors", job.id, len(files), len(errors))


def stage_out(node: Node, job: Job, plan: Json) -> tuple[list[Json], list[str]]:
    """Upload each output that is new or changed since the snapshot; return the manifest's part and the errors.

    While siblings run in the same directory nobody can tell whose a file is, or whether it is complete: until the last
    of them has ended, a task's outputs are what it printed.
    """
    book = node.book(job.id)
    before = book.get("snapshot")
    if book.get("last") is None:
        book.put("last", is_last(node, job, plan))
    mine = is_output if book.get("last") else is_printed
    found = named(survey(node.work(plan), job), node.identity["node"])
    found = [file for file in found if before.get(file.name) != file.stamp and mine(plan, file.path)]
    errors = [f"{file.path}: {file.trouble}" for file in found if file.trouble]
    outputs = [file for file in found if not file.trouble]
    done = node.book(job.id).uploads()
    waiting = [file for file in outputs if done.get(file.key, {}).get("stamp") != file.stamp]
    for start in range(0, len(waiting), BATCH):
        errors += _upload_batch(node, job, plan, waiting[start : start + BATCH], done)
    entries = [done[file.key] for file in outputs if file.key in done]
    errors += [f"{entry['path']}: was still being written" for entry in entries if not entry["still"]]
    return [{name: entry[name] for name in ("path", "key", "size", "sha256")} for entry in entries], errors


def _upload_batch(node: Node, job: Job, plan: Json, files: list[File], done: dict[str, Json]) -> list[str]:
    """Upload files and note each in ``done`` and in the job's book; return the errors of those that stay behind."""
    errors = []
    for file, url in zip(files, node.presign(plan, [file.key for file in files]), strict=True):
        done.pop(file.key, None)
        try:
            done[file.key] = upload(node, job, plan, file, url)
            node.book(job.id).note_upload(done[file.key])
        except FileTrouble as reason:
            errors.append(f"{file.path}: {reason}")
    return errors


def upload(node: Node, job: Job, plan: Json, file: File, url: str) -> Json:
    """PUT one file, again while it changes meanwhile; every try after the first has a fresh URL."""
    urls = [url]

    def put() -> Json:
        target = urls.pop() if urls else node.presign(plan, [file.key])[0]
        try:
            return send(file, job, target)
        except Refused as refusal:
            # The first URL may have waited behind large files: expired, to which S3 says 403 and rclone 400.
            if target == url:
                raise Unavailable(str(refusal)) from refusal
            raise

    for _ in range(READS):
        entry = patiently(put, node.patience_s)
        if entry["still"]:
            break
    return entry


def send(file: File, job: Job, url: str) -> Json:
    """Send one file as it is now; ``still`` says that it did not change meanwhile."""
    digest = hashlib.sha256()
    with opened(file.source, job) as content:
        before = stamp_of(os.fstat(content.fileno()))
        size = before[0]

        def hashed() -> Iterator[bytes]:
            for block in blocks(content, size):
                digest.update(block)
                yield block

        web.exchange("PUT", url, hashed(), {"Content-Length": str(size)})
        still = before == stamp_of(os.fstat(content.fileno()))
    facts = {"size": size, "sha256": digest.hexdigest(), "stamp": before, "still": still}
    return {"path": file.path, "key": file.key, **facts}


def blocks(content: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes of a file. Raises Unavailable if it has fewer by now: it is to be looked at again."""
    while size:
        with trouble("not read"):
            block = content.read(min(size, BLOCK))
        if not block:
            raise Unavailable("the file became shorter")
        size -= len(block)
        yield block
