"""Repeating the run that made a model, from what the ledger kept of it, and judging how much came out again."""
