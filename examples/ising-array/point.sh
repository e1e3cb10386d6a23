#!/bin/bash
#SBATCH --job-name=ising-point
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=point-%j.out
#
#BURST --stage-in=ising.py
#BURST --stage-out=result.json
#BURST --stage-out=point-*.out
set -eu
export OPENBLAS_NUM_THREADS=1
# The parameters of simulation.toml, in its order.
python3 ising.py "$1" "$2" result.json
