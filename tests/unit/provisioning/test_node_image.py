"""The node image: where it comes from, under which name it is kept, what it needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import SetupError
from gateway.provisioning.node_image import NodeImage, sources_from

LISTED = """\
Debian|bookworm|http://mirror.example/debian|main
Debian|bookworm-updates|http://mirror.example/debian|main
Debian|bookworm|http://mirror.example/debian|contrib
Debian|bookworm-security|http://security.example/debian-security|main
Other|nodistro|http://other.example/node|main
"""


def test_packages_come_from_the_archives_that_this_machine_uses() -> None:
    """The same sites and pockets, for the suite that is asked for; nobody else's archives."""
    assert sorted(sources_from(LISTED, "trixie").splitlines()) == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://security.example/debian-security trixie-security main",
    ]


def test_a_machine_without_a_debian_archive_is_told_so() -> None:
    """With what to do about it."""
    with pytest.raises(SetupError) as caught:
        sources_from("Other|nodistro|http://other.example/node|main\n", "trixie")

    assert "apt-get update" in (caught.value.hint or "")


def test_a_name_stands_for_one_content(tmp_path: Path) -> None:
    """Packages in another order are the same image, other packages or another suite are not."""
    image = NodeImage(tmp_path, "trixie", ("openmpi-bin", "python3-numpy"))

    assert image.path == NodeImage(tmp_path, "trixie", ("python3-numpy", "openmpi-bin")).path
    assert image.path != NodeImage(tmp_path, "trixie", ("openmpi-bin",)).path
    assert image.path != NodeImage(tmp_path, "forky", ("openmpi-bin", "python3-numpy")).path


def test_an_image_in_the_cache_is_not_built_again(tmp_path: Path) -> None:
    """Its folder has its final name only once it is whole."""
    image = NodeImage(tmp_path, "trixie")
    image.path.mkdir(parents=True)

    assert image.build(pytest.fail) == image.path


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root: the form of nodes that needs none. Without mmdebstrap: the command that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError) as caught:
        NodeImage(tmp_path, "trixie").build()

    assert ("apt-get install mmdebstrap" if os.geteuid() == 0 else "process") in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []
