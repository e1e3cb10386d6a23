"""Fixtures that several contract suites share."""

from ceph_cluster import ceph
from http_door import admin, demo, door, stranger
from slurm_clusters import cluster, engine, login_node, own_cluster, slurm_programs
from sql_databases import database, new_database, postgresql_url, sqlite_url

__all__ = [
    "admin",
    "ceph",
    "cluster",
    "database",
    "demo",
    "door",
    "engine",
    "login_node",
    "new_database",
    "own_cluster",
    "postgresql_url",
    "slurm_programs",
    "sqlite_url",
    "stranger",
]
