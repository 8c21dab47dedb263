"""Examining models: scanned as bytes, asked in the sandboxed worker, compared with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.evidence.adapters.sandbox import Sandbox
from stellwerk.evidence.model import CheckResult, GateSet
from stellwerk.evidence.ports import Limits
from stellwerk.evidence.provenance import origin, own_results, provenance, step_of
from stellwerk.models.fitting import class_indices
from stellwerk.releases.ports import Answers
from stellwerk.store import service as trees
from stellwerk.tracking.service import PIPELINE, REGISTER
from stellwerk.workspace import tasks
from stellwerk.workspace.frames import read

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from stellwerk.data.service import Datasets
    from stellwerk.models.service import Registry
    from stellwerk.store.ports import FileBlobs
    from stellwerk.tracking.model import Run
    from stellwerk.tracking.service import Runs

LATENCY_SAMPLES = 1000
LIMITS = Limits(wall_seconds=300.0, cpu_seconds=300, memory_bytes=4 << 30, output_bytes=256 << 20)
ROWS = "rows.parquet"
PAGE = 1000
"""Runs that are read at a time."""


class SandboxExaminer:
    """Implements `releases.ports.Examiner`. Answers are kept while the process lives."""

    def __init__(
        self, *, blobs: FileBlobs, registry: Registry, datasets: Datasets, runs: Runs, allow_unsandboxed: bool
    ) -> None:
        self._blobs, self._registry, self._datasets, self._runs = blobs, registry, datasets, runs
        self._worker = Sandbox(tasks=tasks.TASKS, unscreened=tasks.UNSCREENED, allow_unsandboxed=allow_unsandboxed)
        self._answers: dict[tuple[Digest, Digest], Answers] = {}
        self._frames: dict[Digest, pl.DataFrame] = {}

    def answers(self, model: Digest, features: Digest, *, samples: int = LATENCY_SAMPLES) -> Answers:
        """What a model says of every row.

        Args:
            samples: How many single rows are timed; 0 where nobody wants to know.
        """
        known = self._answers.get((model, features)) if samples == LATENCY_SAMPLES else None
        if known is not None:
            return known
        blobs = self._blobs
        files = trees.files(blobs, model)
        answer = self._worker.run(
            "predict",
            {"model": files, "rows": ROWS, "latency_samples": samples},
            {**{name: blobs.path(digest) for name, digest in files.items()}, ROWS: blobs.path(features)},
            LIMITS,
        )
        scores = answer["values"] if "values" in answer else answer["probabilities"]
        made = Answers(scores=np.asarray(scores), seconds=np.asarray(answer["latencies"]))
        if samples == LATENCY_SAMPLES:
            self._answers[(model, features)] = made
        return made

    def walls(self) -> dict[str, Any]:
        layers = self._worker.layers
        return {"landlock_abi": layers.landlock_abi, "seccomp": layers.seccomp, "rlimits": layers.rlimits}

    def scan(self, model: Digest) -> tuple[CheckResult, ...]:
        blobs = self._blobs
        files = {name: blobs.path(digest) for name, digest in trees.files(blobs, model).items()}
        report = self._worker.run("scan", {}, files, LIMITS)
        found = "; ".join(f"{item['path']}: {item['reason']}" for item in report["findings"][:5])
        return (
            CheckResult(
                name="file-scan",
                kind="requirement",
                outcome="pass" if report["clean"] else "fail",
                text=f"{len(files)} model files, all plain data and completely parsed"
                if report["clean"]
                else f"the model's files are {report['format_class']}: {found}",
                n=len(files),
            ),
        )

    def labels(self, model: Digest, gate: GateSet, plain: bytes) -> NDArray[Any]:
        signature = self._registry.by_digest(model).interface()
        return class_indices(signature, read(plain).get_column(gate.target))

    def truth(self, gate: GateSet, plain: bytes) -> list[Any]:
        """Opened gate labels in the words of the target column."""
        return read(plain).get_column(gate.target).to_list()

    def frame(self, features: Digest) -> pl.DataFrame:
        """The gate cases as a table."""
        if features not in self._frames:
            self._frames[features] = read(self._blobs.get(features))
        return self._frames[features]

    def columns(self, features: Digest, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        frame = self.frame(features)
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise Invalid(
                f"the gate set has no column {', '.join(missing)} to slice by (it has {', '.join(frame.columns)})",
                code="unknown-column",
                hint="correct [endpoint.…slices] by",
            )
        return {name: ["null" if v is None else str(v) for v in frame.get_column(name)] for name in names}

    def blocks(self, features: Digest) -> list[str] | None:
        """The week of each case, if the gate set has exactly one time column."""
        times = self._times(features)
        return None if times is None else times.dt.strftime("%G-W%V").to_list()

    def groups(self, features: Digest, columns: Sequence[str] | None) -> NDArray[Any] | None:
        if columns is None:
            return None
        parts = list(self.columns(features, columns).values())
        times = self._times(features)
        parts += [] if times is None else [times.dt.strftime("%F").to_list()]
        return np.array(["\x1f".join(key) for key in zip(*parts, strict=True)]) if parts else None

    def _times(self, features: Digest) -> pl.Series | None:
        import polars as pl

        frame = self.frame(features)
        times = [name for name, kind in frame.schema.items() if kind in (pl.Date, pl.Datetime)]
        return frame.get_column(times[0]) if len(times) == 1 else None

    def contract(self, model: Digest, gate: GateSet) -> tuple[CheckResult, ...]:
        signature = self._registry.by_digest(model).interface()
        frame = self.frame(gate.features)
        missing = [column.name for column in signature.inputs if column.name not in frame.columns]
        leaks = [gate.target] if gate.target in [column.name for column in signature.inputs] else []
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"takes its own target {gate.target!r} as input"] if leaks else []
        problems += ["predicts another target"] if signature.target != gate.target else []
        problems += ["is for another task"] if signature.task != gate.task else []
        return (
            CheckResult(
                name="contract:signature",
                kind="requirement",
                outcome="fail" if problems else "pass",
                text=f"model and gate set: {'; '.join(problems)}"
                if problems
                else f"the gate set has all {len(signature.inputs)} inputs of the model, and its target",
                n=frame.height,
            ),
            self._data_contract(model),
        )

    def _data_contract(self, model: Digest) -> CheckResult:
        found = self._origin(model)
        names = sorted({version.name for d in found.datasets if (version := self._datasets.by_digest(d))})
        confirmed = []
        for name in names:
            contract = self._datasets.contract(name)
            if contract is not None and contract.status == "confirmed":
                confirmed.append(name)
        return CheckResult(
            name="contract:data",
            kind="requirement",
            outcome="pass" if confirmed else "unproven",
            text=f"confirmed data contracts behind the model: {', '.join(confirmed) or 'none'}"
            + (
                f"; only drafted: {', '.join(sorted(set(names) - set(confirmed)))}"
                if set(names) - set(confirmed)
                else ""
            ),
        )

    def leakage(self, model: Digest) -> tuple[CheckResult, ...]:
        splits = [run for run in self._origin(model).runs if run.kind == "split" and "report" in run.outputs]
        reports = [canonical.loads(self._blobs.get(run.outputs["report"])) for run in splits]
        findings = [finding for report in reports for finding in report["findings"]]
        return (
            CheckResult(
                name="leakage",
                kind="requirement",
                outcome="pass" if reports else "unproven",
                text="training and gate were cut by a step that searched for leaks; "
                + ("it warned: " + "; ".join(findings) if findings else "it found none")
                if reports
                else "no split step with leakage checks stands behind the model",
            ),
        )

    def provenance(self, model: Digest) -> tuple[CheckResult, ...]:
        try:
            return provenance(model, self._origin(model), self._blobs.has)
        except StellwerkError as problem:
            return (CheckResult(name="provenance", kind="requirement", outcome="fail", text=str(problem)),)

    def own_results(self, model: Digest) -> tuple[CheckResult, ...]:
        return own_results(self._origin(model))

    def steps(self, model: Digest, kinds: Sequence[str]) -> tuple[CheckResult, ...]:
        behind = self._origin(model).runs
        return tuple(step_of(kind, self._routes(kind, model, behind)) for kind in kinds)

    def _routes(self, kind: str, model: Digest, behind: Sequence[Run]) -> Iterator[list[Run]]:
        """The steps of a kind, by pipeline run that made or found the model, newest first; at last those behind it."""
        makers = self._runs.makers(model)
        # What was registered is a copy of what was trained; a pipeline that fails registers none.
        trained = {run.inputs["model"] for run in makers if run.kind == REGISTER and "model" in run.inputs}
        makers += [run for digest in trained for run in self._runs.makers(digest)]
        pipelines = {run.id if run.kind == PIPELINE else run.parent for run in makers}
        for pipeline in sorted(filter(None, pipelines), reverse=True):
            yield list(self._steps_in(pipeline, kind))
        yield [run for run in behind if run.kind == kind]

    def _steps_in(self, pipeline: str, kind: str) -> Iterator[Run]:
        for offset in count(0, PAGE):
            where = f"attributes.kind = '{kind}'"
            found = self._runs.search(where=where, parent=pipeline, limit=PAGE, offset=offset)
            yield from found
            if len(found) < PAGE:
                return

    def _origin(self, model: Digest) -> Any:
        return origin(model, self._runs.makers, lambda digest: self._datasets.by_digest(digest) is not None)
