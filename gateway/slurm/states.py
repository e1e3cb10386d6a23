"""States of jobs and nodes, their flags and compact codes, and reasons for waiting as sentences.

Invariant: Slurm's own words go in; a sentence comes out that says what to do, or that nothing need be done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

JOB_STATES = {
    "PENDING": "PD",
    "RUNNING": "R",
    "SUSPENDED": "S",
    "COMPLETED": "CD",
    "CANCELLED": "CA",
    "FAILED": "F",
    "TIMEOUT": "TO",
    "NODE_FAIL": "NF",
    "PREEMPTED": "PR",
    "BOOT_FAIL": "BF",
    "DEADLINE": "DL",
    "OUT_OF_MEMORY": "OOM",
}
"""Base states of a job → compact codes (squeue(1), JOB STATE CODES)."""

JOB_FLAGS = {
    "LAUNCH_FAILED": "LF",
    "REQUEUE_FED": "RF",
    "REQUEUED": "RQ",
    "REQUEUE_HOLD": "RH",
    "SPECIAL_EXIT": "SE",
    "STOPPED": "ST",
    "RESIZING": "RS",
    "CONFIGURING": "CF",
    "COMPLETING": "CG",
    "STAGE_OUT": "SO",
    "SIGNALING": "SI",
    "REVOKED": "RV",
    "RECONFIG_FAIL": "RC",
    "POWER_UP_NODE": "PU",
    "EXPEDITING": "EX",
}
"""Flags beside a base state → compact codes; the first that is set is shown in its place, as squeue does."""

NODE_STATES = frozenset({"UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE"})
"""Base states of a node; all else beside them is a flag."""

FINISHED = frozenset(JOB_STATES) - {"PENDING", "RUNNING", "SUSPENDED"}
"""Base states that a job does not leave, but by a requeue."""

_SHOWN_FIRST = ("COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED")


def shown(states: Iterable[str]) -> str:
    """The one word that squeue shows for a job's base state and flags.

    >>> shown({"RUNNING", "COMPLETING"})
    'COMPLETING'
    """
    present = set(states)
    flags = [*_SHOWN_FIRST, *(flag for flag in JOB_FLAGS if flag not in _SHOWN_FIRST)]
    return next((word for word in (*flags, *JOB_STATES) if word in present), "PENDING")


def compact(state: str) -> str:
    """A state's code of one to three letters; ``?`` for one that Slurm does not have."""
    return JOB_STATES.get(state) or JOB_FLAGS.get(state) or "?"


def node_shown(states: Iterable[str]) -> str:
    """The state of a node as sinfo shows it: lower-case base state and one suffix.

    ``~`` powered down, ``#`` powering up, ``!`` power-down pending, ``%`` powering down, ``*`` not responding
    (sinfo(1), NODE STATE CODES).

    >>> node_shown({"IDLE", "CLOUD", "POWERED_DOWN"})
    'idle~'
    """
    present = set(states)
    base = next(
        (word for word in ("DOWN", "ALLOCATED", "MIXED", "IDLE", "ERROR", "FUTURE") if word in present), "UNKNOWN"
    )
    word = _DRAINED.get(base, base) if "DRAIN" in present else base
    if "COMPLETING" in present and word == base:
        word = "COMPLETING"
    suffix = next((mark for flag, mark in _SUFFIXES if flag in present), "")
    return word.lower() + suffix


NODE_STATES = frozenset(
    {
        "INVALID", "UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE", "RESERVED", "UNDRAIN", "CLOUD",
        "RESUME", "DRAIN", "COMPLETING", "NOT_RESPONDING", "POWERED_DOWN", "FAIL", "POWERING_UP", "MAINTENANCE",
        "REBOOT_REQUESTED", "REBOOT_CANCELED", "POWERING_DOWN", "DYNAMIC_FUTURE", "REBOOT_ISSUED", "PLANNED",
        "INVALID_REG", "POWER_DOWN", "POWER_UP", "POWER_DRAIN", "DYNAMIC_NORM", "BLOCKED", "EXTERNAL",
    }
)  # fmt: skip
"""Every base state and flag of a node that slurmrestd has a word for, up to Slurm 25.05."""


GATEWAY_REASON = "gateway: "
"""How the reasons begin that the gateway gives for a node's being drained or down; no other is it to clear."""


def reason_sentence(reason: str) -> str:
    """A sentence for the reason that Slurm gives for a job's waiting or end (squeue(1), JOB REASON CODES).

    >>> reason_sentence("Resources")
    'Waiting for nodes: all that fit are busy or still being made. Nothing need be done.'
    """
    if not reason or reason == "None":
        return ""
    name = reason.replace("_", " ").partition(",")[0].split("(")[0].strip()
    if name in _REASONS:
        return _REASONS[name]
    for prefix, sentence in _PREFIXES:
        if name.startswith(prefix):
            return sentence.format(limit=_spaced(name.removeprefix(prefix)))
    return f"Slurm says: {reason}."


