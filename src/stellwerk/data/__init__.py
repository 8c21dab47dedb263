"""Tables as facts: profiles, contracts, splits, leakage, versions. Bytes are the store's business.

Nothing is imported here: `polars` loads only with the module that needs it.
"""
