"""What a machine has against what its size promised: the whole of it, or a sentence that says what lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.provisioning.inventory import Gpu, Inventory, Promise, hardware_shortfalls, promise_of, shortfall
from gateway.settings import SizeSettings

CARDS = tuple(Gpu("A100", f"GPU-{number}", 40960, number) for number in range(4))
PROMISED = Promise(cores=8, memory_mb=1000, gpus=4)
FOUND = Inventory(8, 1000, CARDS, "nvidia 550")
SIZE = SizeSettings(name="gpu", cores=8, memory_mb=1000, gpus=4, credits_per_hour=1, max_nodes=1)


def test_what_was_promised_is_enough():
    """And more is too."""
    assert shortfall(PROMISED, FOUND) == ""
    assert shortfall(PROMISED, Inventory(16, 2000, (*CARDS, Gpu("A100", "GPU-4", 40960, 4)))) == ""
    assert shortfall(Promise(), Inventory(0, 0)) == ""


@pytest.mark.parametrize(
    ("found", "lack"),
    [
        (replace(FOUND, cores=7), "it has 7 of 8 cores"),
        (replace(FOUND, memory_mb=899), "it has 899 of 1000 MiB, less than 90 %"),
        (replace(FOUND, gpus=CARDS[:3]), "it has 3 of 4 GPUs: GPU 3 lacks"),
        (replace(FOUND, gpus=(CARDS[0], CARDS[3])), "it has 2 of 4 GPUs: GPU 1, 2 lacks"),
        (replace(FOUND, gpus=()), "it has 0 of 4 GPUs"),
        (
            replace(FOUND, health=("GPU 1 (GPU-1): 3 uncorrected ECC errors",)),
            "GPU 1 (GPU-1): 3 uncorrected ECC errors",
        ),
        (replace(FOUND, health=("the disk of / is full: 3 MiB left",)), "the disk of / is full: 3 MiB left"),
        (replace(FOUND, cores=1, gpus=()), "it has 1 of 8 cores; it has 0 of 4 GPUs"),
    ],
)
def test_what_lacks_is_said(found, lack):
    """In one line, each lack once, the cards by their numbers."""
    assert shortfall(PROMISED, found) == lack


@pytest.mark.parametrize(
    ("memory_mb", "percent", "enough"), [(900, 90, True), (899, 90, False), (999, 100, False), (1, 0, True)]
)
def test_the_memory_that_a_kernel_keeps_is_tolerated(memory_mb, percent, enough):
    """To the MiB, as Slurm's node_reg_mem_percent does."""
    promised = replace(PROMISED, memory_percent=percent)
    assert (shortfall(promised, replace(FOUND, memory_mb=memory_mb)) == "") is enough


def test_a_full_disk_passes_with_the_job_that_filled_it():
    """Of a node with a job only what does not come back counts."""
    full = replace(FOUND, health=("the disk of / is full: 3 MiB left",))
    assert list(hardware_shortfalls(PROMISED, full)) == []


def test_faults_of_cards_that_nobody_was_promised_do_not_matter():
    """A machine that happens to have a broken GPU is a good one without GPUs."""
    broken = replace(FOUND, gpus=(), health=("GPU: nvidia-smi does not answer",))
    assert shortfall(replace(PROMISED, gpus=0), broken) == ""


def test_a_cloud_owes_all_of_the_size():
    """Whichever of its supplies the machine came from."""
    assert promise_of(SIZE, "aws/p4d.24xlarge@us-east-1a+spot", 95) == Promise(8, 1000, 4, 95)


def test_this_computer_owes_the_gpus_that_have_device_files():
    """The sizes of a demo are what the tariff sells, not what is under them."""
    real = SIZE.model_copy(update={"gpu_files": "/dev/nvidia[0-3]"})
    assert promise_of(SIZE, "local/gpu") == Promise(healthy=False)
    assert promise_of(real, "local/gpu") == Promise(gpus=4, healthy=False)


def test_an_inventory_is_one_line():
    """For the node's timeline."""
    assert str(FOUND) == "8 cores, 1000 MiB, 4 GPUs (A100; nvidia 550)"
    assert str(Inventory(2, 1000, health=("the disk of / is full",))) == "2 cores, 1000 MiB; the disk of / is full"
