"""What the doors ask of the gateway: people, jobs, money and nodes."""
