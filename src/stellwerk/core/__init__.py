"""The words every room shares: digests, names, canonical bytes, time, errors. Standard library only."""
