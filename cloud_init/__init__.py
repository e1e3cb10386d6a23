"""Templates of the user-data that this gateway gives to new machines; every ``{{ value }}`` is quoted for YAML."""
