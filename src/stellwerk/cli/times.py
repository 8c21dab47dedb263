"""Times as options of commands."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from stellwerk.core.clock import parse_instant


class Instant(click.ParamType[datetime]):
    """A time as RFC 3339, or a day, which means its beginning in UTC."""

    name = "time"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value)
        return parse_instant(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)


as_of = click.option(
    "--as-of", type=Instant(), help="As it was at a time: 2026-05-01 (its beginning, UTC) or 2026-05-01T12:00:00Z."
)
