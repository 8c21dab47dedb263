"""What differs between the databases under the book: how they connect, take turns, commit, guard, and fail."""
