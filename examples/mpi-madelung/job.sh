#!/bin/bash
#SBATCH --job-name=madelung
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=madelung-%j.out
#
#BURST --stage-in=madelung.py
set -eu
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mpirun python3 madelung.py
