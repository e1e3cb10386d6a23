#!/bin/bash
#SBATCH --job-name=ising-by-sweep
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=by-sweep-%j.out
#
#BURST --stage-in=ising.py
#BURST --units=mc.sweep@v1:10000
set -eu
export OPENBLAS_NUM_THREADS=1
python3 ising.py 2.1 1946 by-sweep.json 10000
