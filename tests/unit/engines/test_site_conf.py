"""A site's slurm.conf: read as Slurm reads it, extended, and given back to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.site_block import extended, has_block, restored
from gateway.engines.site_checks import Finding, Surroundings, findings, stops
from gateway.engines.site_conf import SiteConf, joined
from gateway.engines.site_partition import CloudPartition, with_lua
from gateway.engines.slurm_conf import NodeGroup
from gateway.errors import SetupError

GROUP = NodeGroup("small", 2, 2, 1024, 0, 1200, 20000)
RUNNING = {"SLURM_VERSION": "24.11.5"}


def site(folder: Path, text: str, **more: str) -> SiteConf:
    """The configuration of these files; ``more`` by name without ``.conf``."""
    for name, other in more.items():
        (folder / f"{name}.conf").write_text(other)
    (folder / "slurm.conf").write_text(text)
    return SiteConf.read(folder / "slurm.conf")


def partition(name: str = "cloud") -> CloudPartition:
    return CloudPartition(name, (GROUP,), {"ResumeProgram": Path("/x/resume")}, 30, 180, 60, 1440)


def around(running: dict[str, str] = RUNNING, *, lua: bool = False) -> Surroundings:
    return Surroundings(running, "", frozenset({"job_submit_lua"}), lua, (), ())


def found(conf: SiteConf, level: str) -> list[str]:
    """The findings of a level, as they are printed."""
    return [one.line() for one in findings(conf, partition(), around()) if one.level == level]


TEXTS = st.one_of(st.binary(max_size=200), st.sampled_from([b"", b"\n", b"a=b", b"a=b\n", b"a=b\r\n", b"a=b\n\n\n"]))


@given(TEXTS)
def test_what_was_added_can_be_taken_out_to_the_byte(text):
    """Whatever the file held, and whether or not it ended with a newline."""
    assert restored(extended(text)) == text


@given(TEXTS, TEXTS)
def test_what_the_site_changed_meanwhile_stays(before, after):
    """Lines above and below the block are the site's; two of them never become one."""
    glued = b"\n" if after and before and not before.endswith(b"\n") else b""

    assert restored(b"# new\n" + extended(before) + after) == b"# new\n" + before + glued + after


@given(TEXTS)
def test_extending_twice_is_extending_once(text):
    """The block is found again, wherever it stands."""
    assert extended(extended(text)) == extended(text)
    assert has_block(extended(text))
    assert not has_block(restored(extended(text)))


_WORDS = st.text("abcXYZ019_./", min_size=1, max_size=8)
_LINES = st.one_of(
    st.builds("{}={}".format, st.sampled_from(["ClusterName", "slurmuser", "TreeWidth", "Prolog"]), _WORDS),
    st.builds("NodeName={} CPUs=2 \\\n   RealMemory=5".format, _WORDS),
    st.builds("# {} \\".format, _WORDS),
    st.builds("{}={} # said".format, st.just("MailProg"), _WORDS),
    st.just(""),
    st.just("  \t"),
)


