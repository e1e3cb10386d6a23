#!/bin/bash
#SBATCH --job-name=ising-reduce
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=reduce-%j.out
#
#BURST --stage-in=reduce.py
#BURST --stage-out=ising.json
#BURST --stage-out=reduce-*.out
set -eu
python3 reduce.py
