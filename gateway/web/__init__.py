"""The web pages: look at jobs, nodes and money, and approve logins; they decide nothing."""
