"""What slurmctld and slurmd run: plain Python, no package of the gateway's server side."""
