"""Who a node is, and how secrets and passwords are kept."""

from __future__ import annotations

import pytest

from gateway.errors import BadSignature, InvalidRequest
from gateway.identity.authenticate import bearer_of
from gateway.identity.join import node_kid, node_of, token_hash
from gateway.identity.passwords import hash_password, make_password, matches


def test_only_a_digest_of_a_join_token_is_kept():
    """Whoever reads the database cannot join."""
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1


def test_a_nodes_key_id_names_node_and_generation():
    """And is read back."""
    assert node_kid("small-1", 3) == "node:small-1:3"
    assert node_of("node:small-1:3") == ("small-1", 3)


@pytest.mark.parametrize(
    "kid", ["", "small-1", "node:small-1", "node:small-1:x", "node::1", "node:a:1:2", "node:a:-1", "Node:a:1"]
)
def test_what_is_no_nodes_key_id_is_refused(kid):
    """Whatever is missing or too much."""
    with pytest.raises(BadSignature):
        node_of(kid)


def test_a_password_is_kept_as_argon2id():
    """Salted, so that equal passwords look different."""
    password = make_password()
    first, second = hash_password(password), hash_password(password)

    assert first.startswith("$argon2id$")
    assert first != second
    assert matches(first, password)
    assert not matches(first, password + "x")
    assert not matches(None, password)
    assert not matches("not a hash", password)


def test_a_short_password_is_refused_without_repeating_it():
    """The error may be logged."""
    with pytest.raises(InvalidRequest) as refused:
        hash_password("hunter2")
    assert "hunter2" not in f"{refused.value.detail} {refused.value.hint}"


def test_a_bearer_token_is_taken_from_its_header():
    """And nothing else is one."""
    assert bearer_of("Bearer abc") == "abc"
    for header in (None, "", "Bearer", "Burst abc"):
        with pytest.raises(BadSignature):
            bearer_of(header)
