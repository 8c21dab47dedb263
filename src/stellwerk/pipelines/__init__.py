"""Pipelines: graphs of steps written in Python, planned as values, executed with a step cache.

Which stores, ledgers and executors stand behind the ports is chosen by `workspace`.
"""
