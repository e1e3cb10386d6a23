"""Tags in the few characters that some clouds allow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provisioning.dialect import name_of, node_of
from gateway.provisioning.labels import LONGEST, label, labels, tags
from gateway.provisioning.node import NodeOrder

KEYS = st.sampled_from(["gw-node", "gw-owner", "gw-lease-until", "gw-job"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


@given(st.dictionaries(KEYS, TEXTS))
def test_labels_give_back_the_tags_that_they_were_made_of(wanted):
    """Whatever characters these have and however long they are; each label is one that Google takes."""
    made = labels(wanted)

    assert tags(made) == wanted
    for name, text in made.items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", text)


def test_a_time_and_an_address_can_be_read_back():
    """What has capitals, colons and an at sign; plain names stay as they are."""
    assert labels({"gw-lease-until": "2026-11-23T07:20:00Z"}) == {"gw-lease-until": "2026-11-23_5407_3a20_3a00_5a"}
    assert label("ours-1a2b") == "ours-1a2b"
    with pytest.raises(ValueError, match="too many"):
        label("x" * (LONGEST + 1))


def test_labels_of_others_do_no_harm():
    """Somebody in the project's console made some."""
    assert tags({"team": "physics", "gw-node": "small-1", "odd_": "_zz", "gw-job_x": "1"})["gw-node"] == "small-1"


@given(st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,60}", fullmatch=True), st.integers(1, 10**6))
def test_a_machine_is_named_after_its_order_and_its_cluster(node, generation):
    """One name for one token, which clouds take; only its own cluster knows it by that."""
    order = NodeOrder("gw-1a2b3c", node, generation, "small", "")

    name = name_of(order)

    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", name)
    assert name_of(NodeOrder("gw-1a2b3c", node, generation + 1, "small", "")) != name
    assert node_of(f"{name}-os", "gw-1a2b3c") == node_of(name, "gw-1a2b3c") is not None
    assert node_of(name, "another") is None
    if re.fullmatch(r"[a-z][a-z0-9-]{0,28}[a-z0-9]", node):
        assert node_of(name, "gw-1a2b3c") == node
