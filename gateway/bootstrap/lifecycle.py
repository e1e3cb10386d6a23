"""Up and down: bring a gateway directory to life as background processes, and back to files only.

Invariant: ``up`` may be called at any time and leaves a whole gateway; ``down`` needs no gateway process to work.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.bootstrap.machine import Machine, Progress
from gateway.bootstrap.presence import READY_FILE, gateway_daemon, only_one, password_file
from gateway.errors import InvalidRequest, SetupError
from gateway.settings import Settings

READY_WITHIN_S = 180.0
_TICK_S = 0.05


def up(directory: Path, assignments: Mapping[str, str], progress: Progress) -> dict[str, Any]:
    """Start what does not run and say where it is. Raises SetupError, InvalidRequest."""
    started = time.monotonic()
    settings = make_ready(directory, assignments, progress)
    _start(settings, progress)
    return _facts(settings) | {"started_s": round(time.monotonic() - started, 2)}


def make_ready(directory: Path, assignments: Mapping[str, str], progress: Progress) -> Settings:
    """Settings, and everything fetched, built and ready to start. Raises SetupError, InvalidRequest."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    configure(directory, assignments)
    settings = Settings.load(directory)
    _require_database(settings)
    progress(Machine.prepare(settings, progress).cloud.reason)
    return settings


def down(directory: Path, progress: Progress) -> dict[str, Any]:
    """Stop everything that was started from this directory."""
    settings = Settings.load(directory)
    daemon = gateway_daemon(settings)
    stopped = ["gateway"] if daemon.alive() else []
    progress("stopping the gateway")
    daemon.stop(grace_s=15)
    (settings.run_dir / READY_FILE).unlink(missing_ok=True)
    if settings.run_dir.exists():
        # A process that was killed keeps its lock until its last thread is gone.
        with only_one(settings.run_dir, within_s=10):
            progress("ending nodes, Slurm and the object store")
            machine = Machine.existing(settings)
            stopped += machine.stop() if machine is not None else []
    return {"stopped": stopped, "directory": str(settings.directory)}


def configured(directory: Path, assignments: Mapping[str, str]) -> Settings:
    """The settings as they would be with these. Raises InvalidRequest for a key or value that is none."""
    values: dict[str, Any] = {key: _value(key, text) for key, text in assignments.items()}
    try:
        return Settings(**{**values, "directory": directory.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{key}: {first['msg']}", hint="docs/configuration.md lists them", field=key) from error


def configure(directory: Path, assignments: Mapping[str, str]) -> None:
    """Keep ``key=value`` settings in DIR/burst.toml. Raises InvalidRequest for a key or value that is none."""
    if not assignments:
        return
    path = directory / "burst.toml"
    known = tomllib.loads(path.read_text()) if path.exists() else {}
    values = known | {key: _value(key, text) for key, text in assignments.items()}
    if values == known:
        return
    configured(directory, assignments)
    temporary = path.with_suffix(".new")
    temporary.write_text("".join(f"{key} = {toml_text(value)}\n" for key, value in values.items()))
    temporary.replace(path)


def _require_database(settings: Settings) -> None:
    """A database server is there before anything is fetched or started. Raises SetupError."""
    if settings.database is None:
        return
    from gateway.storage.database import Database  # noqa: PLC0415 - half a second that most gateways need not pay here

    database = Database(settings.database)
    database.require()
    database.close()


def _value(key: str, text: str) -> object:
    """A TOML value; a bare word is a string, and so is a number where a text is wanted (a DOI prefix)."""
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    field = Settings.model_fields.get(key)
    wants_text = field is not None and field.annotation in (str, str | None)
    return text if wants_text and isinstance(value, int | float) else value


def toml_text(value: object) -> str:
    """A value as TOML has it: JSON, but for tables, and for null, which TOML has not: such a key is left out."""
    if isinstance(value, dict):
        said = {key: item for key, item in value.items() if item is not None}
        return "{" + ", ".join(f"{key} = {toml_text(item)}" for key, item in said.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _start(settings: Settings, progress: Progress) -> None:
    daemon = gateway_daemon(settings)
    ready = settings.run_dir / READY_FILE
    if (pid := daemon.pid()) is not None and _is_ready(ready, pid):
        progress("the gateway runs already")
        return
    progress("starting the gateway")
    command = [sys.executable, "-m", "gateway.bootstrap", "serve", "--dir", str(settings.directory)]
    pid = daemon.start(command, env=os.environ)
    deadline = time.monotonic() + READY_WITHIN_S
    while not _is_ready(ready, pid):
        if not daemon.alive() or time.monotonic() > deadline:
            words = daemon.last_words()
            daemon.stop()
            raise SetupError(f"The gateway did not start: {words}", hint=f"read {daemon.log}")
        time.sleep(_TICK_S)


def _is_ready(file: Path, pid: int) -> bool:
    try:
        return bool(json.loads(file.read_text())["pid"] == pid)
    except (FileNotFoundError, ValueError):
        return False


def _facts(settings: Settings) -> dict[str, Any]:
    machine = Machine.existing(settings)
    assert machine is not None  # noqa: S101 - make_ready recorded it
    environment = machine.slurm.environment()
    return {
        "url": machine.url,
        "directory": str(settings.directory),
        "slurm": {
            "version": machine.slurm.version,
            "origin": machine.distribution.origin,
            "conf": environment["SLURM_CONF"],
            "environment": environment,
        },
        "nodes": {"form": machine.cloud.form, "reason": machine.cloud.reason},
        "store": {"url": machine.store.access.user_endpoint or "AWS S3"},
        "store_kind": "rclone" if machine.settings.store == "embedded" else "s3",
        "users": {name: str(password_file(settings, name)) for name in ("demo", "admin")},
    }
