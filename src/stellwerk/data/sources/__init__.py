"""Rows that live elsewhere: naming them, pinning what they are now, and proving later that they are the same."""
