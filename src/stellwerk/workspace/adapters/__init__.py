"""The workspace at the other end of a URL."""
