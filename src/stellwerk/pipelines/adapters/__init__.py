"""Executors: in this process, or in a child process with limits. What a plan means is in `rules` and `service`."""
