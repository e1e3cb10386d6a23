"""Instance: one machine of the local cloud as its folder records it, and Instances, all of them.

Invariant: a folder under a node's name always holds a whole ``node.json``: it is prepared elsewhere and renamed into
place before anything starts, and ``node.json`` is the last thing that goes when the machine ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.settings import SizeSettings

_RECORD = "node.json"
_ENDING = "ending"


@dataclass(frozen=True)
class Instance:
    """One machine. ``id`` is ``NAME.HEX``: a name is used again, an id never."""

    folder: Path
    id: str
    name: str
    size: SizeSettings
    image: str
    token: str | None
    tags: Mapping[str, str]
    created_at: datetime
    address: str = ""
    launch_index: int | None = None
    """Its number among the machines of one call, for its metadata; None: it was ordered alone."""

    @property
    def ending(self) -> bool:
        """Whether its end has begun."""
        return (self.folder / _ENDING).exists()

    @property
    def user_data(self) -> Path:
        """The file that the cloud shows to the machine as its user-data."""
        return self.folder / "seed" / "user-data"

    @property
    def console(self) -> Path:
        """What it wrote on its console."""
        return self.folder / "console.log"

    def complain(self, error: Exception) -> None:
        """Put on its console why it could not be started."""
        with self.console.open("a") as console:
            console.write(f"{error}\n")


@dataclass(frozen=True)
class Instances:
    """The machines below ``folder``; safe for several threads and processes."""

    folder: Path

    def __iter__(self) -> Iterator[Instance]:
        """Every machine, half-made ones included, by name."""
        for record in sorted(self.folder.glob(f"[!.]*/{_RECORD}")):
            if (instance := _read(record.parent)) is not None:
                yield instance

    def get(self, instance_id: str) -> Instance | None:
        """The machine with this id, or None when there is none any more."""
        instance = _read(self.folder / instance_id.rpartition(".")[0])
        return instance if instance is not None and instance.id == instance_id else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the list: nobody else adds to it meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _flock(self.folder):
            yield

    def add(self, instance: Instance, user_data: str, furnish: Callable[[Instance], Instance]) -> Instance:
        """Record a new machine; ``furnish`` may put more into its folder and change it. Call it `locked`.

        Raises FileExistsError if there is one of that name.
        """
        final = self.folder / instance.name
        if (final / _RECORD).exists():
            raise FileExistsError(final)
        for leftover in self.folder.glob(".*.part"):
            shutil.rmtree(leftover)
        draft = self.folder / f".{instance.name}.part"
        (draft / "seed").mkdir(parents=True, mode=0o700)
        made = furnish(replace(instance, folder=draft))
        _write(draft / "seed" / "user-data", user_data)
        _write(draft / "seed" / "meta-data", json.dumps(_metadata(made)))
        _write(draft / _RECORD, _dump(made))
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        return replace(made, folder=final)

    @contextmanager
    def held(self, instance: Instance) -> Iterator[bool]:
        """Hold one machine: nobody else starts or ends it meanwhile. Yields whether it still exists."""
        try:
            with _flock(instance.folder):
                yield self.get(instance.id) is not None
        except FileNotFoundError:
            yield False

    def begin_end(self, instance: Instance) -> None:
        """Note that its end has begun."""
        (instance.folder / _ENDING).touch()

    def remove(self, instance: Instance) -> None:
        """Forget it and delete all that it wrote; no process of it may be left."""
        for entry in list(instance.folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in {_RECORD, _ENDING}:
                entry.unlink()
        (instance.folder / _RECORD).unlink()
        shutil.rmtree(instance.folder)


def new_id(name: str) -> str:
    """An id that was never used before."""
    return f"{name}.{secrets.token_hex(6)}"


def _metadata(instance: Instance) -> dict[str, str | int]:
    """As cloud-init's NoCloud reads it; the number has the name that it has on EC2."""
    index = {} if instance.launch_index is None else {"ami-launch-index": instance.launch_index}
    return {"instance-id": instance.id, "local-hostname": instance.name, **index}


def _read(folder: Path) -> Instance | None:
    try:
        kept = json.loads((folder / _RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    kept["size"] = SizeSettings.model_validate(kept["size"])
    kept["created_at"] = datetime.fromisoformat(kept["created_at"]).astimezone(UTC)
    return Instance(folder=folder, **kept)


def _dump(instance: Instance) -> str:
    kept = {name: value for name, value in asdict(instance).items() if name != "folder"}
    kept["size"] = instance.size.model_dump()
    kept["created_at"] = instance.created_at.isoformat()
    return json.dumps(kept)


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
