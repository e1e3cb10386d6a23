"""A job that is not what the gateway vouched for does not start on the node, and the gateway is told so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from agent_site import NODE, named

from gateway.identity.join import node_kid
from gateway.identity.specification import Voucher

KID = node_kid(NODE, 3)
SCRIPT = "#!/bin/sh\nécho hello\n"


@pytest.fixture
def scontrol(site):
    """Stands for the one program of Slurm's that is asked: what it prints is what slurmctld has."""
    tree = site.root / "slurm"
    (tree / "bin").mkdir(parents=True)
    (tree / "sbin").mkdir()
    program, held = tree / "bin/scontrol", site.root / "held"
    program.write_text(f'#!/bin/sh\n[ "$*" = "write batch_script 12 -" ] && cat {held}\n')
    program.chmod(0o755)
    identity = site.state / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"slurmd": str(tree / "sbin/slurmd")}))
    held.write_text(SCRIPT)
    return held


def refused(site):
    """Whether the job was kept from starting and the gateway told of an attack."""
    assert site.run("prolog") == 0, site.log
    told = named(site, "prolog-failed")
    return not site.directory.exists() and [each["tampered"] for each in told] == [True]


def answered(site, change):
    """Let ``change`` have its way with the gateway's answer to a prolog."""

    def hook(name, said):
        if name != "prolog":
            return None
        site.hook = lambda *_: None
        status, reply = site._prolog(said)
        return status, change(reply)

    site.hook = hook


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_script_that_was_submitted_may_run(site, scontrol, end):
    """Also where scontrol ends what it prints with a line feed of its own."""
    site.script = SCRIPT
    scontrol.write_text(SCRIPT + end)
    assert site.run("prolog") == 0
    assert named(site, "prolog-failed") == []
    assert site.directory.exists()


@pytest.mark.parametrize("other", ["", SCRIPT.upper(), SCRIPT + "true\n", SCRIPT[:-1] + " ", SCRIPT + "\n\n"])
def test_f13_a_script_with_another_digest_is_refused(site, scontrol, other):
    """Whatever Slurm was made to hold instead; the epilog then says why there are no outputs."""
    site.script = SCRIPT
    scontrol.write_text(other)
    assert refused(site)
    assert site.run("epilog") == 0
    assert named(site, "epilog")[0]["files"] == []
    assert "not the one that was submitted" in named(site, "epilog")[0]["errors"][0]


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply | {"specification": ""},
        lambda reply: {name: value for name, value in reply.items() if name != "specification"},
        lambda reply: reply | {"specification": reply["specification"][:-4] + "AAAA"},
        lambda reply: reply | {"specification": "a.b.c"},
        lambda reply: reply | {"specification": "é"},
        lambda reply: reply | {"specification": None},
        lambda reply: reply | {"user": "root"},
        lambda reply: reply | {"credential": "another's"},
        lambda reply: reply | {"environment": {"BURST_STDOUT": "/etc/passwd"}},
        lambda reply: reply | {"more": 1},
    ],
)
def test_f13_an_answer_that_was_altered_is_refused(site, change):
    """Each field of it is signed, and no field can be added."""
    answered(site, change)
    assert refused(site)


@pytest.mark.parametrize(
    ("kid", "nonce", "age_s"),
    [("node:small-2:3", None, 0), ("node:small-1:2", None, 0), (KID, "of another question", 0), (KID, None, 3600)],
)
def test_f13_an_answer_to_another_is_refused(site, kid, nonce, age_s):
    """Another node, an earlier life of this one, an earlier question, an hour ago: signed by the gateway each time."""

    def change(reply):
        plan = {name: value for name, value in reply.items() if name != "specification"}
        asked = nonce or named(site, "prolog")[-1]["nonce"]
        now = datetime.now(UTC) - timedelta(seconds=age_s)
        return reply | {"specification": site.voucher.sign(kid, plan, None, asked, now)}

    answered(site, change)
    assert refused(site)


def test_a_key_vouches_to_one_node(site):
    """What another node holds signs nothing for this one."""

    def change(reply):
        plan = {name: value for name, value in reply.items() if name != "specification"}
        forged = Voucher(b"another secret").sign(KID, plan, None, named(site, "prolog")[-1]["nonce"], datetime.now(UTC))
        return reply | {"specification": forged}

    answered(site, change)
    assert refused(site)
    assert len({site.voucher.key(f"node:small-{number}:{life}") for number in (1, 2) for life in (1, 2)}) == 4
