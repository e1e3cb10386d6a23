"""The SQL side of every store that the rest of the gateway knows by its port."""
