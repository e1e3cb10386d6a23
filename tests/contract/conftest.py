"""Fixtures that several contract suites share."""

from slurm_clusters import cluster, engine, own_cluster, slurm_programs
from sql_databases import database, new_database, postgresql_url, sqlite_url

__all__ = [
    "cluster",
    "database",
    "engine",
    "new_database",
    "own_cluster",
    "postgresql_url",
    "slurm_programs",
    "sqlite_url",
]
