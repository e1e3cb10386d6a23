"""Site: a whole gateway in a directory of its own, as its users meet it: commands, Slurm, nodes and store are real.

Invariant: what is asserted was said by a real program (a command, Slurm, the cloud's driver, store or database), and
leaving ``site_in`` leaves nothing behind, whatever failed inside.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from libcloud.compute.base import Node

from gateway.accounting.ledger import AccountKind
from gateway.bootstrap.machine import Machine
from gateway.client import profile as profiles
from gateway.client.gateway import Gateway, Submission
from gateway.client.session import Session
from gateway.engines.engine import Engine
from gateway.identity.passwords import hash_password
from gateway.identity.users import Role, User
from gateway.settings import Settings
from gateway.staging.object_store import ObjectStore
from gateway.storage.database import Database
from gateway.storage.work import SqlWork
from gateway.wire import JobView
from gateway.work import Work

T = TypeVar("T")

PATIENCE_S = 120.0
"""How long anything may take on a slow machine that does much else."""
_LOOK_S = 0.05


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The only line of stderr."""
        assert self.err.count("\n") == 1, f"not one line on stderr: {self.err!r}"
        return self.err.rstrip("\n")


@dataclass
class Site:
    """A gateway's directory; ``settings`` are given to each ``burst up``."""

    directory: Path
    cache: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the last ``burst up --json`` said."""

    def up(self, **settings: object) -> Site:
        """``burst up``; also brings back a gateway that was killed."""
        words = [f"--set={name}={value}" for name, value in {**self.settings, **settings}.items()]
        done = self.burst("up", "--dir", str(self.directory), "--json", *words, user=None, within_s=600)
        assert done.code == 0, done.err
        self.facts = done.json
        return self

    def down(self) -> Answer:
        """``burst down``, which needs no gateway process."""
        return self.burst("down", "--dir", str(self.directory), user=None)

    @property
    def url(self) -> str:
        """Of the gateway, for people."""
        return str(self.facts["url"])

    @property
    def form(self) -> str:
        """Of the nodes: "container" or "process"."""
        return str(self.facts["nodes"]["form"])

    def burst(
        self,
        *words: str,
        user: str | None = "demo",
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        within_s: float = PATIENCE_S,
    ) -> Answer:
        """The real command in a process of its own, logged in as ``user`` (None: not logged in)."""
        if user is not None:
            self._log_in(user)
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *words],
            cwd=cwd or self.directory.parent,
            env={**self.environment(user), **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def environment(self, user: str | None = "demo") -> dict[str, str]:
        """For a command of this site: its own BURST_CONFIG, nothing of the caller's SBATCH_* and BURST_*."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("BURST_", "SBATCH_", "SLURM_"))
        }
        return {**kept, "BURST_CACHE": str(self.cache), "BURST_CONFIG": str(self._config(user)), "COLUMNS": "200"}

    def login(self, user: str = "demo") -> Gateway:
        """A client of this site, with the user's one session."""
        return Gateway(Session(profiles.load(self._log_in(user)), patience_s=PATIENCE_S))

    def add_user(self, name: str, *, credits_ucr: int = 10_000_000) -> str:
        """A further user with an account, as an admin's tool would add it; returns the name."""
        password = secrets.token_urlsafe(12)
        with self.work(write=True) as work:
            work.ledger.open_account(name, AccountKind.USER)
            work.users.add(User(name, Role.USER, account=name), hash_password(password), datetime.now(UTC))
            if credits_ucr:
                work.ledger.deposit(name, credits_ucr, "opening credit", datetime.now(UTC))
        (self.directory / "secrets" / f"{name}.password").write_text(password)
        return name

    def slurm(self, *words: str) -> str:
        """A real Slurm command (sinfo, squeue, scontrol, sacct) on this site's own cluster; returns its stdout."""
        environment = {**os.environ, **self.machine.slurm.environment()}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def sinfo(self) -> dict[str, str]:
        """Node → state as sinfo prints it; "~" powered down, "#" powering up, "%" powering down, "*" no answer."""
        return dict(line.split() for line in self.slurm("sinfo", "-h", "-N", "-o", "%N %T").splitlines())

    def nodes_up(self) -> set[str]:
        """Nodes that sinfo shows as anything but powered down."""
        return {name for name, state in self.sinfo().items() if not state.endswith("~")}

    def squeue(self) -> list[int]:
        """Ids of the jobs that Slurm has not finished."""
        return [int(line) for line in self.slurm("squeue", "-h", "-a", "-t", "all", "-o", "%A").split()]

    def list_nodes(self) -> list[Node]:
        """The local cloud's machines, from a libcloud driver of this process's own."""
        return self.machine.cloud.driver().list_nodes()

    @cached_property
    def machine(self) -> Machine:
        """The site's parts, found again from its directory as ``burst down`` finds them."""
        found = Machine.existing(Settings(directory=self.directory, cache=self.cache))
        assert found is not None
        return found

    def engine(self) -> Engine:
        """The port to its Slurm."""
        return self.machine.slurm.engine()

    @cached_property
    def store(self) -> ObjectStore:
        """Its object store."""
        return self.machine.store.open()

    @contextmanager
    def work(self, *, write: bool = False) -> Iterator[Work]:
        """What its database holds now, in one transaction."""
        with self._database.begin() if write else self._database.read() as connection:
            yield SqlWork(connection)

    def submit(self, script: str, *options: str, user: str = "demo", **more: Any) -> JobView:
        """Submit a script's text; "#!/bin/bash" is put before it. ``more`` is of ``Submission``."""
        job = Submission(f"#!/bin/bash\n{script}\n", "job.sh", options=options, **more)
        with self.login(user) as gateway:
            return gateway.submit(job)

    def finish(self, job: JobView, user: str = "demo") -> JobView:
        """Wait until it is settled; its last view, with attempts and timeline."""
        name = job.burst_id
        with self.login(user) as gateway:
            return eventually(
                lambda: (view := gateway.job(name)).finished and view, f"job {job.id} settled", PATIENCE_S * 2
            )

    def reach(self, job: JobView, state: str, user: str = "demo") -> JobView:
        """Wait until Slurm has it in ``state``, or it is settled."""
        with self.login(user) as gateway:
            view = eventually(
                lambda: ((v := gateway.job(job.burst_id)).state == state or v.finished) and v, f"job {job.id} {state}"
            )
        assert view.state == state, f"job {job.id} ended as {view.state}: {view.reason}"
        return view

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a SELECT finds in its SQLite database, past the gateway's own code."""
        uri = f"file:{self.directory / 'state.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE_S)) as connection:
            return connection.execute(query, values).fetchall()

    def all_gone(self) -> None:
        """Wait until neither the cloud nor Slurm has a node."""
        eventually(lambda: not self.list_nodes() and not self.nodes_up(), "nodes gone")

    def last_words(self, lines: int = 40) -> str:
        """The end of the gateway's log, for a failed test."""
        log = self.directory / "log/gateway.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def close(self) -> None:
        """Let go of the database."""
        if "_database" in vars(self):
            self._database.close()

    @cached_property
    def _database(self) -> Database:
        return Database(Settings(directory=self.directory).database_url)

    def _config(self, user: str | None) -> Path:
        return self.directory / "clients" / (user or "nobody")

    def _log_in(self, user: str) -> Path:
        """The user's profile file; the first call logs in."""
        path = self._config(user) / "profiles/default.json"
        if not path.exists():
            password = (self.directory / "secrets" / f"{user}.password").read_text().strip()
            with Session.login(self.url, user, password, patience_s=PATIENCE_S) as session:
                profiles.save(session.profile, path)
        return path


