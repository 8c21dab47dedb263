"""The composition root: chooses adapters, owns their lifetimes, checks permission."""
