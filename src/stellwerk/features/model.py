"""The values of the features room. Joining in time is in `rules`; keeping versions is the service's."""

from __future__ import annotations

from dataclasses import dataclass

from stellwerk.core.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """A versioned function from sources to features by entity and event time.

    Args:
        entity: The columns that name whom a feature is about, such as `("origin",)`.
        event_time: The column with the moment from which a feature was known.
        columns: Names and dtypes of the features.
        ttl: How old a value may be when used, such as `3h`; None for any age.
        code_digest: The digest of the code that computes the features.
    """

    name: str
    version: int
    entity: tuple[str, ...]
    event_time: str
    columns: tuple[tuple[str, str], ...]
    ttl: str | None
    code_digest: Digest
