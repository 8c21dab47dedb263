"""Doors: protocols of other tools, each a folder that translates to calls of the workspace. None sees another."""
