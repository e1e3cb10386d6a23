"""Preemption: the cloud's notice that it takes this machine back, told to the gateway at once.

Invariant: each notice is told once, and again until the gateway has heard it; nothing here ends a job, which Slurm
does with the signals that the job expects.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from slurm_plugins.agent.metadata import ANNOUNCERS, Announcer, Metadata, Notice, cloud_here
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.web import Refused, Unavailable

SILENT_PAUSE_S = 60.0
"""How long to wait after an error, at most."""
TEST_METADATA = "NODE_AGENT_METADATA"
"""CLOUD=HOST:PORT, in the environment of an agent that is only a process: for tests."""

log = logging.getLogger("agent")


def watch_preemption(node: Node, *, process: bool) -> None:
    """Begin to watch, in a thread that ends with the agent, if this machine is in a cloud that announces it."""
    cloud, host = _place(process=process)
    if cloud in ANNOUNCERS:
        announcer = ANNOUNCERS[cloud](Metadata(host))
        log.info("watching for preemption as %s announces it", cloud)
        threading.Thread(target=_watch, args=(node, announcer), name="preemption", daemon=True).start()


def _place(*, process: bool) -> tuple[str, str]:
    if process:
        cloud, _, host = os.environ.get(TEST_METADATA, "").partition("=")
        return cloud, host
    return cloud_here(), Metadata.host


def _watch(node: Node, announcer: Announcer) -> None:
    told: set[Notice] = set()
    pause = announcer.pause_s
    while True:
        try:
            for notice in announcer.look():
                if notice not in told and _tell(node, notice):
                    told.add(notice)
            pause = announcer.pause_s
        except (Unavailable, ValueError, KeyError, TypeError) as error:
            pause = min(2 * pause, SILENT_PAUSE_S)
            log.info("no notice could be read, again in %.0f s: %s", pause, error)
        time.sleep(pause)


def _tell(node: Node, notice: Notice) -> bool:
    """Whether the gateway has heard it; a gateway that refuses it has."""
    log.warning("notice: %s %s", notice.words, notice.at)
    try:
        node.post("nodes/self/preempted", {"at": notice.at or None, "words": notice.words, "advice": notice.advice})
    except Unavailable as error:
        log.warning("the gateway did not hear of it: %s", error)
        return False
    except Refused as refusal:
        log.warning("the gateway does not want to hear of it: %s", refusal)
    return True
