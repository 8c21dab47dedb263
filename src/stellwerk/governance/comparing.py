"""Comparing two model versions: what went in, what came out, and what differs in between."""

from __future__ import annotations

from dataclasses import dataclass

from stellwerk.core.digest import Digest, short
from stellwerk.data.shelves import DATASETS
from stellwerk.evidence.provenance import Origin, origin
from stellwerk.evidence.shelves import EVIDENCE
from stellwerk.ledger.ports import Book, Reader
from stellwerk.models.model import ModelVersion
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


def compare(book: Book, runs: Runs, first: ModelVersion, second: ModelVersion) -> Comparison:
    """Lay out what two versions share and where they differ. Numbers are paired only where a proof paired them."""
    with book.read() as reader:
        datasets = {item.digest: f"{item.name}@{item.version}" for item in DATASETS.select(reader)}
        sides = [origin(model.digest, runs.makers, datasets.__contains__) for model in (first, second)]
        rows = [_row("model bytes", short(first.digest), short(second.digest))]
        rows.append(_row("inputs", _columns(first), _columns(second)))
        rows.append(_row("data", *(_datasets(side, datasets) for side in sides)))
        rows += _steps(sides[0], sides[1])
        paired = _paired(reader, first.digest, second.digest)
    return Comparison(
        first=f"{first.name}@{first.version}",
        second=f"{second.name}@{second.version}",
        differences=tuple(rows),
        paired=paired,
    )


def _row(what: str, first: str, second: str) -> Difference:
    return Difference(what=what, first=first, second=second, equal=first == second)


def _columns(model: ModelVersion) -> str:
    return ", ".join(column.name for column in model.signature.inputs)


def _datasets(side: Origin, names: dict[Digest, str]) -> str:
    return ", ".join(sorted(names[digest] for digest in set(side.datasets)))


def _steps(first: Origin, second: Origin) -> list[Difference]:
    rows = []
    ones, twos = ({run.name: run for run in side.runs} for side in (first, second))
    for name in sorted({*ones, *twos}):
        one, two = ones.get(name), twos.get(name)
        for what in ("code", "environment"):
            rows.append(_row(f"{name} {what}", *(short(getattr(r, what) or "–") if r else "–" for r in (one, two))))
        params = sorted({*(one.params if one else ()), *(two.params if two else ())})
        for param in params:
            rows.append(_row(f"{name} {param}", *(str(r.params.get(param, "–")) if r else "–" for r in (one, two))))
        for metric in sorted({*(one.metrics if one else ()), *(two.metrics if two else ())}):
            values = [r.metrics.get(metric) if r else None for r in (one, two)]
            rows.append(_row(f"{name} {metric}", *("–" if v is None else f"{v:.5f}" for v in values)))
    return rows


def _paired(reader: Reader, first: Digest, second: Digest) -> tuple[str, ...]:
    lines: list[str] = []
    for model, champion in ((first, second), (second, first)):
        for evidence in EVIDENCE.select(reader, subject=model, kind="quality"):
            if evidence.facts.get("champion") == champion:
                lines += [r.text for r in evidence.results if r.kind in ("guardrail", "success")]
    return tuple(lines)
