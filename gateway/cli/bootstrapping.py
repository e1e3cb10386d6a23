"""gateway.bootstrap as the commands run it: in a process of its own, with the same Python.

Invariant: the server side is never imported here; what it says comes as JSON over its stderr and stdout.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.errors import SetupError


def arguments(verb: str, directory: Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of one verb of gateway.bootstrap."""
    return [sys.executable, "-m", "gateway.bootstrap", verb, "--dir", str(directory), *more]


def bootstrap(
    verb: str, directory: Path, more: Sequence[str] = (), *, progress: Callable[[str], object]
) -> dict[str, Any]:
    """Run ``up``, ``down`` or ``check`` for ``directory``, telling ``progress``; return its answer.

    Raises SetupError with what it said when it failed.
    """
    with tempfile.TemporaryFile("w+") as answer:
        # In a session of its own, so that Ctrl-C reaches only us: a "down" is then never cut off half way.
        process = subprocess.Popen(
            arguments(verb, directory, more),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            last = _relay(process, progress)
        except BaseException:
            _end(process, at_once=verb != "down")
            raise
        answer.seek(0)
        return _answer(verb, process.returncode, answer.read(), last)


def _relay(process: subprocess.Popen[str], progress: Callable[[str], object]) -> str:
    """Pass on every line of progress; return the last line that is none."""
    last = ""
    for line in process.stderr or ():
        said = _json(line)
        if "progress" in said:
            progress(str(said["progress"]))
        elif line.strip():
            last = line.strip()
    process.wait()
    return last


def _end(process: subprocess.Popen[str], *, at_once: bool) -> None:
    """Wait until it has left, or there would be two at work on one directory."""
    if at_once:
        process.send_signal(signal.SIGINT)
    process.communicate()


def _answer(verb: str, code: int, text: str, last: str) -> dict[str, Any]:
    answer = _json(text)
    if code == 0 and answer:
        return answer
    said = _json(last)
    if "error" in said:
        raise SetupError(str(said["error"]), hint=said.get("hint"))
    if verb == "check" and answer:
        return answer
    raise SetupError(f"gateway.bootstrap {verb} ended with {code}: {last or 'it said nothing'}", hint=_hint(last))


def _hint(last: str) -> str:
    if "No module named" in last:
        return "install the server side: pip install 'burst-gateway[server]'"
    return "see the files in the directory's log/, and burst check"


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
