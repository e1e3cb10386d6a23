"""Measures of a whole gateway on this machine; ``python -m bench`` takes them and writes docs/benchmarks.md."""
