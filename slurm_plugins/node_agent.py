#!/usr/bin/python3
"""The agent of an elastic node: it joins the cluster, keeps the node's lease, and moves a job's files in and out.

    node_agent.py run [--process | --guest] [--join FILE]   the node's daemon
    node_agent.py prolog | epilog          around each job, by slurmd; SLURM_SCRIPT_CONTEXT may say which
    node_agent.py live ID PARENT           by prolog: shows what a running job prints

Below ROOT (0700): node.key, the node's own key; identity.json, what the one-time token was traded for; jobs/ID/, a
job's plan, the snapshot taken before it ran and the list of what is in the store already; agent.log.

Invariant: no secret is in argv, in the environment or in the log; what lies below a job's directory is opened with
the job user's own rights; each command may be killed at any line and run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from slurm_plugins.agent.after_job import epilog
from slurm_plugins.agent.before_job import prolog
from slurm_plugins.agent.daemon import run
from slurm_plugins.agent.filesystem import FileTrouble, Job
from slurm_plugins.agent.live import live
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.web import Refused, Unavailable

log = logging.getLogger("agent")


def main() -> int:
    """Run one command and return its exit code; a prolog's or epilog's other than 0 makes slurmd drain the node."""
    os.umask(0o022)
    options = _options()
    root = Path(options.root.replace("%n", os.environ.get("SLURMD_NODENAME", "")))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    shape = f"%(asctime)s {options.command}[{os.getpid()}] %(message)s"
    logging.basicConfig(filename=root / "agent.log", format=shape, level=logging.INFO)
    try:
        return _command(options, root)
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
    form = start.add_mutually_exclusive_group()
    form.add_argument("--process", action="store_true", help="the node is only a slurmd, not a machine of its own")
    form.add_argument("--guest", action="store_true", help="the node is a host that is lent: leave it as it was")
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


def _command(options: argparse.Namespace, root: Path) -> int:
    if options.command == "run":
        return run(root, Path(options.join), options.patience, process=options.process, guest=options.guest)
    node = Node(root, json.loads((root / "identity.json").read_text()), options.patience)
    if options.command == "live":
        return live(node, options.id, options.parent)
    job = Job(*(int(os.environ[f"SLURM_JOB_{name}"]) for name in ("ID", "UID", "GID")))
    return prolog(node, job) if options.command == "prolog" else epilog(node, job)


if __name__ == "__main__":
    sys.exit(main())
