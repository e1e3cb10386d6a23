"""LocalCloud: the elastic nodes that a gateway has without any account: this computer, in the best form it allows.

Invariant: `open` finds what an earlier gateway of the same directory left running; `teardown` leaves nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import SetupError
from gateway.provisioning.container_host import ContainerHost
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.local_driver import LocalNodeDriver
from gateway.provisioning.node import Size
from gateway.provisioning.node_host import NodeHost
from gateway.provisioning.node_image import NodeImage, Progress
from gateway.provisioning.process_host import ProcessHost
from gateway.settings import Settings, SizeSettings


@dataclass(frozen=True)
class LocalCloud:
    """A local cloud that is ready for orders. ``reason``: one sentence on its form, for the user."""

    settings: Settings
    host: NodeHost
    reason: str

    @classmethod
    def open(cls, settings: Settings, progress: Progress = lambda _: None) -> LocalCloud:
        """Prepare it; the first time this builds the node image. Raises SetupError if the form asked for cannot be."""
        host, reason = choose_host(settings, progress)
        return cls(settings=settings, host=host, reason=reason)

    @classmethod
    def reopen(cls, settings: Settings, form: str, reason: str) -> LocalCloud:
        """The cloud that `open` once made with this form, as it is: nothing is tried, built or brought up."""
        return cls(settings=settings, host=_host(settings, form), reason=reason)

    @property
    def form(self) -> str:
        """What its nodes are: "container" or "process"."""
        return self.host.form

    @property
    def address(self) -> str:
        """This computer's address as the nodes see it: what the gateway and Slurm must listen on for them."""
        return self.host.address

    def driver(self) -> LocalNodeDriver:
        """A new libcloud driver."""
        return LocalNodeDriver(self.settings.cloud_dir, node_host=self.host, sizes=self.settings.sizes)

    def provider(self) -> LibcloudProvider:
        """The node provider."""
        sizes = tuple(_size(size) for size in self.settings.sizes)
        return LibcloudProvider("local", self.driver, sizes=sizes, dialect=DIALECTS["local"])

    def teardown(self) -> None:
        """End every machine, then what they shared outside the directory."""
        driver = self.driver()
        for node in driver.list_nodes():
            driver.destroy_node(node)
        self.host.teardown()


def choose_host(settings: Settings, progress: Progress = lambda _: None) -> tuple[NodeHost, str]:
    """The host that ``settings.nodes`` names, ready; for "auto", containers if this computer can, else processes.

    Raises SetupError if a form that was asked for by name is not possible.
    """
    settings.cloud_dir.mkdir(parents=True, exist_ok=True)
    if settings.site is not None:
        if settings.nodes == "container":
            raise SetupError(
                "a site's jobs run in the site's own directories, which a container does not have",
                hint='set nodes = "process", or "auto"',
            )
        return ProcessHost(settings.cloud_dir), "nodes are processes, which share the site's file system and users"
    if settings.nodes == "process":
        return ProcessHost(settings.cloud_dir), "nodes are processes, as the settings ask"
    containers = _containers(settings)
    try:
        containers.prepare(progress)
    except SetupError as error:
        if settings.nodes == "container":
            raise
        return ProcessHost(settings.cloud_dir), f"nodes are processes, not containers: {error.detail}"
    return containers, f"nodes are containers on {containers.network.subnet}"


def _host(settings: Settings, form: str) -> NodeHost:
    return _containers(settings) if form == ContainerHost.form else ProcessHost(settings.cloud_dir)


def _containers(settings: Settings) -> ContainerHost:
    image = NodeImage(settings.cache_dir, settings.image_suite, settings.image_packages)
    return ContainerHost(settings.cloud_dir, image)


def _size(size: SizeSettings) -> Size:
    return Size(
        name=size.name,
        cores=size.cores,
        memory_mb=size.memory_mb,
        gpus=size.gpus,
        price_ucr_per_hour=size.price_ucr_per_hour,
    )
