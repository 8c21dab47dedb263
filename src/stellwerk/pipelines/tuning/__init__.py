"""Tuning: the search for parameters under a budget, whose every trial is a run.

`space` is what may be chosen, `model` the other values, `rules` what follows from trials, `service` the loop over its
`ports`, `authoring` how people write it, `reporting` how a step tells of itself.
"""
