"""A machine that really boots: its own kernel, cloud-init over HTTP, a job, and the end of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from faults import kill
from gateway_site import NewSite, Site, eventually

from gateway.bootstrap.lifecycle import toml_text
from gateway.provisioning.instance import Instances

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(1800)]

BOOT_S = 1000
SIZE = {"name": "vm", "cores": 2, "memory_mb": 768, "credits_per_hour": 1.0, "max_nodes": 1}
CLOUD = {"name": "qemu", "kind": "vms", "poll_s": 0.5, "sizes": [SIZE], "options": {"packages": []}}

SCRIPT = """
uname -r > kernel.txt
cat /proc/cmdline >> kernel.txt
systemd-detect-virt >> kernel.txt
id -un >> kernel.txt
cat /sys/class/dmi/id/product_serial > serial.txt 2> /dev/null || echo refused > serial.txt
"""


@pytest.fixture(scope="module")
def site(containers: None, module_site: NewSite) -> Iterator[Site]:
    for program in ("qemu-system-x86_64", "qemu-img"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install qemu-system-x86 qemu-utils")
    settings = {"sizes": toml_text([{**SIZE, "offers": ["qemu/vm"]}]), "clouds": toml_text([CLOUD])}
    running = module_site(start=False, nodes="container", idle_s=5, resume_timeout_s=BOOT_S, **settings)
    yield running.up()
    running.down()
    assert not list((running.directory / "vms/qemu").glob("*/node.json"))
    assert not [path for path in Path("/sys/class/net").iterdir() if path.name in interfaces]


interfaces: set[str] = set()
"""What the machine brought into the kernel, to be looked for at the end."""


def test_a_job_runs_on_a_machine_with_a_kernel_of_its_own(site: Site) -> None:
    """From nothing to settled: image, boot, seed, join, job, outputs; on the way the gateway is killed once."""
    job = site.submit(SCRIPT)
    (instance,) = eventually(lambda: tuple(Instances(site.directory / "vms/qemu")), "a machine")
    address = (instance.folder / "seed-address").read_text()
    seed = f"{site.machine.node_url}/seed/{address}"
    assert "once" not in httpx.get(f"{seed}/meta-data").text
    assert "join.json" in httpx.get(f"{seed}/user-data").text
    assert httpx.get(f"{seed}x/user-data").status_code == 404
    interfaces.update(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith("bv"))

    kill(site, "gateway")
    site.up()
    with site.login() as gateway:
        view = eventually(lambda: (v := gateway.job(job.burst_id)).finished and v, "job settled", BOOT_S)
    assert view.state == "COMPLETED", (view.reason, site.last_words(), instance.console.read_text()[-3000:])

    out = site.directory.parent / "out"
    assert site.burst("fetch", str(job.id), "--to", str(out)).code == 0
    release, line, kind, user = next(out.rglob("kernel.txt")).read_text().splitlines()
    assert release.endswith("cloud-amd64")
    assert "root=LABEL=root" in line
    assert address not in line
    assert (kind, user) == ("qemu", "nobody")
    assert next(out.rglob("serial.txt")).read_text() == "refused\n"
    assert address not in (site.directory / "log/gateway.log").read_text()

    eventually(lambda: not tuple(Instances(site.directory / "vms/qemu")), "the machine's end")
    assert httpx.get(f"{seed}/user-data").status_code == 404
