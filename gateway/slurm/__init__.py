"""Slurm's language: options, directives' values, states, units and host lists; pure, and quick to import."""
