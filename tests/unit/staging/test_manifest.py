"""Merging what nodes staged out: nothing is lost, nothing is ambiguous, and the same parts make the same bytes."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.jobs.store import Part
from gateway.staging.manifest import Entry, Manifest, check_path, merge

NAMES = st.sampled_from(["a", "b", "nodes", "nodes~", "n1", "n2"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.sampled_from([b"", b"x", b"y"])


def file(path: str, content: bytes, node: str) -> dict:
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path, "key": f"files/{node}/{path}", "size": len(content), "sha256": digest}


def part(node: str, files: dict[str, bytes], *errors: str) -> Part:
    return Part(node, tuple(file(path, content, node) for path, content in files.items()), errors)


@st.composite
def trees(draw):
    """Paths and contents as one file system could hold them: no file is another's folder."""
    files = draw(st.dictionaries(PATHS, CONTENTS, max_size=6))
    return {
        path: content for path, content in files.items() if not any(other.startswith(f"{path}/") for other in files)
    }


@st.composite
def all_parts(draw):
    return [part(node, draw(trees())) for node in draw(st.sampled_from([["n1"], ["n1", "n2"], ["n2", "n3", "n1"]]))]


@given(all_parts())
def test_nothing_is_lost(parts):
    """Every part's every file is in the manifest with its content, at its path or below a folder of its node."""
    merged = {entry.path: entry.sha256 for entry in merge(parts).entries}
    for each in parts:
        for staged in each.files:
            places = [
                path for path in merged if path == staged["path"] or path.endswith(f"/{each.node}/{staged['path']}")
            ]
            assert staged["sha256"] in {merged[path] for path in places}


@given(all_parts())
def test_the_first_part_keeps_its_paths(parts):
    """The leader's files are where the leader had them."""
    merged = {entry.path: entry.sha256 for entry in merge(parts).entries}
    for staged in parts[0].files:
        assert merged[staged["path"]] == staged["sha256"]


@given(all_parts())
def test_it_can_be_written_out_as_a_tree(parts):
    """Paths are unique, safe, and none is a folder of another."""
    paths = [entry.path for entry in merge(parts).entries]
    assert len(paths) == len(set(paths))
    for path in paths:
        assert check_path(path) == path
        assert not any(other.startswith(f"{path}/") for other in paths)


@given(all_parts())
def test_the_same_parts_make_the_same_bytes(parts):
    """A manifest that is written again, from files in any order, is the same; and reading it gives it back."""
    merged = merge(parts)
    backwards = [Part(each.node, tuple(reversed(each.files)), each.errors) for each in parts]
    assert merge(backwards).json == merged.json
    assert Manifest.read(merged.json) == merged
    assert merged.sha256 == hashlib.sha256(merged.json).hexdigest()
    assert list(merged.entries) == sorted(merged.entries)


@given(all_parts())
def test_reported_twice_it_counts_once(parts):
    """A part that is there twice changes nothing."""
    assert {entry.sha256 for entry in merge([*parts, parts[0]]).entries} == {e.sha256 for e in merge(parts).entries}
    assert merge([parts[0], parts[0]]).entries == merge([parts[0]]).entries


def test_what_nodes_agree_on_is_listed_once():
    """Equal files are the leader's, other content is below nodes/NODE/."""
    merged = merge([part("n1", {"same": b"x", "mine": b"1"}), part("n2", {"same": b"x", "mine": b"2"})])
    assert [(entry.path, entry.key) for entry in merged.entries] == [
        ("mine", "files/n1/mine"),
        ("nodes/n2/mine", "files/n2/mine"),
        ("same", "files/n1/same"),
    ]


def test_a_file_where_another_node_has_a_folder():
    """Both are kept, and the tree can be written."""
    merged = merge([part("n1", {"out/1": b"x"}), part("n2", {"out": b"y"}), part("n3", {"out/1/deep": b"z"})])
    assert [entry.path for entry in merged.entries] == ["nodes/n2/out", "nodes/n3/out/1/deep", "out/1"]


def test_errors_say_which_node_they_are_of():
    """The order is the nodes'."""
    assert merge([part("n1", {}, "one"), part("n2", {}, "two")]).errors == ("n1: one", "n2: two")


def test_its_json_is_canonical():
    """One line, sorted names, UTF-8: what a signature can be put on."""
    manifest = Manifest((Entry("größe", "files/n1/größe", 3, "0" * 64),), ("n1: x",))
    assert manifest.json.decode() == (
        '{"errors":["n1: x"],"files":[{"key":"files/n1/größe","path":"größe","sha256":"'
        + "0" * 64
        + '","size":3}],"version":1}'
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files":[]}', b'{"files":[{}],"errors":[]}', b"\xff"])
def test_what_is_no_manifest(content):
    """It is refused with the gateway's own error."""
    with pytest.raises(InvalidRequest):
        Manifest.read(content)


@pytest.mark.parametrize(
    "path", ["a", "a/b.c", "ü/日本", "with blank", "new\nline", "..a/...", "x" * 4096, "~", "-rf", "a\\b"]
)
def test_good_paths(path):
    """Whatever stays below where it is put."""
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../b",
        "./a",
        "a/.",
        "nul\0",
        "\udcff",
        "x" * 4097,
        None,
        1,
    ],
)
def test_bad_paths(path):
    """Whatever could leave it, or is no text."""
    with pytest.raises(InvalidRequest) as refusal:
        check_path(path)
    assert refusal.value.hint


@given(st.text())
def test_a_good_path_never_leaves(path):
    """For any text: refused, or its parts are all plain names."""
    try:
        checked = check_path(path)
    except InvalidRequest:
        return
    assert not checked.startswith("/")
    assert not {"", ".", ".."} & set(checked.split("/"))
    assert json.loads(json.dumps(checked)) == checked