_DRAINED = {"IDLE": "DRAINED", "ALLOCATED": "DRAINING", "MIXED": "DRAINING"}
_SUFFIXES = (
    ("NOT_RESPONDING", "*"),
    ("POWERING_DOWN", "%"),
    ("POWER_DOWN", "!"),
    ("POWERING_UP", "#"),
    ("POWERED_DOWN", "~"),
    ("MAINTENANCE", "$"),
    ("REBOOT_ISSUED", "^"),
    ("REBOOT_REQUESTED", "@"),
    ("PLANNED", "-"),
)

_CHANGE = "Cancel it and submit again with other options"
_NOTHING = "Nothing need be done."
_REASONS = {
    "Resources": f"Waiting for nodes: all that fit are busy or still being made. {_NOTHING}",
    "Priority": f"Waiting behind jobs of higher priority. {_NOTHING}",
    "Dependency": f"Waiting for the jobs of its --dependency to end. {_NOTHING}",
    "DependencyNeverSatisfied": "A job of its --dependency did not end as asked, so it never starts: cancel it.",
    "BeginTime": f"Waiting for its --begin time, or for the pause before a requeued job starts again. {_NOTHING}",
    "JobHeldUser": "Held by its owner: release it with `scontrol release`.",
    "JobHeldAdmin": "Held by an administrator: ask them to release it.",
    "JobHoldMaxRequeue": "Held after too many requeues: see why its runs failed, then release or cancel it.",
    "JobArrayTaskLimit": f"Its array already runs as many tasks as --array=...%N allows. {_NOTHING}",
    "SchedDefer": f"Slurm has put off looking at it. {_NOTHING}",
    "Licenses": f"Waiting for a licence that others use. {_NOTHING}",
    "Reservation": f"Waiting for its --reservation to begin. {_NOTHING}",
    "ReservationDeleted": f"Its --reservation was deleted. {_CHANGE}.",
    "ReservationInvalid": f"Its --reservation cannot be used. {_CHANGE}.",
    "InvalidQOS": f"Its --qos does not exist here. {_CHANGE}.",
    "InvalidAccount": f"Its --account does not exist here. {_CHANGE}.",
    "AccountingPolicy": "A limit of its account or QOS is reached: it starts when other jobs end, or ask for less.",
    "Cleaning": f"Being cleaned up after its last run before it may start again. {_NOTHING}",
    "Prolog": f"Its nodes are being prepared and its inputs put in place. {_NOTHING}",
    "ReqNodeNotAvail": "Nodes that it names are down or reserved: drop --nodelist, or wait for them.",
    "NodeDown": f"A node that it needs is down: it starts when the node, or another that fits, is up. {_NOTHING}",
    "FrontEndDown": f"No node that can start it is up. {_NOTHING}",
    "BadConstraints": f"No node can meet all its options. {_CHANGE}: see `burst offers` for what there is.",
    "PartitionNodeLimit": f"It asks for more nodes than its partition has. {_CHANGE}: fewer --nodes.",
    "PartitionTimeLimit": f"Its --time is longer than its partition allows. {_CHANGE}: a shorter --time.",
    "PartitionDown": "Its partition starts no jobs now: an administrator has closed it.",
    "PartitionInactive": "Its partition is switched off: an administrator has closed it.",
    "PartitionConfig": f"Its options do not fit the partition's rules. {_CHANGE}.",
    "AccountNotAllowed": f"Its account may not use this partition. {_CHANGE}: another --account or --partition.",
    "QOSNotAllowed": f"Its QOS may not use this partition. {_CHANGE}: another --qos or --partition.",
    "MaxMemPerLimit": f"It asks for more memory than is allowed. {_CHANGE}: less --mem or --mem-per-cpu.",
    "SystemFailure": "Slurm failed while it ran: it runs again if it may be requeued, else submit it again.",
    "JobLaunchFailure": "It could not be started on its nodes: see its timeline, then submit it again.",
    "NonZeroExitCode": "Its script ended with an exit code other than 0: see its output.",
    "RaisedSignal": "A signal ended it: see its output.",
    "TimeLimit": "It reached its --time: submit it again with a longer one, or let it save its state.",
    "InactiveLimit": "It did nothing for longer than Slurm allows.",
    "OutOfMemory": "It used more memory than it had: submit it again with a larger --mem.",
    "DeadLine": f"It could not have ended before its --deadline. {_CHANGE}.",
    "BurstBufferResources": f"Waiting for its data to be moved. {_NOTHING}",
    "BurstBufferStageIn": f"Waiting for its data to be moved. {_NOTHING}",
    "FedJobLock": f"Waiting for another cluster to decide who runs it. {_NOTHING}",
}
"""Reasons by the names that slurmctld 24.11 gives them; limits of accounts and QOS by what they begin with."""

_PREFIXES = (
    ("QOS", "A limit of its QOS is reached ({limit}): it starts when other jobs of that QOS end, or ask for less."),
    ("Assoc", "A limit of its account is reached ({limit}): it starts when its other jobs end, or ask for less."),
    ("Max", "A limit of its account is reached (max {limit}): it starts when its other jobs end, or ask for less."),
    ("Nodes required for job are DOWN", "Every node that fits is down or drained: see `burst nodes`."),
)


def _spaced(name: str) -> str:
    """``GrpCPUMinutesLimit`` as ``grp cpu minutes limit``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower() or "unnamed"
