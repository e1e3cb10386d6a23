"""Fixtures that several contract suites share."""

from http_door import admin, demo, door, stranger
from slurm_clusters import cluster, engine, own_cluster, slurm_programs
from sql_databases import database, new_database, postgresql_url, sqlite_url

__all__ = [
    "admin",
    "cluster",
    "database",
    "demo",
    "door",
    "engine",
    "new_database",
    "own_cluster",
    "postgresql_url",
    "slurm_programs",
    "sqlite_url",
    "stranger",
]
