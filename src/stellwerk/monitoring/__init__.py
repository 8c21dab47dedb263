"""Labels, drift and risk of what was released: may warn and set caution; only labels renew.

Nothing is imported here: numpy and scipy load only with the modules that assess.
"""
