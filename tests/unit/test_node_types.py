"""Types of nodes as they are written: what offers come to, and one sentence with its place for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import SetupError
from gateway.provisioning.supply import Supplies, Supply
from gateway.setting_files import place_of
from gateway.settings import Settings

TYPES = """\
order = "cheapest"

[currencies]
USD = 10.0

[[clouds]]
name = "aws"
kind = "ec2"
region = "eu-west-2"

[[clouds.sizes]]
name = "c7i.large"
cores = 2
memory_mb = 4096
credits_per_hour = "book"
max_nodes = 5

[[clouds.sizes]]
name = "c7i.metal"
cores = 192
memory_mb = 393216
credits_per_hour = 90.0
max_nodes = 1
bare_metal = true

[[sizes]]
name = "small"
cores = 2
memory_mb = 2048
credits_per_hour = 2.0
max_nodes = 4
min_nodes = 1
max_credits_per_hour = 3.0

[[sizes.offers]]
cloud = "aws"
size = "c7i.large"
zones = ["eu-west-2a", "eu-west-2b"]
market = "spot-first"
max_credits_per_hour = 1.5

[[sizes.offers]]
cloud = "local"
size = "small"

[[sizes]]
name = "whole"
cores = 96
memory_mb = 2048
credits_per_hour = "book"
max_nodes = 4
offers = ["aws/c7i.metal@eu-west-2c+spot"]
"""


def written(directory, text, name="node-types.toml"):
    (directory / name).write_text(text)
    return directory


def test_offers_come_to_a_supply_a_zone_and_market(tmp_path):
    """In their order, each with its limits."""
    known = Supplies.of(Settings.load(written(tmp_path, TYPES))).known

    assert known["small"] == (
        Supply("aws/c7i.large@eu-west-2a+spot", 5, 1_500_000),
        Supply("aws/c7i.large@eu-west-2b+spot", 5, 1_500_000),
        Supply("aws/c7i.large@eu-west-2a", 5, 1_500_000),
        Supply("aws/c7i.large@eu-west-2b", 5, 1_500_000),
        Supply("local/small", None, 3_000_000),
    )
    assert known["whole"] == (Supply("aws/c7i.metal@eu-west-2c+spot", 1, None, bare_metal=True),)
    assert known["whole"][0].zone == "eu-west-2c"
    assert known["whole"][0].kind == "aws/c7i.metal"


SAME = "the line with the mistake"
MISTAKES = [
    ('market = "spot-first"', 'market = "spott"', SAME, "'spot' or 'spot-first'"),
    ('zones = ["eu-west-2a", "eu-west-2b"]', 'zones = ["a", "a"]', SAME, "a zone is named twice"),
    ('zones = ["eu-west-2a", "eu-west-2b"]', 'zones = ["a/b"]', SAME, "'a/b' is no name of a zone"),
    ("max_credits_per_hour = 1.5", "max_credits_per_hour = 0", SAME, "greater than 0"),
    ('offers = ["aws/c7i.metal@eu-west-2c+spot"]', 'offers = ["aws"]', SAME, "'aws' is no offer; write"),
    ("min_nodes = 1", "min_nodes = 9", "[[sizes]]", "min_nodes 9 is more than max_nodes 4"),
    ("credits_per_hour = 90.0", "credits_per_hour = -1.0", SAME, "a price is a number of credits above 0"),
    ("credits_per_hour = 90.0", "credits_per_hour = 0", SAME, "a price is a number of credits above 0"),
    ("credits_per_hour = 90.0", 'credits_per_hour = "free"', SAME, 'above 0, or "book"'),
    ("bare_metal = true", "bare_metall = true", SAME, "Extra inputs are not permitted"),
    ("USD = 10.0", "usd = 10.0", "[currencies]", "usd is no currency"),
    ("USD = 10.0", "USD = 0.0", "[currencies]", "USD: a rate is more than 0"),
    ('order = "cheapest"', 'order = "best"', SAME, "'listed' or 'cheapest'"),
    (
        "credits_per_hour = 2.0",
        'credits_per_hour = "book"',
        "[[sizes]]",
        "the local cloud has no price list; write a price",
    ),
    ("cores = 96", "cores = 960", "", "size whole: its offer aws/c7i.metal has less cores"),
    ('size = "c7i.large"', 'size = "c7i.small"', "", "size small: there is no offer aws/c7i.small; there are"),
    ("max_nodes = 4\nmin", 'max_nodes = 4\ngpu_type = "a100"\nmin', "[[sizes]]", "gpu_type names GPUs, and gpus is 0"),
    ('name = "whole"', 'name = "small"', "", "names differ"),
    ('size = "small"\n', 'size = "small"\nmarket = "spot"\n', "", "neither zones nor spot machines"),
]


@pytest.mark.parametrize(("right", "wrong", "where", "words"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path, right, wrong, where, words):
    """The field's own line; that of its table where the fields do not fit together; the file for the whole."""
    assert right in TYPES
    text = TYPES.replace(right, wrong, 1)
    with pytest.raises(ValueError, match="validation error") as refused:
        Settings.load(written(tmp_path, text))
    first = refused.value.errors()[0]

    assert words in first["msg"]
    file, _, line = place_of(tmp_path, first["loc"]).partition(":")
    assert file == f"{tmp_path}/node-types.toml"
    assert (text.splitlines()[int(line) - 1] if line else "") == (wrong.splitlines()[-1] if where == SAME else where)


def test_the_command_says_it_in_one_line(tmp_path):
    """As `burst up` passes it on."""
    written(tmp_path, TYPES.replace('market = "spot-first"', 'market = "spott"'))
    command = [sys.executable, "-m", "gateway.bootstrap", "serve", "--dir", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    error = json.loads(said.stderr.splitlines()[-1])

    assert said.returncode == 1
    line = TYPES.splitlines().index('market = "spot-first"') + 1
    assert error["error"].startswith(f"{tmp_path}/node-types.toml:{line}: sizes.0.offers.0.market: Input should be")
    assert "\n" not in error["error"]


@pytest.mark.parametrize(
    ("types", "general", "words"),
    [
        ("order = [[\n]x", "", r"node-types\.toml: .*line 2"),
        ("", "sizes = [\n", r"burst\.toml: "),
        ("idle_s = 3", "", "idle_s is no setting of node types"),
        ('order = "listed"', 'order = "listed"', "order is in .* and in burst.toml"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_name(tmp_path, types, general, words):
    """No TOML, what belongs elsewhere, or what is said twice."""
    written(tmp_path, types)
    written(tmp_path, general, "burst.toml")
    with pytest.raises(SetupError, match=words):
        Settings.load(tmp_path)


def test_the_example_is_in_order(tmp_path):
    """As it stands in the documentation."""
    example = Path(__file__).parents[2] / "examples/node-types/node-types.toml"
    known = Supplies.of(Settings.load(written(tmp_path, example.read_text()))).known

    assert [len(known[size]) for size in ("medium", "whole", "gpu")] == [7, 1, 2]
