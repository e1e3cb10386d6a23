"""The threads that move what does not move by itself: nodes, jobs, and the requests of slurmctld's programs."""
