"""CI files: writing small ones that call the command line, and reading those that are there. Nothing is executed."""
