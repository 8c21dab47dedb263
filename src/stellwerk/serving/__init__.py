"""Serving: callers get answers from released models only, and every answer is in the log before it leaves."""
