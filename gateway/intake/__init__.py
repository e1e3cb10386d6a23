"""Intake: a job script and its options become a JobRequest, or an error with the line at fault."""
