"""Times as options of commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from stellwerk.core.clock import parse_moment


class Instant(click.ParamType[datetime]):
    """A time as RFC 3339, or a day, which means its beginning in UTC."""

    name = "time"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        return parse_moment(str(value))


as_of = click.option(
    "--as-of", type=Instant(), help="As it was at a time: 2026-05-01 (its beginning, UTC) or 2026-05-01T12:00:00Z."
)
