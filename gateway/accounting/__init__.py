"""What a job may cost, who pays for it, and the ledger that explains every credit."""
