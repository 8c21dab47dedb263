"""What triggers ask of the world: a calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol


class Calendar(Protocol):
    """Reads cron expressions on the clocks of zones."""

    def check(self, cron: str, zone: str) -> None:
        """Raises `Invalid` for an expression that cannot be read or never comes true, and for an unknown zone.

        Raises `Unavailable` where this machine knows no zones.
        """
        ...

    def times(self, cron: str, zone: str, after: datetime) -> Iterator[datetime]:
        """Instants in UTC, later than `after`, ascending, none twice. A time that a zone has twice counts once."""
        ...

    def local(self, instant: datetime, zone: str) -> datetime:
        """An instant as the clocks of a zone show it."""
        ...
