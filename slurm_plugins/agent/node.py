"""Node: this node's identity, its folder, and its conversation with the gateway.

Invariant: every request is signed with the node's own key, which never leaves it, or carries one job's credential.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from slurm_plugins.agent.book import Book
from slurm_plugins.agent.clock import Clock
from slurm_plugins.agent.filesystem import FileTrouble
from slurm_plugins.agent.key import Key, base64url
from slurm_plugins.agent.web import Json, Refused, Unavailable, patiently, web

API = "/api/v1/"
HEALTH = "/healthz"
SIGNATURE_S = 60


@dataclass(frozen=True)
class Node:
    """``root``: the agent's folder. ``patience_s``: how long to wait for one who does not answer.

    ``identity``: what joining answered, or before that the invitation.
    """

    root: Path
    identity: Json
    patience_s: float

    @property
    def kid(self) -> str:
        """The name of its key; a machine that was made with others learns only by joining which node it is."""
        if "node" not in self.identity:
            return f"gang:{self.identity['gang']}:{self.identity['number']}"
        return f"node:{self.identity['node']}:{self.identity['generation']}"

    @property
    def key(self) -> Key:
        """What it signs with."""
        return Key(self.root / "node.key")

    @property
    def clock(self) -> Clock:
        """The gateway's time."""
        return Clock(self.root / "clock")

    def book(self, number: int) -> Book:
        """The notes on a job."""
        return Book(self.root / "jobs" / str(number))

    def jobs(self) -> list[int]:
        """The jobs that are here: those that run, and those whose outputs are not yet in the store."""
        return sorted(int(folder.name) for folder in (self.root / "jobs").glob("*/") if (folder / "plan").exists())

    def directory(self, plan: Json) -> Path:
        """The job's directory, which lies in the folder for them and nowhere else."""
        directory = Path(plan["directory"])
        if str(directory.parent) != self.identity["job_directory"] or directory.name == "..":
            raise FileTrouble(f"{directory} is no place for a job")
        return directory

    def work(self, plan: Json) -> Path:
        """Where the job runs: in its own directory, or in one of its user's that is only looked at."""
        return Path(plan["work"]) if plan.get("work") else self.directory(plan) / "work"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the other agents of a shared file system from making and removing jobs' directories."""
        folder = Path(self.identity["job_directory"])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def presign(self, plan: Json, keys: list[str]) -> list[str]:
        """PUT URLs for keys below the attempt's prefix, under the job's credential.

        A credential may end before its job's outputs are in the store; the node then asks in its own name.
        """
        try:
            reply = self.post("jobs/self/presign", {"paths": keys}, plan["credential"])
        except Refused as refusal:
            if refusal.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                raise
            mine = {"scheduler_id": plan["scheduler_id"], "attempt": plan["attempt"]}
            reply = self.post("nodes/self/presign", {**mine, "paths": keys})
        return list(reply["urls"])

    def post(self, path: str, body: Json, credential: str | None = None) -> Json:
        """``ask``, for as long as the node's patience lasts."""
        return patiently(lambda: self.ask(path, body, credential), self.patience_s)

    def ask(self, path: str, body: Json, credential: str | None = None) -> Json:
        """POST to the gateway, with a job's credential or else this node's signature.

        A signature is refused if this machine's clock is wrong: it is then made again by the gateway's.
        """
        try:
            return self._ask(path, body, credential)
        except Refused as refusal:
            if credential or refusal.status != HTTPStatus.UNAUTHORIZED or not self.clock.learn(web.date(self.gateway)):
                raise
        return self._ask(path, body, credential)

    def greet(self) -> None:
        """Learn the time from a gateway that answers, so that not even the first signature is by a wrong clock."""
        with contextlib.suppress(Unavailable, Refused):
            web.exchange("GET", self.gateway + HEALTH)
        self.clock.learn(web.date(self.gateway))

    @property
    def gateway(self) -> str:
        """Its URL."""
        return str(self.identity["gateway_url"]).rstrip("/")

    def _ask(self, path: str, body: Json, credential: str | None) -> Json:
        target, content = API + path, json.dumps(body).encode()
        proof = f"Bearer {credential}" if credential else f"Burst {self._signature(target, content)}"
        return web.post(self.gateway + target, content, {"Authorization": proof})

    def _signature(self, target: str, content: bytes) -> str:
        """A compact JWS (RFC 7515) over method, target and body; good once and for a minute."""
        now = int(self.clock.now())
        claims = {
            "iss": self.kid,
            "aud": self.identity["audience"],
            "iat": now,
            "exp": now + SIGNATURE_S,
            "jti": secrets.token_urlsafe(16),
            "htm": "POST",
            "htu": target,
            "bsh": base64url(hashlib.sha256(content).digest()),
        }
        header = {"alg": "Ed25519", "kid": self.kid, "typ": "burst-request+jws"}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"