@given(st.lists(_LINES, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_setting_is_read_and_every_byte_kept(lines, newline, ends):
    """What a hand-kept file may hold: comments, continuations, CRLF, no newline at the end."""
    text = newline.join(lines) + (newline if ends else "")
    raw = text.encode()

    read = [line for _, line in joined(text)]

    wanted = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert [" ".join(line.split()) for line in read if line.strip()] == [
        " ".join(line.replace("\\\n", "").split()) for line in wanted
    ]
    assert restored(extended(raw)) == raw


def test_a_comment_that_ends_with_a_backslash_goes_no_further():
    """Slurm takes comments out before it joins lines; blanks after the backslash do not count, a doubled one does."""
    text = "# see C:\\\nA=1\nB=2 \\  \n C=3\nD=4\\\\\nE=5 # \\#\nF=\\#6\n"

    assert [line for _, line in joined(text) if line.strip()] == ["A=1", "B=2  C=3", "D=4\\\\", "E=5 ", "F=\\#6"]


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
    assert conf.flat() == "slurmuser=a\nSlurmUser=b \nNodeName=n1   CPUs=2\n"
    assert conf.flat(without=frozenset({"slurmuser"})) == "NodeName=n1   CPUs=2\n"


def test_several_settings_may_share_a_line(tmp_path):
    """And values may be quoted; what follows NodeName= on its line is the node's own."""
    conf = site(tmp_path, 'ClusterName=a SlurmUser="sl urm"\nNodeName=n1 CPUs=2 Port=7\n')

    assert (conf.get("clustername"), conf.get("SlurmUser"), conf.get("Port")) == ("a", "sl urm", "")
    assert list(conf.nodes()) == ["n1"]


def test_the_cluster_s_name_may_stand_in_an_include(tmp_path):
    """As slurm.conf(5) has it: %c, in lower case."""
    conf = site(tmp_path, "ClusterName=Physics\nInclude %c.conf\n", physics="NodeName=n9\n")

    assert list(conf.nodes()) == ["n9"]


def test_a_missing_file_and_a_circle_are_told(tmp_path):
    """With the file's name, never with a trace."""
    with pytest.raises(SetupError, match=r"slurm\.conf:1 includes .*other\.conf: No such file"):
        site(tmp_path, "Include other.conf\n")
    with pytest.raises(SetupError, match=r"slurm\.conf includes itself"):
        site(tmp_path, "Include slurm.conf\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PartitionName=cloud Nodes=n1", "it has a partition cloud; choose another with --partition"),
        ("PartitionName=main Nodes=ALL", "partition main has Nodes=ALL, which would be the cloud's nodes too"),
        ("NodeName=small-[2-9] CPUs=4", "it has a node small-2; give the sizes of burst.toml other names"),
        ("NodeName=n1 Port=20001", "n1 has a port of our nodes"),
        ("SlurmctldPort=19990-20010", "slurmctldport is a port of our nodes"),
        ("SelectType=select/cray_aries", "select/cray_aries cannot give a job whole nodes"),
    ],
)
def test_what_cannot_be_shared_stops_and_names_its_line(tmp_path, line, said):
    """The file and the number of the line, in an included file too."""
    conf = site(tmp_path, "ClusterName=a\nInclude more.conf\n", more=f"# comment\n{line}\n")

    (stop,) = found(conf, "stop")
    assert stop.startswith(f"stop  {tmp_path / 'more.conf'}:2: {said}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ResumeProgram=/site/resume", "/site/resume stays: ResumeProgram of ours calls it for all other nodes"),
        ("prologslurmctld = /site/prolog", "/site/prolog stays: Slurm runs both"),
        ("JobSubmitPlugins=throttle", "throttle stays: burst.conf sets JobSubmitPlugins=throttle,lua"),
        ("SlurmctldHost=a\nSlurmctldHost=b(10.0.0.2)", "the backup controller b needs the same files"),
        ("PartitionName=DEFAULT AllowGroups=x", "AllowGroups of PartitionName=DEFAULT will hold for the cloud"),
        ("PrivateData=jobs,cloud", "cloud is needless since 23.02"),
        ("EnforcePartLimits=ALL", "a job for two partitions must fit both"),
        ("TreeWidth=50", "TreeWidth is 50: nodes pass messages on"),
        ("TopologyPlugin=topology/tree", "topology.conf does not know the cloud's nodes"),
    ],
)
def test_what_both_can_have_is_only_told(tmp_path, line, said):
    """One clear line each; none of it stops the installation."""
    conf = site(tmp_path, f"{line}\n")

    assert found(conf, "stop") == []
    assert any(said in one for one in found(conf, "note"))


@pytest.mark.parametrize("line", ["#ResumeProgram=/x", "PartitionName=clouds", "NodeName=small-x", "NodeName=smalls-1"])
def test_what_only_looks_like_ours_is_nothing(tmp_path, line):
    """Comments and similar names."""
    assert found(site(tmp_path, f"{line}\n"), "stop") == []


def test_what_stands_around_can_stop_it_too(tmp_path):
    """A slurmctld that is away or too old, no Lua in Slurm, files of our names, rights."""
    conf = site(tmp_path, "ClusterName=a\n")
    away = Surroundings(
        {}, "no route", frozenset({"job_submit_throttle"}), False, (tmp_path / "burst.conf",), ("only root may",)
    )

    said = [one.line() for one in stops(findings(conf, partition(), away))]

    assert [
        "slurmctld: it does not answer: no route" in said[0],
        "no plugin job_submit_lua" in said[1],
        "not ours" in said[2],
    ] == [True] * 3
    assert said[3] == "stop  permissions: only root may"
    old = stops(findings(conf, partition(), around({"SLURM_VERSION": "23.02.7"})))
    assert old == [Finding("stop", "slurmctld", "it is release 23.02.7; the gateway knows 24.11 to 26.05")]


@pytest.mark.parametrize(
    ("own", "both"),
    [("", "lua"), ("lua", "lua"), ("throttle, lua", "throttle,lua"), ("job_submit/lua", "job_submit/lua")],
)
def test_lua_is_added_to_the_site_s_own_plugins(own, both):
    """They keep their order, and Lua is never there twice."""
    assert with_lua(own) == both


def test_the_site_s_own_parameters_are_never_overridden(tmp_path):
    """burst.conf leaves them out, and its administrator is told what to add."""
    conf = site(tmp_path, "SlurmctldParameters=enable_configless\n")

    assert "SlurmctldParameters" not in partition().text(conf)
    assert "ReconfigFlags=KeepPowerSaveSettings" in partition().text(conf)
    assert any("SlurmctldParameters is the site's own and stays" in one for one in found(conf, "note"))


def test_the_shape_of_the_site_s_nodes_is_not_inherited(tmp_path):
    """NodeName=DEFAULT holds for all nodes below it, and ours are below."""
    conf = site(tmp_path, "NodeName=DEFAULT Sockets=2 CoresPerSocket=16\nNodeName=n1\n")

    assert "SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1" in partition().text(conf)


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
    assert conf.get("ResumeProgram") == "/x"
    assert conf.without_ours().get("ResumeProgram") == ""
