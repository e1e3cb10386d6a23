"""The schema's history: one file a change, applied in order by ``Database.migrate``."""
