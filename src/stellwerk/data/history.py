"""Versions of a dataset beside each other: which there were at a time, and how their columns differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stellwerk.core.clock import format_instant, parse_instant
from stellwerk.data.model import DatasetVersion


def made_by(versions: Sequence[DatasetVersion], as_of: datetime | None) -> list[DatasetVersion]:
    """The versions whose time of making is not later; all of them without a time. Their order stays."""
    if as_of is None:
        return list(versions)
    until = parse_instant(format_instant(as_of))
    return [version for version in versions if version.created_at <= until]


def columns_differ(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> str:
    """What changed between the columns of two versions, in words."""
    gone, come = dict(old), dict(new)
    parts = [f"lacks {c}" for c in gone if c not in come] + [f"adds {c}" for c in come if c not in gone]
    parts += [f"{c} is {come[c]}, was {gone[c]}" for c in gone if c in come and come[c] != gone[c]]
    return ", ".join(parts[:8]) or "the order of columns"
