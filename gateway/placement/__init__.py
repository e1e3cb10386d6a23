"""What machines can be had, and which of them a job is best put on."""
