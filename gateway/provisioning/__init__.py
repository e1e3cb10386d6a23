"""Elastic nodes: asked for by Slurm, made by a cloud, joined, ended."""
