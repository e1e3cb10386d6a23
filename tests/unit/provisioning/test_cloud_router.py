"""All clouds as one: what is left behind at one is not hidden by another that does not answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.errors import CloudAuth, CloudInvalid
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.node import Leftover, LeftoverKind


@dataclass
class Leaving:
    """A cloud in which a disk is left."""

    left: list[Leftover] = field(default_factory=lambda: [Leftover("zones/z/disks/d", LeftoverKind.DISK)])
    shut: bool = False

    def leftovers(self, cluster):  # noqa: ARG002 - the port's
        if self.shut:
            raise CloudAuth("its credential expired")
        return tuple(self.left)

    def clean(self, leftover):
        self.left.remove(leftover)


def test_a_cloud_that_does_not_answer_hides_no_others_leftovers():
    """The other's are found under its name, and removed there."""
    near, far, shut = Leaving(), Leaving(), Leaving(shut=True)
    router = CloudRouter(near, {"shut": shut, "far": far})

    found = router.leftovers("ours")
    router.clean(found[1])

    assert [each.id for each in found] == ["local/zones/z/disks/d", "far/zones/z/disks/d"]
    assert (len(near.left), far.left, len(shut.left)) == (1, [], 1)


def test_what_is_of_no_cloud_that_there_is_cannot_be_removed():
    """It is said so; the settings may have lost the cloud."""
    with pytest.raises(CloudInvalid, match="no cloud moon"):
        CloudRouter(Leaving()).clean(Leftover("moon/d", LeftoverKind.DISK))
