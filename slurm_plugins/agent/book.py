"""Book: what the agent remembers of one job between prolog and epilog, and between two tries of an epilog.

Invariant: only the agent can read it; each of its files is written whole, or line by line where a torn line counts for
nothing.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from slurm_plugins.agent.filesystem import remove_tree, write_privately
from slurm_plugins.agent.web import Json


class Book:
    """The notes on a job: its plan, its snapshot, its failure, what is in the store; ``live`` while it is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = folder / "live"
        self._uploads = folder / "uploads"

    def start(self, plan: Json) -> None:
        """Forget an earlier attempt and begin."""
        self.close()
        self.folder.mkdir(parents=True)
        self.put("plan", plan)

    def get(self, name: str) -> Any:
        """What was put under ``name``; None for nothing."""
        file = self.folder / name
        return json.loads(file.read_text()) if file.exists() else None

    def put(self, name: str, value: Any) -> None:
        """Remember a JSON value."""
        write_privately(self.folder / name, json.dumps(value))

    def note_upload(self, entry: Json) -> None:
        """Remember that a file is in the store under ``entry["key"]``."""
        with self._uploads.open("a") as file:
            file.write("\n" + json.dumps(entry))

    def uploads(self) -> dict[str, Json]:
        """The uploads that were noted, by key."""
        entries = {}
        for line in self._uploads.read_text().split("\n") if self._uploads.exists() else ():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                entries[entry["key"]] = entry
        return entries

    def forget_uploads(self) -> None:
        """Let every file be uploaded again."""
        self._uploads.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget the job."""
        remove_tree(self.folder)
