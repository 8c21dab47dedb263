"""Comparing two model versions: what went in, what came out, and what differs in between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stellwerk.core.digest import Digest, short
from stellwerk.data.shelves import DATASETS
from stellwerk.evidence.provenance import Origin, origin
from stellwerk.evidence.shelves import EVIDENCE
from stellwerk.ledger.ports import Book, Reader
from stellwerk.models.model import ModelVersion
from stellwerk.tracking.model import Run
from stellwerk.tracking.service import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs, or is equal."""

    what: str
    first: str
    second: str
    equal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two model versions side by side."""

    first: str
    second: str
    differences: tuple[Difference, ...]
    paired: tuple[str, ...]
    """Paired findings on the same cases, where a proof compared the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model's quality on the cases."""

    model: str
    estimate: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """A paired comparison on production cases. `difference` is first − second, larger is better for the first."""

    endpoint: str
    metric: str
    since: datetime
    until: datetime
    cases: int
    unlabelled: int
    """Predictions of the time that have no label, and so could not be compared."""
    first: Side
    second: Side
    difference: float
    lower: float | None
    upper: float | None
    verdict: str
    """better | worse | not distinguishable, at 95 % one-sided confidence each."""
    evidence: Digest | None


def compare(book: Book, runs: Runs, first: ModelVersion, second: ModelVersion) -> Comparison:
    """Lay out what two versions share and where they differ. Numbers are paired only where a proof paired them."""
    with book.read() as reader:
        datasets = {item.digest: f"{item.name}@{item.version}" for item in DATASETS.select(reader)}
        sides = [origin(model.bytes(), runs.makers, datasets.__contains__) for model in (first, second)]
        rows = [_row("model bytes", short(first.bytes()), short(second.bytes()))]
        rows.append(_row("inputs", _columns(first), _columns(second)))
        rows.append(_row("data", *(_datasets(side, datasets) for side in sides)))
        rows += _steps(sides[0], sides[1])
        paired = _paired(reader, first.bytes(), second.bytes())
    return Comparison(
        first=f"{first.name}@{first.version}",
        second=f"{second.name}@{second.version}",
        differences=tuple(rows),
        paired=paired,
    )


def _row(what: str, first: str, second: str) -> Difference:
    return Difference(what=what, first=first, second=second, equal=first == second)


def _columns(model: ModelVersion) -> str:
    return ", ".join(column.name for column in model.interface().inputs)


def _datasets(side: Origin, names: dict[Digest, str]) -> str:
    return ", ".join(sorted(names[digest] for digest in set(side.datasets)))


def _steps(first: Origin, second: Origin) -> list[Difference]:
    rows: list[Difference] = []
    ones, twos = ({run.name: run for run in side.runs} for side in (first, second))
    for name in sorted({*ones, *twos}):
        pair = (ones.get(name), twos.get(name))
        rows += [_row(f"{name} {what}", *(_digest(run, what) for run in pair)) for what in ("code", "environment")]
        rows += [_row(f"{name} {key}", *(_param(run, key) for run in pair)) for key in _keys(pair, "params")]
        rows += [_row(f"{name} {key}", *(_metric(run, key) for run in pair)) for key in _keys(pair, "metrics")]
    return rows


def _keys(pair: tuple[Run | None, Run | None], field: str) -> list[str]:
    return sorted({key for run in pair if run for key in getattr(run, field)})


def _digest(run: Run | None, what: str) -> str:
    return short(getattr(run, what) or "–") if run else "–"


def _param(run: Run | None, key: str) -> str:
    return str(run.params.get(key, "–")) if run else "–"


def _metric(run: Run | None, key: str) -> str:
    return f"{run.metrics[key]:.5f}" if run and key in run.metrics else "–"


def _paired(reader: Reader, first: Digest, second: Digest) -> tuple[str, ...]:
    lines: list[str] = []
    for model, champion in ((first, second), (second, first)):
        for evidence in EVIDENCE.select(reader, subject=model, kind="quality"):
            if evidence.facts.get("champion") == champion:
                lines += [r.text for r in evidence.results if r.kind in ("guardrail", "success")]
    return tuple(lines)
