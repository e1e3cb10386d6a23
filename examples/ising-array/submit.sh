#!/bin/sh
# The array, then the reduction once every task of it has succeeded.
# With Slurm's own sbatch: ./submit.sh        With the gateway: SBATCH="burst submit" ./submit.sh
set -eu
cd "$(dirname "$0")"
sbatch=${SBATCH:-sbatch}
array=$($sbatch --parsable array.sh)
$sbatch --dependency="afterok:$array" reduce.sh
