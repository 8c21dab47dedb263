"""What hangs on a `Workspace` in Python: a class for each noun."""
