"""Slurm clusters: the port, its adapters, and the one that the gateway brings along."""
