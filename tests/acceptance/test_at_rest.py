"""Secrets of a whole gateway during and after a real run with a rotation in its middle: where they are, and are not."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from faults import GATE, at_gate, finish
from gateway_site import Answer, NewSite, Site
from secret_scan import Finding, ProcessWatch, Secret, leaks, search, search_tree
from site_secrets import IN_THE_CLEAR, open_secrets, passing_secrets, sealed_secrets

from gateway.accounting.settle import RECEIPT_TYPE
from gateway.identity.jws import kid_of
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.sessions import CERTIFICATE_TYPE
from gateway.wire import JobView

# A whole gateway, on a machine that may do much else meanwhile.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = f"""\
#SBATCH --time=2
env > environment.txt
{GATE}
echo done
"""


@dataclass
class Run:
    """A job from its submission to its receipt, what its site kept secret meanwhile, and what was seen of it."""

    site: Site
    watch: ProcessWatch
    secrets: dict[str, Secret] = field(default_factory=dict)
    found: set[Finding] = field(default_factory=set)
    """In files, half way and at the end."""
    answers: list[Answer] = field(default_factory=list)
    job: JobView | None = None
    before: str = ""
    """The certificate of a login from before the rotation."""
    old: tuple[str, ...] = ()
    """The keys that signed before it."""

    def burst(self, *words: str) -> Answer:
        self.answers.append(self.site.burst(*words))
        assert self.answers[-1].code == 0, self.answers[-1].err
        return self.answers[-1]

    def learn(self) -> None:
        """Learn the secrets of this moment."""
        for source in (sealed_secrets, open_secrets, passing_secrets):
            self.secrets |= {secret.name: secret for secret in source(self.site)}

    def look(self) -> None:
        """And search the directory for all that were ever known."""
        self.learn()
        self.found |= search_tree(self.site.directory, self.secrets.values())

    def through(self) -> Run:
        """The job waits at its gate while every key is replaced; then it goes on."""
        directory = ("--dir", str(self.site.directory))
        self.before = certificate(self.site)
        begin_totp(self.site)
        job = self.site.submit(SCRIPT)
        at_gate(self.site, job)
        self.look()
        listed = self.burst("keys", "list", "--json", *directory).json
        self.old = tuple(listed[ring][0]["key"] for ring in ("signing", "credentials"))
        self.burst("keys", "rotate", "--json", *directory)
        self.learn()
        self.job = finish(self.site, job)
        for words in (("job", str(job.id)), ("logs", str(job.id)), ("nodes",)):
            self.burst(*words)
        self.look()
        return self


def certificate(site: Site) -> str:
    """Of a new login of the demo user, whose key is thrown away."""
    password = (site.directory / "secrets/demo.password").read_text().strip()
    asked = {"user": "demo", "password": password, "public_key": public_jwk(make_key())}
    answer = httpx2.post(f"{site.url}/api/v1/sessions", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["certificate"])


def begin_totp(site: Site) -> None:
    """Its answer is the one that tells a secret, to who is to keep it; it is not among those that are searched."""
    password = str(site.directory / "secrets/demo.password")
    done = site.burst("totp", "enrol", "--begin", "--json", "--password-file", password)
    assert done.code == 0, done.err


@pytest.fixture(scope="module")
def run(module_site: NewSite) -> Iterator[Run]:
    """In processes: the form in which all that a node has lies below the gateway's own directory."""
    with ProcessWatch()() as watch:
        yield Run(module_site(nodes="process", idle_s=20), watch).through()


def test_no_secret_is_where_it_does_not_belong(run: Run) -> None:
    """User-data, logs with their URLs, database, write-ahead log, nodes, jobs, store: each secret is at home only."""
    assert leaks(run.found, run.secrets.values()) == []


def test_every_secret_was_looked_for(run: Run) -> None:
    """Each that has a home was found there, so the search works; the kinds are all there."""
    homely = {secret.name for secret in run.secrets.values() if secret.home}
    assert {finding.secret for finding in run.found} == homely
    kinds = ("signing key", "credentials key", "site key", "key of a site", "SSH", "sealing key", "password", "munge",
             "Slurm's JWT", "key of the store", "session key", "join token", "credential in",
             "authenticator app's secret", "SSH authority of nodes", "key of a node", "voucher_key")  # fmt: skip
    assert [kind for kind in kinds if not any(name.startswith(kind) for name in run.secrets)] == []
    assert sum(name.startswith(("signing key", "credentials key")) for name in run.secrets) == 4


