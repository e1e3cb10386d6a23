"""Testing: a world in virtual time that the production code runs in unchanged, and what must hold there."""
