#!/bin/bash
#SBATCH --job-name=caffeine
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=512M
#SBATCH --time=00:05:00
#SBATCH --output=caffeine-%j.out
#
#BURST --stage-in=caffeine.xyz
#BURST --stage-out=*.json
#BURST --stage-out=caffeine-*.out
set -eu
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-2}" OMP_STACKSIZE=64M
ulimit -s unlimited 2>/dev/null || true

# The molecule, and its cation in the same geometry: their difference is the vertical ionisation potential.
xtb caffeine.xyz --gfn 2 --acc 0.01 --json --namespace neutral
xtb caffeine.xyz --gfn 2 --acc 0.01 --chrg 1 --uhf 1 --json --namespace cation

# The relaxed molecule.
xtb caffeine.xyz --gfn 2 --opt tight --json --namespace relaxed

for run in neutral cation relaxed; do
    mv "$run.xtbout.json" "$run.json"
    printf '%-8s %s\n' "$run" "$(grep 'total energy' "$run.json")"
done
