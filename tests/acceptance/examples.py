"""Known answers of the jobs in ``examples/``: each check reads a job's fetched outputs and says what differs.

Invariant: a check needs only the files that the job left, and raises ``AssertionError`` with value, expectation and
tolerance. Where the numbers come from is in each example's README.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MADELUNG = 1.74756459463318219
"""Rock salt, per nearest-neighbour distance (OEIS A085469; Borwein, Glasser et al., Lattice Sums Then and Now)."""

CAFFEINE_EH = -42.14746316
"""GFN2-xTB total energy of the geometry in caffeine.xyz, as tblite, another implementation, publishes it."""

CAFFEINE_CATION_EH = -41.66290264
"""The same for the cation."""

CAFFEINE_IP_EV = 13.185563
"""Vertical ionisation potential, before the empirical shift, from the same source."""

CAFFEINE_GAP_EV = 3.3626
HARTREE_EV = 27.211386245988

ISING_POINTS = (1.8, 2.0, 2.1, 2.7)
ISING_SIGMAS = 4.0
"""The seeds are fixed, so a run either always or never passes."""


def check_madelung(outputs: Path, *, ranks: int = 4, nodes: int = 2) -> None:
    """``examples/mpi-madelung``: nine digits of the constant, by all ranks, on as many hosts as asked."""
    result = load(outputs, "result.json")
    close("Madelung constant", result["madelung"], MADELUNG, 1e-9)
    equal("MPI ranks", result["ranks"], ranks)
    equal("hosts in use", len(set(result["hosts"])), nodes)
    equal("ranks on a host", {result["hosts"].count(host) for host in result["hosts"]}, {ranks // nodes})


def check_ising(outputs: Path) -> None:
    """``examples/ising-array``, the reduction job: Onsager's energy and Yang's magnetisation within their errors."""
    points = {point["temperature"]: point for point in load(outputs, "ising.json")["points"]}
    equal("temperatures", tuple(sorted(points)), ISING_POINTS)
    for temperature, point in points.items():
        within_error(f"energy at T={temperature}", point["energy"], onsager_energy(temperature))
        if (exact := yang_magnetisation(temperature)) is not None:
            within_error(f"magnetisation at T={temperature}", point["magnetisation"], exact)


def check_caffeine(outputs: Path) -> None:
    """``examples/caffeine-xtb``: published energies of molecule and cation, and a relaxed molecule."""
    neutral, cation, relaxed = (load(outputs, f"{name}.json") for name in ("neutral", "cation", "relaxed"))
    close("energy of caffeine in Eh", neutral["total energy"], CAFFEINE_EH, 1e-6)
    close("energy of the cation in Eh", cation["total energy"], CAFFEINE_CATION_EH, 1e-6)
    ionisation = (cation["total energy"] - neutral["total energy"]) * HARTREE_EV
    close("ionisation potential in eV", ionisation, CAFFEINE_IP_EV, 1e-4)
    close("HOMO-LUMO gap in eV", neutral["HOMO-LUMO gap / eV"], CAFFEINE_GAP_EV, 1e-3)
    gained = neutral["total energy"] - relaxed["total energy"]
    assert 0.004 < gained < 0.01, f"relaxing gained {gained:.6f} Eh, expected between 0.004 and 0.01"


CHECKS = {"mpi-madelung": check_madelung, "ising-array": check_ising, "caffeine-xtb": check_caffeine}
"""Folder below ``examples/`` → check of its (last) job's outputs."""


def onsager_energy(temperature: float) -> float:
    """Energy per spin of the infinite square lattice, in J (Onsager 1944), by quadrature of the elliptic integral."""
    double = 2.0 / temperature
    modulus = 2.0 * math.sinh(double) / math.cosh(double) ** 2
    steps = 20000
    angles = ((index + 0.5) * math.pi / 2 / steps for index in range(steps))
    elliptic = sum(1.0 / math.sqrt(1.0 - (modulus * math.sin(angle)) ** 2) for angle in angles) * math.pi / 2 / steps
    return -(1.0 + 2.0 / math.pi * (2.0 * math.tanh(double) ** 2 - 1.0) * elliptic) / math.tanh(double)


def yang_magnetisation(temperature: float) -> float | None:
    """Spontaneous magnetisation per spin (Yang 1952); None above the critical temperature."""
    sinh = math.sinh(2.0 / temperature)
    return (1.0 - sinh**-4) ** 0.125 if sinh > 1.0 else None


def load(outputs: Path, name: str) -> Any:
    """A JSON output."""
    path = outputs / name
    assert path.is_file(), f"{name} is not among the outputs: {sorted(item.name for item in outputs.iterdir())}"
    return json.loads(path.read_text())


def close(what: str, value: float, expected: float, tolerance: float) -> None:
    """A number within a tolerance."""
    difference = value - expected
    assert abs(difference) <= tolerance, (
        f"{what}: {value!r}, expected {expected!r} within {tolerance}; off by {difference:.3e}"
    )


def equal(what: str, value: object, expected: object) -> None:
    """Exactly this."""
    assert value == expected, f"{what}: {value!r}, expected {expected!r}"


def within_error(what: str, measured: dict[str, float], exact: float) -> None:
    """A mean that agrees with the exact value within its statistical error, which is itself small."""
    mean, error = measured["mean"], measured["error"]
    assert 0.0 < error < 0.005, f"{what}: statistical error {error:.2e}, expected below 0.005"
    sigmas = (mean - exact) / error
    assert abs(sigmas) <= ISING_SIGMAS, (
        f"{what}: {mean:.6f}({error:.6f}), exact {exact:.6f}; off by {sigmas:+.1f} sigma"
    )
