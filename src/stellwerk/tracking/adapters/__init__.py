"""Finding runs by what they logged, in SQL."""