def test_no_process_had_a_secret_in_its_command_line_or_environment(run: Run) -> None:
    """Gateway, Slurm, store, node, job and every command, looked at twenty times a second."""
    assert leaks(run.watch.search(run.secrets.values()), run.secrets.values()) == []
    seen = b"\n".join(run.watch.seen)
    for program in (b"gateway.bootstrap", b"slurmctld", b"slurmd", b"slurmstepd", b"rclone", b"munged", b"node_agent"):
        assert program in seen
    assert b"SLURM_JOB_ID=" in seen


def test_no_command_tells_a_secret(run: Run) -> None:
    """Neither what `burst up` said, nor any command that was used."""
    told = [json.dumps(run.site.facts), *(answer.out + answer.err for answer in run.answers)]
    found = {finding for text in told for finding in search("answer", text.encode(), run.secrets.values())}
    assert found == set()


def test_f58_a_copy_of_the_directory_reveals_no_private_key(run: Run, tmp_path: Path) -> None:
    """Without the sealing key it has none of the gateway's private keys, and no gateway starts from it."""
    copy = shutil.copytree(run.site.directory, tmp_path / "d", ignore=_sockets)
    (copy / "secrets/sealing.key").unlink()
    sealed = list(sealed_secrets(run.site))
    assert search_tree(copy, sealed) == set()
    clear = {finding.place for finding in search_tree(copy / "secrets", run.secrets.values())}
    assert {f"secrets/{name}" for name in clear} == IN_THE_CLEAR | {"secrets/admin.password", "secrets/demo.password"}

    refused = run.site.burst("up", "--dir", str(copy), user=None)
    assert refused.code == 1
    assert "The sealing key is not at" in refused.err.splitlines()[-1]
    assert "restore the key" in refused.err.splitlines()[-1]
    assert not (copy / "secrets/sealing.key").exists()


def test_f58_a_copy_of_the_database_alone_reveals_nothing(run: Run, tmp_path: Path) -> None:
    """Neither a private key nor anything else that is secret; the copy is a whole one, made by SQLite itself."""
    with (
        closing(sqlite3.connect(run.site.directory / "state.db")) as database,
        closing(sqlite3.connect(tmp_path / "state.db")) as copy,
    ):
        database.backup(copy)
    assert (tmp_path / "state.db").stat().st_size > 100_000
    assert leaks(search_tree(tmp_path, run.secrets.values()), run.secrets.values()) == []
    assert search_tree(tmp_path, [secret for secret in run.secrets.values() if not secret.home]) == set()


def test_f09_old_signatures_hold_after_a_rotation_and_new_ones_are_the_new_keys(run: Run) -> None:
    """The gateway was not restarted: it took the new keys up, and the job's credential of before outlived them."""
    assert run.job is not None
    assert (run.job.state, run.job.stage) == ("COMPLETED", "settled")
    published = httpx2.get(f"{run.site.url}/.well-known/jwks.json").json()
    kids = [key["kid"] for key in published["keys"]]
    assert set(run.old) < set(kids)
    assert len(kids) == 4
    receipt = run.site.burst("receipt", str(run.job.id), "--json").json
    after = certificate(run.site)
    assert kid_of(run.before) == run.old[0]
    assert kid_of(after) == kid_of(receipt["signature"]) != run.old[0]
    assert json.loads(verify_with(published, run.before, CERTIFICATE_TYPE))["sub"] == "demo"
    assert json.loads(verify_with(published, after, CERTIFICATE_TYPE))["sub"] == "demo"
    assert json.loads(verify_with(published, receipt["signature"], RECEIPT_TYPE))["job"] == run.job.burst_id
    acts = run.site.rows("SELECT subject FROM audit_records WHERE action = 'keys.rotate' ORDER BY seq")
    assert acts == [("key:sealing",), ("key:signing",), ("key:credentials",)]


@pytest.mark.root
def test_no_secret_of_a_container_node_is_where_it_does_not_belong(site: Site) -> None:
    """The same search with nodes that are systems of their own, through all that they wrote."""
    with ProcessWatch()() as watch:
        seen = Run(site, watch)
        job = site.submit(SCRIPT)
        at_gate(site, job)
        seen.look()
        assert finish(site, job).state == "COMPLETED"
        seen.look()
    assert leaks(seen.found, seen.secrets.values()) == []
    files = {path for each in seen.found if (path := site.directory / each.place).exists()}
    assert [str(path) for path in files if path.stat().st_mode & 0o077] == []
    assert leaks(watch.search(seen.secrets.values()), seen.secrets.values()) == []
    kinds = ("join token", "credential in", "munge key")
    assert [kind for kind in kinds if not any(each.secret.startswith(kind) for each in seen.found)] == []


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (path := Path(folder, name)).is_file() and not path.is_dir()]