NewSite = Callable[..., Site]
"""What the fixtures ``new_site`` and ``module_site`` give."""


def eventually(look: Callable[[], T | bool | None], what: str, within_s: float = PATIENCE_S) -> T:
    """The first true answer of ``look``, asked again and again; fails when none came in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not (answer := look()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        pause.wait(_LOOK_S)
    return answer  # type: ignore[return-value]


@contextmanager
def site_in(
    base: Path | None = None, *, cache: Path | None = None, start: bool = True, **settings: object
) -> Iterator[Site]:
    """A site in a new directory of a short name, up unless ``start`` is False; taken down and removed at the end.

    BURST_TEST_KEEP=1 keeps the directory, to look at its logs.
    """
    # Unix sockets have at most 107 bytes of path, too few for pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="burst-acc-", dir=base))
    folder.chmod(0o711)
    site = Site(folder / "d", cache or shared_cache(), settings)
    try:
        if start:
            site.up()
        yield site
    finally:
        site.close()
        ended = site.down() if site.directory.exists() else Answer(0, "", "")
        if os.environ.get("BURST_TEST_KEEP"):
            print(f"kept: {folder}")  # noqa: T201 - asked for
        elif ended.code == 0:
            shutil.rmtree(folder)
        assert ended.code == 0, ended.err


def shared_cache() -> Path:
    """Slurm's packages and the node image: BURST_CACHE, else the checkout's own cache, as make has it."""
    chosen = os.environ.get("BURST_CACHE")
    return Path(chosen) if chosen else Path(__file__).resolve().parents[2] / ".burst/cache"
