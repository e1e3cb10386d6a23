"""The scanner finds what is planted, however it is written, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from secret_scan import Finding, ProcessWatch, Secret, leaks, search, search_tree

VALUE = bytes.fromhex("fb00ff3e0a22c3bf7c5d3f2e1a0b9c8d7e6f5041fffefdfc3b2a190807061514")
SECRET = Secret("the key", VALUE, ("home/*",))


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


LEAKS = {
    "raw": VALUE,
    "hex": VALUE.hex().encode(),
    "HEX": VALUE.hex().upper().encode(),
    "base64": b64(VALUE).encode(),
    "base64url": url64(VALUE).encode(),
    "base64 of more, by one": b64(b"x" + VALUE + b"yz").encode(),
    "base64 of more, by two": b64(b"xx" + VALUE + b"y").encode(),
    "base64url of more": url64(b"user:" + VALUE + b":x").encode(),
    "base64 in lines": base64.encodebytes(b"y" * 50 + VALUE),
    "in JSON": json.dumps({"d": url64(VALUE)}).encode(),
    "in a URL": f"GET /x?{urlencode({'token': b64(VALUE)})}&y=1".encode(),
    "in a path": f"/x/{quote(b64(b'z' + VALUE), safe='')}".encode(),
    "JSON in base64, as cloud-init has files": b64(json.dumps({"k": url64(VALUE)}).encode()).encode(),
    "hex in base64": b64(b"k=" + VALUE.hex().encode()).encode(),
}


@pytest.mark.parametrize("content", LEAKS.values(), ids=LEAKS)
def test_a_planted_secret_is_found(content):
    """In a log line, in whatever spelling."""
    line = b"2026-01-02 [info] before " + content + b" behind\n"
    assert list(search("log", line, [SECRET])) == [Finding("log", "the key")]
    assert list(search("log", b"2026-01-02 [info] harmless\n" + secrets.token_bytes(4096), [SECRET])) == []


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["Ed25519", "P-256"])
def test_a_private_key_in_a_pem_file_is_found(kind, form):
    """By its raw bytes alone, across the file's line breaks."""
    if kind == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
        raw = key.private_bytes_raw()
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        raw = key.private_numbers().private_value.to_bytes(32)
    if (kind, form) == ("Ed25519", PrivateFormat.TraditionalOpenSSL):
        return  # there is no such format
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert list(search("key.pem", pem, [Secret("the key", raw)])) == [Finding("key.pem", "the key")]


def test_a_tree_is_searched_with_its_names_and_its_database(tmp_path):
    """In a file's name, in a value of a database, in its write-ahead log; not where it belongs."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/key").write_bytes(VALUE)
    (tmp_path / f"token-{VALUE.hex()}").touch()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("INSERT INTO t VALUES (?)", (url64(VALUE),))
        found = search_tree(tmp_path, [SECRET])
        assert [finding.place for finding in leaks(found, [SECRET])] == ["state.db-wal", f"token-{VALUE.hex()}"]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert Finding("state.db", "the key") in leaks(search_tree(tmp_path, [SECRET]), [SECRET])
    assert Finding("home/key", "the key") in found


def test_processes_are_watched():
    """A secret in a command line and one in an environment, of processes that have ended by the time of the search."""
    other = Secret("the other", secrets.token_bytes(32))
    with ProcessWatch()() as watch:
        words = [sys.executable, "-c", "print(flush=True), input()", url64(VALUE)]
        environment = {**os.environ, "TOKEN": other.value.hex()}
        with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # until a process runs, the kernel may show it without its words
            watch.look()
            process.communicate(b"\n")
    found = {(finding.place.split(" of ")[0], finding.secret) for finding in watch.search([SECRET, other])}
    assert found == {("cmdline", "the key"), ("environ", "the other")}
    assert all(place.split()[2] != str(os.getpid()) for place in watch.seen.values())


def test_what_the_scanner_cannot_see_is_known():
    """It does not unpack; and it refuses a secret so short that it would be found by chance."""
    assert list(search("log.gz", gzip.compress(b64(VALUE).encode() * 9), [SECRET])) == []
    with pytest.raises(AssertionError, match="too short"):
        Secret("short", b"1234567")
