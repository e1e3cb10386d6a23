"""Staging: a job's files to and from the object store."""
