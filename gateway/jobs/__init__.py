"""What was submitted, and where it is on its route."""
