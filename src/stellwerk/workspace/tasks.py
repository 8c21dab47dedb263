"""Tasks for sandboxed processes: load a model, ask it, scan files. Started by name; the walls are not built here.

Each takes its request, the files it may read by name, and a folder for files of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core import digest
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Corrupt, Invalid

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.models.model import Column
    from stellwerk.models.tabular import TabularModel

TASKS = {
    "predict": "stellwerk.workspace.tasks:predict",
    "load_check": "stellwerk.workspace.tasks:load_check",
    "scan": "stellwerk.workspace.tasks:scan",
}
"""The table for `Sandbox(tasks=TASKS, unscreened=UNSCREENED)`."""
UNSCREENED = ("scan",)

_FORMATS = ("stellwerk.models.adapters.skops_format", "sklearn.ensemble", "sklearn.pipeline", "sklearn.linear_model")
PRELOAD = {"predict": _FORMATS, "load_check": _FORMATS}
"""Imported before the walls are up. polars is not among them: it starts threads, so it is imported behind them."""

WARM_UP = 5


def predict(request: dict[str, Any], files: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Ask a model about the rows of a Parquet file.

    Request: `model` (digest by file name), `rows` (name of the Parquet file), `latency_samples` (how many single-row
    calls to time). Answer: `classes`, `probabilities` (rows, classes) or `values` (rows), and `latencies` in seconds.
    """
    import polars as pl

    model = _load(request["model"], files)
    frame = pl.read_parquet(files[request["rows"]], memory_map=False)
    regression = model.signature.task == "regression"
    scores = model.predict(frame) if regression else model.predict_proba(frame)
    return {
        "classes": list(model.signature.classes),
        "values" if regression else "probabilities": scores,
        "latencies": _latencies(model, frame, int(request.get("latency_samples", 0))),
    }


def load_check(request: dict[str, Any], files: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Load a model and ask it about one made-up row. Request: `model` (digest by file name)."""
    model = _load(request["model"], files)
    answer = model.answer({column.name: _example(column) for column in model.signature.inputs})
    return {"estimator": type(model.estimator).__name__, "classes": list(model.signature.classes), "answer": answer}


def scan(request: dict[str, Any], files: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Classify all files given. Answer: `format_class`, `clean` and `findings`."""
    from stellwerk.evidence.scan import scan_files

    report = scan_files({name: path.read_bytes() for name, path in files.items()})
    findings = [{"path": f.path, "severity": f.severity, "reason": f.reason} for f in report.findings]
    return {"format_class": report.format_class, "clean": report.clean, "findings": findings}


def _example(column: Column) -> Any:
    if column.kind == "category":
        return column.vocabulary[0] if column.vocabulary else None
    return {"number": 0.0, "boolean": False, "time": datetime(2000, 1, 1, tzinfo=UTC)}[column.kind]


def _load(digests: Mapping[str, str], files: Mapping[str, Path]) -> TabularModel:
    """The model whose bytes are exactly those the request names; the bytes that were checked are the bytes loaded."""
    from stellwerk.models.adapters import skops_format

    contents: dict[str, bytes] = {}
    for name, expected in digests.items():
        if name not in files:
            raise Invalid(f"the model's file {name!r} was not given", code="missing-file")
        contents[name] = files[name].read_bytes()
        if digest.of_bytes(contents[name]) != digest.parse(expected):
            raise Corrupt(
                f"the model's file {name!r} has other content than its digest says", code="model-digest-mismatch"
            )
    return skops_format.load(contents)


def _latencies(model: TabularModel, frame: pl.DataFrame, samples: int) -> Any:
    """Seconds of single-row calls on rows spread over the frame, after a few that do not count."""
    import numpy as np

    if samples <= 0 or not len(frame):
        return np.zeros(0)
    inputs = [column.name for column in model.signature.inputs]
    places = np.linspace(0, len(frame) - 1, samples).astype(int).tolist()
    records = frame.select(inputs)[places].to_dicts()
    for record in records[:WARM_UP]:
        model.answer(record)
    seconds = np.empty(len(records))
    for index, record in enumerate(records):
        start = monotonic()
        model.answer(record)
        seconds[index] = monotonic() - start
    return seconds
