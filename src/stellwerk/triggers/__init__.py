"""Triggers: what begins a run when nobody types a command, and how storms of causes are kept small."""
