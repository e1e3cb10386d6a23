"""A site's slurm.conf: read as Slurm reads it, extended by a block that can be taken out again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.site_conf import CloudPartition, SiteConf, extended, restored
from gateway.engines.slurm_conf import NodeGroup
from gateway.errors import SetupError

GROUP = NodeGroup("small", 2, 2, 1024, 0, 1200, 20000)


def site(folder: Path, text: str, **more: str) -> SiteConf:
    """The configuration of these files; ``more`` by name without ``.conf``."""
    for name, other in more.items():
        (folder / f"{name}.conf").write_text(other)
    (folder / "slurm.conf").write_text(text)
    return SiteConf.read(folder / "slurm.conf")


def partition(name: str = "cloud") -> CloudPartition:
    return CloudPartition(name, (GROUP,), {"ResumeProgram": Path("/x/resume")}, 30, 180, 60, 1440)


TEXTS = st.one_of(st.binary(max_size=200), st.sampled_from([b"", b"\n", b"a=b", b"a=b\n", b"a=b\r\n", b"a=b\n\n\n"]))


@given(TEXTS)
def test_what_was_added_can_be_taken_out_to_the_byte(text):
    """Whatever the file held, and whether or not it ended with a newline."""
    assert restored(extended(text)) == text


@given(TEXTS, TEXTS)
def test_what_the_site_changed_meanwhile_stays(before, after):
    """Lines above and below the block are the site's."""
    assert restored(b"# new\n" + extended(before) + after) == b"# new\n" + before + after


@given(TEXTS)
def test_the_site_s_own_bytes_come_first(text):
    """Nothing is changed, only added."""
    assert extended(text).startswith(text)


def test_a_text_without_our_block_stays_as_it_is():
    """Taking back twice is taking back once."""
    assert restored(b"ClusterName=a\n") == b"ClusterName=a\n"


def test_includes_are_followed_where_they_stand(tmp_path):
    """The last value counts, as in Slurm, and a key has no case."""
    conf = site(
        tmp_path, "slurmuser=a\nInclude more.conf  # here\nNodeName=n1 \\\n  CPUs=2\n", more="SlurmUser=b # slurm\n"
    )

    assert conf.get("SlurmUser") == "b"
    assert conf.flat() == "slurmuser=a\nSlurmUser=b # slurm\nNodeName=n1   CPUs=2\n"


def test_a_missing_file_and_a_circle_are_told(tmp_path):
    """With the file's name, never with a trace."""
    with pytest.raises(SetupError, match=r"other\.conf: No such file"):
        site(tmp_path, "Include other.conf\n")
    with pytest.raises(SetupError, match=r"slurm\.conf includes itself"):
        site(tmp_path, "Include slurm.conf\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ResumeProgram=/site/resume", "sets ResumeProgram=/site/resume"),
        ("prologslurmctld = /site/prolog", "sets prologslurmctld = /site/prolog"),
        ("JobSubmitPlugins=throttle", "sets JobSubmitPlugins=throttle"),
        ("PartitionName=cloud Nodes=n1", "has a partition cloud; choose another with --partition"),
        ("NodeName=small-[2-9] CPUs=4", "has a node small-2; give the sizes of burst.toml other names"),
    ],
)
def test_what_only_one_can_have_is_named_with_its_line(tmp_path, line, said):
    """The file and the number of the line, in an included file too."""
    conf = site(tmp_path, "ClusterName=a\nInclude more.conf\n", more=f"# comment\n{line}\n")

    assert conf.conflicts("cloud", ["small-1", "small-2"]) == [f"{tmp_path / 'more.conf'}:2 {said}"]


@pytest.mark.parametrize(
    "line", ["#ResumeProgram=/x", "PartitionName=clouds", "NodeName=small-3", "SlurmctldParameters=enable_configless"]
)
def test_what_both_can_have_is_no_conflict(tmp_path, line):
    """Comments, similar names, and keys that we only wish for."""
    assert site(tmp_path, f"{line}\n").conflicts("cloud", ["small-1", "small-2"]) == []


def test_the_site_s_own_parameters_are_never_overridden(tmp_path):
    """burst.conf leaves them out, and its administrator is told what to add."""
    conf = site(tmp_path, "SlurmctldParameters=enable_configless\n")

    assert "SlurmctldParameters" not in partition().text(conf)
    assert "ReconfigFlags=KeepPowerSaveSettings" in partition().text(conf)
    assert [note.split()[0] for note in conf.wishes()] == ["SlurmctldParameters"]


def test_only_the_cloud_s_nodes_are_powered_down(tmp_path):
    """SuspendTime is the partition's, never global."""
    lines = partition("burst").text(site(tmp_path, "")).splitlines()

    assert not any(line.startswith("SuspendTime") for line in lines)
    (last,) = [line for line in lines if line.startswith("PartitionName=burst ")]
    assert "SuspendTime=30" in last.split()


def test_our_own_file_is_no_part_of_the_site_s(tmp_path):
    """Installing again finds no conflict with what was installed."""
    conf = site(tmp_path, "a=b\n", burst="ResumeProgram=/x\n")
    conf.path.write_bytes(extended(conf.path.read_bytes()))
    conf = SiteConf.read(conf.path)

    assert conf.extended
    assert conf.conflicts("cloud", ())
    assert conf.without_ours().conflicts("cloud", ()) == []
