"""Alert rules and the Grafana board: they ask for what the gateway measures, and each alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import gateway.service.joining  # its counters are asked for too
from gateway.provisioning import doubt, figures
from gateway.provisioning.lifecycle import NodeState

DOCS = Path(__file__).parents[2] / "docs"
MODULES = (doubt, figures, gateway.service.joining)
NAME = re.compile(r"\bburst_\w+")
STATE = re.compile(r'state(?:=|!=|=~|!~)"([^"]*)"')
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
BOARD = json.loads((DOCS / "grafana/burst-nodes.json").read_text())


def expressions() -> list[str]:
    """Every expression of the rules and the board."""
    targets = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in RULES] + targets


def measured() -> set[str]:
    """The names that the gateway's registry has, a histogram's and a counter's own endings included."""
    names = {metric.name for metric in REGISTRY.collect()}
    return names | {f"{name}{ending}" for name in names for ending in ("_total", "_bucket", "_count", "_sum")}


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_is_measured(expression: str) -> None:
    """Given an expression of a rule or a panel, each metric in it is one of the gateway's, each state a node's."""
    assert set(NAME.findall(expression)) <= measured()
    states = {word for group in STATE.findall(expression) for word in group.split("|")}
    assert states <= {str(state) for state in NodeState}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Given an alert, it has a severity, a sentence on what is wrong and one on what to do next."""
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]


def test_the_metrics_of_the_page_are_those_that_there_are() -> None:
    """Given docs/operations.md, every metric that it names is measured."""
    named = set(re.findall(r"`(burst_\w+)`", (DOCS / "operations.md").read_text()))
    assert named
    assert named <= measured()


def test_promtool_accepts_the_rules() -> None:
    """Given Prometheus' own tool, it finds no fault in the rules."""
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not here: Debian's package prometheus has it")
    words = [promtool, "check", "rules", str(DOCS / "alerts.yml")]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
