"""A node's surroundings for the agent's tests: a real object store, and a gateway of a few lines around real staging.

It checks every signature and every document as the gateway does; what the agent sent is kept in ``requests``.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gateway import wire
from gateway.errors import BadSignature, BurstError, SignatureExpired
from gateway.identity.credentials import JobGrant
from gateway.identity.join import node_kid
from gateway.identity.keys import make_key, read_public
from gateway.identity.signature import token_of, verify_request
from gateway.identity.specification import Voucher
from gateway.jobs.job import Attempt
from gateway.jobs.store import Part
from gateway.staging import stage_in, stage_out
from gateway.staging.manifest import Manifest
from gateway.staging.object_store import S3Store
from slurm_plugins.agent.one_file import agent_text

NODE = "small-1"
BURST_ID = "0123456789abcdef0123456789abcdef"
SLURM_ID = 12
CREDENTIAL = "a-job-credential-that-nobody-may-see"
MUNGE_KEY = "bXVuZ2Uga2V5IHRoYXQgbm9ib2R5IG1heSBzZWU="
JOIN_TOKEN = "a-join-token-that-nobody-may-see"

Hook = Callable[[str, dict], tuple[int, dict] | None]
"""Sees a request before it is answered; what it returns is the answer."""


@dataclass
class AgentSite:
    """One node, one job, and what the gateway knows of them."""

    root: Path
    store: S3Store
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    inputs: list = field(default_factory=list)
    stage_out: tuple[str, ...] = ()
    environment: dict = field(default_factory=dict)
    leader: bool = True
    shared: bool = False
    attempt: Attempt = field(default_factory=lambda: Attempt(BURST_ID, -1, 0, SLURM_ID, "RUNNING", (NODE,)))
    requests: list = field(default_factory=list)
    parts: dict = field(default_factory=dict)
    nonces: set = field(default_factory=set)
    hook: Hook = lambda *_: None
    lease: dict = field(default_factory=lambda: {"lease_seconds": 900, "drain": False})
    credential: str = CREDENTIAL
    job_store: wire.JobStore | None = None
    script: str | None = None
    join_file: Path = Path()
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = make_key()
        self.public_key: dict[str, str] | None = None
        self.voucher = Voucher(secrets.token_bytes(32))
        self.agent = self.root / "node_agent.py"
        self.agent.write_text(agent_text())
        self.state = self.root / "state"
        self.jobs = self.root / "jobs"
        self.directory = self.jobs / BURST_ID
        self.work = self.directory / "work"
        self.server: ThreadingHTTPServer | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let the gateway answer, at the same port as before."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Let the gateway be away."""
        server, self.server = self.server, None
        if server:
            server.shutdown()
            server.server_close()

    def joined(self) -> AgentSite:
        """As if the node had joined."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        identity = {"gateway_url": self.url, "isolated": False, **self.join_reply()}
        (self.state / "identity.json").write_text(json.dumps(identity))
        (self.state / "node.key").write_bytes(self.key.as_pem(private=True))
        self.public_key = self.key.as_dict(private=False)
        return self

    def join_reply(self) -> dict:
        return {
            "node": NODE,
            "generation": 3,
            "voucher_key": self.voucher.key(node_kid(NODE, 3)),
            "audience": "burst-test",
            "slurm_conf_server": "127.0.0.1:6817",
            "munge_key": MUNGE_KEY,
            "lease_seconds": 900,
            "shared_filesystem": self.shared,
            "job_directory": str(self.jobs),
            "job_user": "nobody",
        }

    def command(self, *words: str, patience: float = 20.0) -> list[str]:
        """The agent, with a Python that sees nothing but its own standard library."""
        return [
            sys.executable,
            "-I",
            "-S",
            str(self.agent),
            "--root",
            str(self.state),
            f"--patience={patience}",
            *words,
        ]

    def slurmd_environment(self, context: str) -> dict[str, str]:
        """What slurmd gives its programs: no PATH, no HOME."""
        return {
            "SLURM_JOB_ID": str(SLURM_ID),
            "SLURM_JOB_UID": str(self.uid),
            "SLURM_JOB_GID": str(self.gid),
            "SLURMD_NODENAME": NODE,
            "SLURM_SCRIPT_CONTEXT": f"{context}_slurmd",
        }

    def start(self, context: str, **how: float) -> subprocess.Popen:
        """Run prolog or epilog as slurmd does: by context, without a word."""
        return subprocess.Popen(
            self.command(**how),
            env=self.slurmd_environment(context),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, context: str, **how: float) -> int:
        """The exit code of prolog or epilog."""
        process = self.start(context, **how)
        output, _ = process.communicate(timeout=120)
        self.output = output.decode()
        return process.returncode

    def manifest(self) -> Manifest:
        """What the gateway would make of the parts that it has."""
        return stage_out.complete(self.store, self.attempt, self.parts.values())

    def staged(self) -> dict[str, bytes]:
        """Content by path of everything in the manifest, each as the store has it."""
        return {e.path: self.store.get_bytes(self.attempt.prefix + e.key) for e in self.manifest().entries}

    @property
    def log(self) -> str:
        file = self.state / "agent.log"
        return file.read_text() if file.exists() else ""

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, dict]:
        """One request of the agent's."""
        said = json.loads(body)
        self.requests.append((path.rpartition("/")[2], said))
        if (chosen := self.hook(path.rpartition("/")[2], said)) is not None:
            return chosen
        if path == "/api/v1/nodes/join":
            request = wire.JoinRequest.model_validate(said)
            self.public_key = request.public_key
            self._verify(path, body, authorization)
            return self._join(request)
        if path == "/api/v1/jobs/self/presign":
            return self._presign(wire.PresignRequest.model_validate(said), authorization)
        self._verify(path, body, authorization)
        name = path.removeprefix("/api/v1/nodes/self/").replace("-", "_")
        return getattr(self, "_presign_by_node" if name == "presign" else f"_{name}")(said)

    def _verify(self, path: str, body: bytes, authorization: str) -> None:
        claims = verify_request(
            token_of(authorization),
            read_public(self.public_key or {}),
            method="POST",
            path=path,
            body=body,
            audience="burst-test",
            now=datetime.now(UTC),
        )
        assert claims.kid == node_kid(NODE, 3)
        assert claims.nonce not in self.nonces
        self.nonces.add(claims.nonce)

    def _join(self, request: wire.JoinRequest) -> tuple[int, dict]:
        good = request.token == JOIN_TOKEN and request.node == NODE
        return (200, self.join_reply()) if good else (401, {"code": "bad_signature"})

    def _lease(self, said: dict) -> tuple[int, dict]:
        wire.LeaseRequest.model_validate(said)
        return 200, self.lease

    def _leave(self, said: dict) -> tuple[int, dict]:
        wire.LeaveRequest.model_validate(said)
        return 200, {}

    def _preempted(self, said: dict) -> tuple[int, dict]:
        wire.PreemptedRequest.model_validate(said)
        return 200, {}

    def _prolog(self, said: dict) -> tuple[int, dict]:
        request = wire.PrologRequest.model_validate(said)
        if request.scheduler_id != SLURM_ID:
            return 404, {"code": "not_found"}
        reply = wire.PrologReply(
            burst_id=BURST_ID,
            attempt=self.attempt.label,
            directory=str(self.directory),
            user="nobody",
            leader=self.leader,
            inputs=stage_in.for_attempt(self.store, self.inputs),
            stage_out=self.stage_out,
            credential=self.credential,
            store=self.job_store,
            environment=self.environment,
        )
        return 200, self.vouched(reply.model_dump(mode="json"), request.nonce)

    def vouched(self, plan: dict, nonce: str) -> dict:
        """The plan as the gateway would send it."""
        plan = {name: value for name, value in plan.items() if name != "specification"}
        proof = self.voucher.sign(node_kid(NODE, 3), plan, self.script, nonce, datetime.now(UTC))
        return {**plan, "specification": proof}

    def _prolog_failed(self, said: dict) -> tuple[int, dict]:
        wire.PrologFailedRequest.model_validate(said)
        return 200, {}

    def _presign(self, request: wire.PresignRequest, authorization: str) -> tuple[int, dict]:
        if authorization != f"Bearer {self.credential}":
            return 401, {"code": "signature_expired"}
        return self._presigned(request.paths)

    def _presign_by_node(self, said: dict) -> tuple[int, dict]:
        request = wire.StageOutRequest.model_validate(said)
        assert (request.scheduler_id, request.attempt) == (SLURM_ID, self.attempt.label)
        return self._presigned(request.paths)

    def _presigned(self, paths: tuple[str, ...]) -> tuple[int, dict]:
        now = datetime.now(UTC)
        scopes = (f"storage.create:/{self.attempt.prefix}",)
        grant = JobGrant("1", "demo", BURST_ID, self.attempt.label, NODE, scopes, now, now + timedelta(hours=1))
        return 200, {"urls": stage_out.presign(self.store, grant, paths)}

    def _epilog(self, said: dict) -> tuple[int, dict]:
        request = wire.EpilogRequest.model_validate(said)
        accepted = stage_out.accept(self.store, self.attempt, NODE, request.files, request.errors)
        self.parts[NODE] = Part(NODE, accepted.files, accepted.errors)
        return 200, {}


