"""The commands that bear Slurm's names, as clients of the gateway.

Invariant: those that only look load nothing but Python's standard library, because tools call them every few seconds.
"""
