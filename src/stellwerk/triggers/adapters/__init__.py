"""Adapters of the triggers room."""
