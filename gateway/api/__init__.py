"""The HTTP door: translates and authenticates, decides nothing."""
