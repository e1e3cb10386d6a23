"""A job goes to the cheapest offer that it fits on, or is told what is too much."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gateway.errors import NoOfferFits
from gateway.jobs.job import Resources
from gateway.placement.offers import Offer
from gateway.placement.place import place

SMALL = Offer("small", "local", 2, 1024, 0, 12, 1_200_000)
LARGE = Offer("large", "local", 8, 4096, 0, 4, 6_000_000)
GPU = Offer("gpu", "local", 4, 4096, 1, 2, 30_000_000)
OFFERS = (SMALL, LARGE, GPU)


@pytest.mark.parametrize(
    ("asked", "offer"),
    [
        (Resources(), SMALL),
        (Resources(nodes=12, cpus_per_node=2), SMALL),
        (Resources(cpus_per_node=3), LARGE),
        (Resources(memory_mb_per_node=1024), SMALL),
        (Resources(memory_mb_per_node=1025), LARGE),
        (Resources(gpus_per_node=1), GPU),
        (Resources(nodes=2, gpus_per_node=1, cpus_per_node=4, memory_mb_per_node=4096), GPU),
        (Resources(nodes=4, cpus_per_node=8), LARGE),
        (Resources(array_tasks=1000), SMALL),
    ],
)
def test_the_cheapest_that_fits_is_chosen(asked, offer):
    """By CPUs, memory, GPUs and nodes; the tasks of an array may wait for each other."""
    assert place(asked, OFFERS).offer == offer
    assert place(asked, OFFERS).nodes == asked.nodes


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Resources(gpus_per_node=3), "The job asks for 3 GPUs a node; the largest offer, gpu, has 1."),
        (Resources(cpus_per_node=9), "The job asks for 9 CPUs a node; the largest offer, large, has 8."),
        (
            Resources(memory_mb_per_node=9999),
            "The job asks for 9999 MB of memory a node; the largest offer, large, has 4096.",
        ),
        (Resources(nodes=13), "The job asks for 13 nodes; the largest offer, small, has 12."),
    ],
)
def test_what_is_too_much_is_named_with_the_most_there_is(asked, words):
    """One sentence that a user can act on, and where to look."""
    with pytest.raises(NoOfferFits) as refused:
        place(asked, OFFERS)
    assert refused.value.detail == words
    assert refused.value.hint


def test_too_many_nodes_of_the_only_size_that_fits_is_said_so():
    """Twelve nodes there are, and eight CPUs, but not twelve nodes of eight CPUs."""
    with pytest.raises(NoOfferFits) as refused:
        place(Resources(nodes=12, cpus_per_node=8), (SMALL, LARGE))
    assert refused.value.detail == "The job asks for 12 nodes; the largest offer with such nodes, large, has 4."


def test_what_no_offer_has_together_is_said_so():
    """Eight CPUs there are, and a GPU, but not in one node."""
    with pytest.raises(NoOfferFits) as refused:
        place(Resources(gpus_per_node=1, cpus_per_node=8), (LARGE, GPU))
    assert refused.value.detail == (
        "No single offer has all that the job asks for, 1 GPU and 8 CPUs a node: "
        "large has 0 GPUs, 8 CPUs and 4096 MB of memory; "
        "gpu has 1 GPU, 4 CPUs and 4096 MB of memory."
    )


def test_tasks_are_spread_over_as_many_nodes_as_the_size_needs():
    """Sixteen tasks are eight small nodes or two large ones, whichever is cheaper: eight at 1.2 against two at 6."""
    placement = place(Resources(tasks=16), OFFERS)

    assert (placement.offer, placement.nodes) == (SMALL, 8)
    assert place(Resources(tasks=26), OFFERS).offer == LARGE


def test_gpus_of_the_whole_job_are_spread_too():
    """Two GPUs are two nodes with one each; without any GPU they are refused in words."""
    assert place(Resources(gpus=2), OFFERS).nodes == 2
    with pytest.raises(NoOfferFits, match="asks for 1 GPU a node; the largest offer"):
        place(Resources(gpus=2), (SMALL, LARGE))


@pytest.mark.parametrize("price", [0, -1])
def test_an_offer_without_a_price_is_never_chosen(price):
    """Not even when it is the only one that fits."""
    unpriced = Offer("big", "local", 64, 99_999, 8, 99, price)

    assert place(Resources(), (unpriced, LARGE)).offer == LARGE
    with pytest.raises(NoOfferFits, match="the largest offer, large, has 8"):
        place(Resources(cpus_per_node=64), (unpriced, LARGE))
    with pytest.raises(NoOfferFits, match="has a price"):
        place(Resources(), (unpriced,))


def test_the_order_of_the_offers_does_not_matter():
    """Equal prices are decided by size, then by name."""
    twins = (Offer("b", "x", 2, 1024, 0, 1, 5), Offer("a", "x", 2, 1024, 0, 1, 5), Offer("c", "x", 4, 1024, 0, 1, 5))

    assert {place(Resources(), order).offer.name for order in itertools.permutations(twins)} == {"a"}


def test_a_placement_knows_its_price():
    """All its nodes together."""
    assert place(Resources(nodes=3), OFFERS).price_ucr_per_hour == 3_600_000


def test_gpus_of_another_type_are_none():
    """A type that is named is had or refused; without one any will do."""
    typed = replace(GPU, name="typed", gpu_type="a100", price_ucr_per_hour=40_000_000)

    assert place(Resources(gpus_per_node=1, gpu_types=("a100",)), (*OFFERS, typed)).offer == typed
    assert place(Resources(gpus_per_node=1), (*OFFERS, typed)).offer == GPU
    with pytest.raises(NoOfferFits, match=r"No offer has GPUs of the type h100; there are a100\."):
        place(Resources(gpus_per_node=1, gpu_types=("h100",)), (*OFFERS, typed))


def test_data_counts_beside_machines():
    """For the whole time limit: the dearer nodes are taken where the data is what costs."""
    far = {"small": 10_800_001, "large": 0}
    for hours, offer in ((1, LARGE), (2, LARGE), (3, SMALL)):
        resources = Resources(time_limit_s=hours * 3600)
        assert place(resources, (SMALL, LARGE), lambda found: far[found.offer.name]).offer == offer
