"""Who is asking, what they may do, and what a job may do in their name."""
