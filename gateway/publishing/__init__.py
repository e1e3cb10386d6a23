"""Outputs with a DOI: what is said of them, to whom, and who may have their bytes."""
