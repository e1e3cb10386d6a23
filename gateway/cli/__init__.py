"""The ``burst`` command."""
