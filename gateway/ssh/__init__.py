"""Other people's hosts over SSH: certificates of our own authority, and sessions with hosts whose key is known."""
