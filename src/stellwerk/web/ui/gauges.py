"""Lease bar, risk gauge, drift bars and release timeline as coordinates, in percent of their width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stellwerk.governance.model import DriftLine, EndpointCard, ReleaseLine, RiskLine
from stellwerk.web.ui import words

Tone = Literal["good", "warn", "bad"]

DRIFT_LIMIT_AT = 50.0
"""Where every drift bar has its limit, so that bars with different limits can be compared."""
GRACE = 0.8
"""From this share of a lease on, renewal is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseBar:
    """How much of a lease is used."""

    used: float
    text: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskGauge:
    """An interval against a limit."""

    left: float
    right: float
    estimate: float
    limit: float
    crossed: bool
    """The lower bound lies above the upper one: both hold at all times only for a risk that does not change."""
    first: str
    last: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftBar:
    """One input: its shift on a scale on which its limit is always at the same place."""

    line: DriftLine
    width: float
    beyond: bool
    """The bar is longer than the scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When a release held, and how long it still may."""

    line: ReleaseLine
    start: float
    held: float
    ahead: float
    now: float | None


def lease(card: EndpointCard) -> LeaseBar | None:
    """The lease of the release in force; None without one."""
    if card.release is None or card.lease_left_days is None or card.lease_used is None:
        return None
    if not math.isfinite(card.lease_used) or not math.isfinite(card.lease_left_days):
        return None
    used = min(max(card.lease_used, 0.0), 1.0)
    ended = card.lease_left_days <= 0
    tone: Tone = "bad" if ended else "warn" if used >= GRACE else "good"
    return LeaseBar(used=round(100 * used, 2), text=words.left(card.lease_left_days), tone=tone)


def risk(line: RiskLine) -> RiskGauge | None:
    """The tracked risk on a scale that shows both its interval and the limit; None for numbers without a place."""
    values = (line.lower, line.estimate, line.upper, line.limit)
    if not all(math.isfinite(v) and abs(v) < 1e12 for v in values):
        return None
    low, high = min(values), max(values)
    pad = 0.18 * (high - low) or max(abs(high) * 0.1, 0.01)
    start, end = (max(0.0, low - pad) if low >= 0 else low - pad), high + pad

    def place(value: float) -> float:
        return round(100 * (value - start) / (end - start), 2)

    return RiskGauge(
        left=place(min(line.lower, line.upper)),
        right=place(max(line.lower, line.upper)),
        estimate=place(line.estimate),
        limit=place(line.limit),
        crossed=line.lower > line.upper,
        first=words.figure(start),
        last=words.figure(end),
        tone="bad" if line.alarm else "warn" if line.upper > line.limit else "good",
    )


def drift(lines: Sequence[DriftLine]) -> tuple[DriftBar, ...]:
    """Bars with the largest shift, in units of its limit, first."""
    bars = sorted(((_ratio(line), line) for line in lines), key=lambda pair: -pair[0])
    return tuple(
        DriftBar(
            line=line,
            width=round(min(ratio * DRIFT_LIMIT_AT, 100.0), 2),
            beyond=ratio * DRIFT_LIMIT_AT > 100.0,
        )
        for ratio, line in bars
    )


def _ratio(line: DriftLine) -> float:
    """Shift over limit. A limit of zero, or no number at all, counts as far beyond unless there is no shift."""
    if not math.isfinite(line.statistic) or not math.isfinite(line.limit):
        return math.inf
    if line.limit <= 0:
        return math.inf if line.statistic > 0 else 0.0
    return max(line.statistic / line.limit, 0.0)


def timeline(history: Sequence[ReleaseLine], now: datetime) -> tuple[Span, ...]:
    """Every release on one time axis, from the first grant to the last moment a lease could reach."""
    if not history:
        return ()
    start = min(line.granted_at for line in history)
    end = max([now, *(_reach(line) for line in history)])
    whole = (end - start).total_seconds() or 1.0

    def place(instant: datetime) -> float:
        return round(min(max(100 * (instant - start).total_seconds() / whole, 0.0), 100.0), 2)

    return tuple(
        Span(
            line=line,
            start=place(line.granted_at),
            held=max(round(place(min(_reach(line), max(now, line.granted_at))) - place(line.granted_at), 2), 0.6),
            ahead=round(max(place(_reach(line)) - place(max(now, line.granted_at)), 0.0), 2),
            now=place(now) if line.ended_at is None else None,
        )
        for line in history
    )


def _reach(line: ReleaseLine) -> datetime:
    return line.ended_at or line.expires_at
