"""A Slurm-compatible cloud bursting gateway."""
