#!/bin/bash
#SBATCH --job-name=ising
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=ising-%A_%a.out
#
#BURST --stage-in=ising.py
set -eu
export OPENBLAS_NUM_THREADS=1
temperatures=(1.8 2.0 2.1 2.7)
task=$SLURM_ARRAY_TASK_ID
python3 ising.py "${temperatures[$task]}" "$((1944 + task))" "ising-$task.json"
