#!/bin/sh
# The array, then the reduction once every task of it has succeeded. Works with Slurm's own sbatch as well.
set -eu
cd "$(dirname "$0")"
array=$(sbatch --parsable array.sh)
sbatch --dependency="afterok:$array" reduce.sh