def _handler(site: AgentSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if site.server is not self.server:
                # Kept connections outlive a server that was closed; one that is away answers nobody.
                self.close_connection = True
                return
            try:
                status, answer = site.answer(self.path, body, self.headers.get("Authorization", ""))
            except BurstError as error:
                status = 401 if isinstance(error, BadSignature | SignatureExpired) else 422
                answer = {"code": error.code, "detail": error.detail}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Handler


@contextmanager
def invitation(site: AgentSite, **programs: object) -> Iterator[AgentSite]:
    """The node has no identity yet, but an invitation; agents that `start` began are ended with it."""
    (site.state / "identity.json").unlink()
    (site.state / "node.key").unlink()
    site.join_file = site.root / "join.json"
    known = {"gateway_url": site.url, "node": NODE, "token": JOIN_TOKEN, "audience": "burst-test", "generation": 3}
    site.join_file.write_text(json.dumps({**known, "slurm_conf": "/dev/null", **programs}))
    yield site
    for process in site.started:
        if process.poll() is None:
            process.terminate()
            process.wait(10)


def start(site: AgentSite, **how: float) -> subprocess.Popen[str]:
    """The agent as a daemon."""
    command = site.command("run", "--process", "--join", str(site.join_file), **how)
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stderr=subprocess.PIPE, text=True)
    site.started.append(process)
    return process


def until(true, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.02)


def named(site, name: str) -> list[dict]:
    return [said for path, said in site.requests if path == name]
