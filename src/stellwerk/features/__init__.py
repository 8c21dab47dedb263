"""Feature views: the same function of the past offline and online. Tables as such are the data room's business.

Nothing is imported here: `polars` loads only with `rules`.
"""
