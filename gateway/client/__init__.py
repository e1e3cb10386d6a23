"""The client library of commands and notebooks."""
