"""The append-only book: who did what from what, in one transaction with the change itself."""
