"""Madelung constant of rock salt by direct summation over a cube of ions, shared out over MPI ranks.

The cube reaches HALF_WIDTH ions from the centre in each direction. Ions on a face, an edge or a corner count by a
half, a quarter and an eighth (Evjen 1932), which leaves the cube neutral and lets the sum converge.
"""

import json
import socket
import sys
import time

import numpy as np
from mpi4py import MPI

HALF_WIDTH = int(sys.argv[1]) if len(sys.argv) > 1 else 400


def weights(half_width):
    """How often each non-negative coordinate occurs in the cube: once at 0, twice inside, a half twice on a face."""
    found = np.full(half_width + 1, 2.0)
    found[0] = 1.0
    found[-1] = 1.0
    return found


def plane_sum(x, half_width, weight):
    """Sum of -(-1)^(x+y+z) / r over one plane of the octant, each ion by its weight."""
    index = np.arange(half_width + 1)
    y, z = index[:, None], index[None, :]
    squared = (x * x + y * y + z * z).astype(float)
    if x == 0:
        squared[0, 0] = np.inf  # the ion at the centre does not act on itself
    signs = 1.0 - 2.0 * ((x + y + z) % 2)
    return -weight[x] * np.sum(signs * weight[:, None] * weight[None, :] / np.sqrt(squared))


def main():
    comm = MPI.COMM_WORLD
    started = time.perf_counter()
    weight = weights(HALF_WIDTH)
    mine = sum(plane_sum(x, HALF_WIDTH, weight) for x in range(comm.rank, HALF_WIDTH + 1, comm.size))
    total = comm.allreduce(mine, op=MPI.SUM)
    hosts = comm.gather((comm.rank, socket.gethostname()), root=0)
    if comm.rank == 0:
        result = {
            "madelung": float(total),
            "half_width": HALF_WIDTH,
            "ranks": comm.size,
            "hosts": [host for _, host in sorted(hosts)],
            "seconds": round(time.perf_counter() - started, 3),
        }
        with open("result.json", "w") as file:
            json.dump(result, file, indent=1)
        print(f"Madelung constant {total:.10f} by {comm.size} ranks on {', '.join(sorted(set(result['hosts'])))}")


main()
