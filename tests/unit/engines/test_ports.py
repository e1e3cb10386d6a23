"""Ports that are chosen once."""

from __future__ import annotations

import socket

from gateway.engines.ports import remembered


def test_ports_are_chosen_once(tmp_path):
    """A second look gives the same ports; names that come later get ports of their own."""
    file = tmp_path / "new" / "ports.json"
    first = remembered(file, {"slurmctld": 1, "nodes": 20})
    assert remembered(file, {"slurmctld": 1, "nodes": 20}) == first
    more = remembered(file, {"slurmctld": 1, "nodes": 20, "slurmrestd": 1})
    assert {name: more[name] for name in first} == first
    assert more["slurmrestd"] not in range(first["nodes"], first["nodes"] + 20)


def test_chosen_ports_are_free(tmp_path):
    """Every port of a row can be bound."""
    first = remembered(tmp_path / "ports.json", {"nodes": 5})["nodes"]
    for port in range(first, first + 5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_nothing_wanted_is_nothing_written(tmp_path):
    """A form without node ports has none."""
    assert remembered(tmp_path / "ports.json", {"nodes": 0}) == {}
    assert not (tmp_path / "ports.json").exists()
