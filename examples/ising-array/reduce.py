"""Collects the array's results and compares them with the exact solution of the infinite lattice.

Energy: Onsager, Phys. Rev. 65, 117 (1944). Spontaneous magnetisation: Yang, Phys. Rev. 85, 808 (1952).
"""

import glob
import json
import math


def elliptic_k(modulus):
    """Complete elliptic integral of the first kind, by the arithmetic-geometric mean."""
    a, b = 1.0, math.sqrt(1.0 - modulus * modulus)
    while abs(a - b) > 1e-15:
        a, b = (a + b) / 2.0, math.sqrt(a * b)
    return math.pi / (2.0 * a)


def exact_energy(temperature):
    double = 2.0 / temperature
    modulus = 2.0 * math.sinh(double) / math.cosh(double) ** 2
    bracket = 1.0 + 2.0 / math.pi * (2.0 * math.tanh(double) ** 2 - 1.0) * elliptic_k(modulus)
    return -bracket / math.tanh(double)


def exact_magnetisation(temperature):
    """None above the critical temperature, where it vanishes only on an infinite lattice."""
    sinh = math.sinh(2.0 / temperature)
    return (1.0 - sinh**-4) ** 0.125 if sinh > 1.0 else None


def compare(measured, exact):
    if exact is None:
        return {**measured, "exact": None}
    return {**measured, "exact": exact, "sigmas": (measured["mean"] - exact) / measured["error"]}


def main():
    rows = []
    for name in sorted(glob.glob("ising-*.json")):
        with open(name) as file:
            point = json.load(file)
        temperature = point["temperature"]
        energy = compare(point["energy"], exact_energy(temperature))
        magnetisation = compare(point["magnetisation"], exact_magnetisation(temperature))
        rows.append({"temperature": temperature, "energy": energy, "magnetisation": magnetisation})
        print(f"T={temperature:.2f}  u={energy['mean']:+.5f}({energy['error']:.5f})  exact {energy['exact']:+.5f}")
    if not rows:
        raise SystemExit("no ising-*.json here: this job reads what the array job wrote")
    with open("ising.json", "w") as file:
        json.dump({"points": rows}, file, indent=1)


main()
