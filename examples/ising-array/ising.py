"""Two-dimensional Ising model on a periodic square lattice: Metropolis updates, one colour of the chess board at a time.

    python3 ising.py TEMPERATURE SEED OUTPUT.json [SWEEPS]

Every TOLD sweeps it prints how many are done: "sweeps 500". The temperature is in units of J/k. Energy and magnetisation are per spin; their errors come from the spread of block
averages, each block being many autocorrelation times long.
"""

import json
import sys

import numpy as np

SIZE = 64
WARM_UP = 1000
SWEEPS = int(sys.argv[4]) if len(sys.argv) > 4 else 10000
TOLD = 500
BLOCKS = 40


def neighbour_sum(other, shifted_rows):
    """Sum over the four neighbours of each spin of one colour; ``other`` holds the spins of the other colour.

    Each row of the chess board is packed to its spins of one colour, so two neighbours are in the rows above and
    below at the same place, one in the same row at the same place, and one beside that, left or right by turns.
    """
    beside = np.where(shifted_rows, np.roll(other, -1, 1), np.roll(other, 1, 1))
    return other + beside + np.roll(other, 1, 0) + np.roll(other, -1, 0)


def half_sweep(spins, around, accept, rng):
    """One attempt to turn each spin of a colour; ``accept`` is indexed by (spin * sum of neighbours + 4) / 2."""
    chance = accept[(spins * around + 4) >> 1]
    spins *= np.where(rng.random(spins.shape, dtype=np.float32) < chance, -1, 1).astype(np.int8)


def run(temperature, seed):
    rng = np.random.default_rng(seed)
    white, black = np.ones((2, SIZE, SIZE // 2), dtype=np.int8)
    odd = (np.arange(SIZE) % 2 == 1)[:, None]
    accept = np.exp(-2.0 * np.array([-4, -2, 0, 2, 4]) / temperature).clip(max=1.0).astype(np.float32)
    energy, magnetisation = np.empty(SWEEPS), np.empty(SWEEPS)
    for step in range(-WARM_UP, SWEEPS):
        half_sweep(white, neighbour_sum(black, odd), accept, rng)
        around = neighbour_sum(white, ~odd)
        half_sweep(black, around, accept, rng)
        if step >= 0:
            energy[step] = -np.sum(black * around, dtype=int) / SIZE**2
            magnetisation[step] = abs(int(white.sum(dtype=int) + black.sum(dtype=int))) / SIZE**2
            if (step + 1) % TOLD == 0:
                print("sweeps", step + 1, flush=True)
    return energy, magnetisation


def estimate(series):
    blocks = series.reshape(BLOCKS, -1).mean(axis=1)
    return {"mean": float(blocks.mean()), "error": float(blocks.std(ddof=1) / np.sqrt(BLOCKS))}


def main():
    temperature, seed, output = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    energy, magnetisation = run(temperature, seed)
    result = {
        "temperature": temperature,
        "size": SIZE,
        "sweeps": SWEEPS,
        "seed": seed,
        "energy": estimate(energy),
        "magnetisation": estimate(magnetisation),
    }
    with open(output, "w") as file:
        json.dump(result, file, indent=1)
    print(output, result["energy"], result["magnetisation"])


main()
