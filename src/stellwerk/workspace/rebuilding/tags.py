"""Tags of a pipeline's run by which it can be repeated."""

SOURCES, LOCKS = "sources", "locks"
"""Digests of two trees: the project's files, and its lock files."""
MACHINE = "machine"
"""The digest of a document."""
PATCH = "git.patch"
"""The digest of a patch that is not kept."""
