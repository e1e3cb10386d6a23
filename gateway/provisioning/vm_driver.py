"""Virtual machines on this computer, as an Apache Libcloud compute driver and as a node provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.errors import SetupError
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.local_driver import LocalNodeDriver
from gateway.provisioning.node import Size
from gateway.provisioning.node_image import NodeImage, Progress
from gateway.provisioning.vm_host import VmHost
from gateway.settings import CREDIT, SizeSettings


class QemuDriver(LocalNodeDriver):
    """Machines that really boot, below the folder ``key``; everything else is as with `LocalNodeDriver`.

    Their user-data must be an invitation of a gateway that serves `gateway.provisioning.seed` for that folder.
    """

    name = "Burst virtual machines"
    type = "burst_qemu"

    def __init__(self, key: str | Path, *, image: NodeImage, sizes: Sequence[SizeSettings], **kwargs: Any) -> None:
        super().__init__(key, node_host=VmHost(Path(key), image), sizes=sizes, **kwargs)


def open_vms(
    name: str,
    sizes: Sequence[Size],
    *,
    most: Mapping[str, int],
    image: NodeImage,
    folder: Path,
    progress: Progress = lambda _: None,
) -> LibcloudProvider:
    """A provider called ``name`` of machines kept below ``folder``; ``most``: of each size at once.

    The first time this builds ``image``, which takes minutes. Raises SetupError if this computer cannot do it.
    """
    offered = [_offered(name, size, most[size.name]) for size in sizes]
    VmHost(folder, image).prepare(progress)

    def driver() -> QemuDriver:
        return QemuDriver(folder, image=image, sizes=offered)

    return LibcloudProvider(name, driver, sizes=tuple(sizes), dialect=DIALECTS["local"])


def _offered(cloud: str, size: Size, most: int) -> SizeSettings:
    try:
        return SizeSettings(
            name=size.name,
            cores=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            credits_per_hour=(size.price_ucr_per_hour or CREDIT) / CREDIT,
            max_nodes=most,
        )
    except ValidationError as error:
        raise SetupError(f"{cloud}: size {size.name}: {error.errors()[0]['msg']}", hint="rename it") from None
