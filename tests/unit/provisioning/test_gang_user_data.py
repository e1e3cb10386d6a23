"""Gang user-data: one text, which cloud-init makes another on each machine; and what a machine is given alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_user_data import schema_check

from gateway.provisioning.gang_user_data import GangUserData, beginning_at, numbered, one_time_token, render_gang
from gateway.provisioning.user_data import JOIN_FILE, MAX_BYTES, file_in
from slurm_plugins.agent.daemon import claim

GANG = "ab" * 16
PLAIN = GangUserData(GANG, "hush", "http://10.0.0.1", "http://10.0.0.1/agent", "a" * 64, "burst", "ssh-ed25519 AAAA")
TEXTS = st.text(max_size=80)


def on_machine(user_data: str, index: object) -> str:
    """As cloud-init renders it where the cloud's metadata has this ami-launch-index."""
    header, _, template = user_data.partition("\n")
    assert header == "## template: jinja"
    found = jinja2.Template(template, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return found.render(ds={"meta_data": {} if index is None else {"ami_launch_index": index}})


def invitation(text: str) -> dict[str, object]:
    return dict(json.loads(file_in(text, JOIN_FILE)))


@pytest.mark.parametrize("index", [0, 7, "7", 4999])
def test_each_machine_learns_its_number_from_its_cloud(index: object) -> None:
    """EC2's metadata is text, NoCloud's may be a number; nothing else differs between the machines."""
    found = invitation(on_machine(render_gang(PLAIN), index))

    assert (found["gang"], found["number"], found["secret"]) == (GANG, int(index), "hush")


def test_a_machine_whose_cloud_does_not_number_it_is_no_number_0() -> None:
    """It would take the place of another; cloud-init fails instead."""
    with pytest.raises(jinja2.UndefinedError):
        on_machine(render_gang(PLAIN), None)


def test_a_call_that_begins_later_counts_from_there() -> None:
    """The cloud counts each call's machines from 0."""
    text = beginning_at(render_gang(PLAIN), 500)

    assert invitation(on_machine(text, "3"))["number"] == 503
    assert invitation(on_machine(beginning_at(text, 0), "3"))["number"] == 3


def test_a_machine_that_is_ordered_alone_has_its_own_token_only() -> None:
    """The secret, of which the others' tokens are made, is not in its user-data."""
    text = numbered(render_gang(PLAIN), 2)

    found = invitation(text)
    assert (found["number"], found["token"]) == (2, one_time_token("hush", 2))
    assert "hush" not in text
    assert claim(found) == {"gang": GANG, "number": 2, "token": one_time_token("hush", 2)}


def test_the_agent_makes_the_token_that_the_gateway_expects() -> None:
    """Each number has another."""
    claims = [claim(invitation(on_machine(render_gang(PLAIN), index))) for index in range(3)]

    assert [each["token"] for each in claims] == [one_time_token("hush", index) for index in range(3)]
    assert len({each["token"] for each in claims}) == 3


def test_other_user_data_stays_as_it_is() -> None:
    """What an order has of its own is given as it is."""
    assert numbered("#cloud-config\n{}\n", 3) == beginning_at("#cloud-config\n{}\n", 3) == "#cloud-config\n{}\n"


@settings(deadline=None, max_examples=60)
@given(secret=TEXTS, url=TEXTS, fact=TEXTS)
@example(secret="{% endraw %}", url="{{ 7*7 }}{# #}", fact="\\x7b% \\{%")
@example(secret='"\n- path: /etc/passwd\n', url="{%", fact="@number@")
def test_no_value_can_become_a_template_or_yaml(secret: str, url: str, fact: str) -> None:
    """Whatever is in them, each is read back as it was given: on every machine, and by one that is ordered alone."""
    text = render_gang(GangUserData(GANG, secret, url, url, url, url, url, {"fact": fact}))

    shared, alone = invitation(on_machine(text, "1")), invitation(numbered(text, 1))

    assert (shared["secret"], shared["gateway_url"], shared["fact"]) == (secret, url, fact)
    assert (alone["token"], alone["gateway_url"], alone["fact"]) == (one_time_token(secret, 1), url, fact)
    for rendered in (on_machine(text, 1), numbered(text, 1)):
        authority = file_in(rendered, "/etc/ssh/burst/ca.pub")
        assert authority == url
        assert set(yaml.safe_load(rendered)) == set(yaml.safe_load(numbered(render_gang(PLAIN), 0)))


def test_it_fits_every_cloud() -> None:
    """EC2 takes 16 KB of what is longer by a third when it is sent."""
    assert len(render_gang(PLAIN).encode()) < MAX_BYTES


def test_cloud_init_accepts_what_a_machine_makes_of_it(tmp_path: Path) -> None:
    """cloud-init's own schema check finds no fault."""
    command = schema_check(tmp_path)
    file = tmp_path / "user-data"
    file.write_text(on_machine(render_gang(PLAIN), "1"))

    done = subprocess.run([*command], stdin=file.open(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
