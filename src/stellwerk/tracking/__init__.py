"""Runs: executions that turned artifacts into artifacts, and what they measured."""
