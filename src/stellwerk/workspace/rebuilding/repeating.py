"""The process that repeats a run: executes every step anew in whatever interpreter it was started by.

Start it with `python -P -m stellwerk.workspace.rebuilding.repeating FOLDER`. The folder holds `request.json`, a store
of blobs and the project's sources; `report.json` is written there, and one line of JSON per step to standard output.
Nothing of the workspace is read or changed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from stellwerk.core import canonical
from stellwerk.core.clock import SystemClock, format_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound, StellwerkError
from stellwerk.ledger import documents
from stellwerk.pipelines import environment, loading, sources
from stellwerk.pipelines import service as engine
from stellwerk.pipelines.adapters import machine, turns
from stellwerk.pipelines.adapters.environments import Environments
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.step_environments import StepEnvironments
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.model import (
    BUILTIN,
    DATASET,
    FILE,
    Event,
    Plan,
    RunReport,
    StepResult,
    Stored,
    Verdict,
    parse,
)
from stellwerk.pipelines.ports import Request
from stellwerk.pipelines.stock import Stock
from stellwerk.pipelines.values import STANDARD
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.workspace import builtins, codecs, evaluating

REQUEST, REPORT, STORE, CODE = "request.json", "report.json", "store", "code"


def main() -> None:
    """Repeat the run of a folder."""
    folder = Path(sys.argv[1]).resolve()
    request = canonical.loads((folder / REQUEST).read_bytes())
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what steps print must not be taken for a line of ours
    os.chdir(folder / CODE)
    sys.path.insert(0, str(folder / CODE))
    try:
        report = _Repeat(folder, request, told).perform()
    except StellwerkError as error:
        report = {"error": {"message": error.message, "code": error.code, "hint": error.hint}}
    (folder / REPORT).write_bytes(canonical.dumps(report))
    sys.stdout.flush()
    told.flush()
    os._exit(0)  # whatever threads the steps left behind


class _Repeat:
    """One repetition."""

    def __init__(self, folder: Path, request: Mapping[str, Any], told: IO[str]) -> None:
        self._blobs = LocalFolder(folder / STORE)
        self._request = request
        code = folder / CODE
        plan = parse(request["plan"])
        self._plan = replace(plan, nodes=tuple(replace(node, file=_file(code, node.function)) for node in plan.nodes))
        self._book = _Book(original=request, blobs=self._blobs, told=told, plan=self._plan)

    def perform(self) -> dict[str, Any]:
        codes = self._codes()
        report = self._execute()
        answer: dict[str, Any] = {
            "tasks": [_task(task) for task in report.tasks],
            "codes": codes,
            "environment": canonical.loads(environment.current().document),
            "machine": canonical.loads(machine.take().document),
        }
        return answer | self._judged(report, self._book.made)

    def _codes(self) -> dict[str, Digest]:
        return {
            node.function: closure(loading.resolve(node.function, node.file)).digest
            for node in self._plan.nodes
            if not node.function.startswith(BUILTIN)
        }

    def _execute(self) -> RunReport:
        own = StepEnvironments(Path.cwd(), Environments(offline=self._request["offline"]))
        own.prepare(self._plan)
        stock = Stock(**self._request["stock"])
        return engine.execute(
            self._plan,
            blobs=self._blobs,
            journal=self._book,
            resolver=self._book,
            waits=self._book,
            watch=self._book.hear,
            executor=InProcess(
                builtins=builtins.table(self._book.contract, self._book.seal),
                codecs=STANDARD.with_first(codecs.MODEL),
                stock=stock,
            ),
            isolated=Subprocess(
                codecs=(codecs.REFERENCE,), interpreter=own.interpreter, capacity=turns.here(None, stock)
            ),
            environment=environment.current().digest,
            clock=SystemClock(),
            builtins=builtins.BUILTINS,
        )

    def _judged(self, report: RunReport, made: Mapping[str, Mapping[str, Digest]]) -> dict[str, Any]:
        """What the last evaluation says now, the model of the seed that was chosen then, and what both models answer."""
        nodes = [node for node in self._plan.nodes if node.function == BUILTIN + "evaluate"]
        if not nodes or nodes[-1].id not in made:
            return {}
        node = nodes[-1]
        evaluation = canonical.loads(self._blobs.get(made[node.id]["value"]))
        models = self._models(node.inputs["model"], report)
        if "baseline" in node.inputs:
            models += self._models(node.inputs["baseline"], report)
        chosen = int(self._request["chosen"])
        if chosen >= len(models):
            return {"evaluation": evaluation}
        probes = self._probe(models[chosen])
        return {"evaluation": evaluation, "model": models[chosen], **probes}

    def _models(self, ref: Any, report: RunReport) -> list[Digest]:
        found = [task for task in report.tasks if task.node == ref.node and task.result is not None]
        ordered = sorted(found, key=lambda task: task.seed or 0)
        return [task.result.outputs[ref.output].digest for task in ordered if task.result is not None]

    def _probe(self, model: Digest) -> dict[str, Any]:
        """Ask both models the same rows. Where one of them cannot be asked here, why not."""
        try:
            before = codecs.MODEL.decode(self._blobs.get(Digest(self._request["archive"])))
            now = codecs.MODEL.decode(self._blobs.get(model))
            rows = _rows(
                builtins.read_parquet(self._blobs.get(Digest(self._request["judged"]))), self._request["probes"]
            )
            return {"probes": _compare(before, now, rows)}
        except Exception as error:  # noqa: BLE001  # foreign code reads foreign files
            return {"unasked": str(error).partition("\n")[0][:300] or type(error).__name__}


def _file(code: Path, function: str) -> str:
    name = function.partition(":")[0]
    found = None if function.startswith(BUILTIN) else sources.module_file(code, name)
    return str(found) if found else ""


def _task(task: Any) -> dict[str, Any]:
    outputs = {name: stored.digest for name, stored in task.result.outputs.items()} if task.result else {}
    return {
        "task": task.task,
        "status": task.status,
        "outputs": outputs,
        "seconds": task.result.seconds if task.result else 0.0,
        "error": task.failure.message if task.failure else "",
        "traceback": task.failure.traceback if task.failure else "",
    }


def _rows(table: Any, most: int) -> Any:
    """At most so many rows, evenly spread and always the same ones."""
    if table.height <= most:
        return table
    return table[[number * table.height // most for number in range(most)]]


def _compare(before: Any, now: Any, rows: Any) -> dict[str, Any]:
    import numpy as np

    one, two = (np.asarray(evaluating.scores_of(model, rows), dtype=np.float64) for model in (before, now))
    if before.signature.classes != now.signature.classes or one.shape != two.shape:
        raise ValueError("the two models know different classes")
    largest = float(np.abs(one - two).max()) if one.size else 0.0
    if not np.isfinite(largest):
        raise ValueError("a prediction is no number")
    other = int((one.argmax(axis=1) != two.argmax(axis=1)).sum()) if one.ndim == 2 else 0
    return {"rows": len(one), "largest": largest, "classes": other}


@dataclass(kw_only=True)
class _Book:
    """A journal that remembers nothing, and names and decisions as they were then."""

    original: Mapping[str, Any]
    blobs: LocalFolder
    told: IO[str]
    plan: Plan
    made: dict[str, dict[str, Digest]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    def lookup(self, key: Digest) -> StepResult | None:
        return None

    def write(self, events: Sequence[Event]) -> Mapping[str, StepResult]:
        return {}

    def request(self) -> Request:
        return ""

    def open(self, key: Digest, task: str, params: Mapping[str, Any], about: Sequence[Stored]) -> str:
        self.waiting[key] = task
        return ""

    def verdict(self, key: Digest, params: Mapping[str, Any]) -> Verdict | None:
        """What was decided then; nobody is asked again."""
        decided, task = self.original["decided"], self.waiting[key]
        return Verdict(value=decided[task]) if task in decided else Verdict(refusal="nobody decided it in the run")

    def hear(self, event: Event) -> None:
        """Tell whoever started this process."""
        if event.kind == "node-finished" and event.result is not None:
            self.made[event.node] = {name: stored.digest for name, stored in event.result.outputs.items()}
        if event.kind in ("node-started", "node-finished", "node-failed"):
            self.told.write(json.dumps({"kind": event.kind, "task": event.task}) + "\n")
            self.told.flush()

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        moment = None if as_of is None else format_instant(as_of)
        return self._resolved(DATASET, {"name": name, "version": version, **({"as_of": moment} if moment else {})})

    def file(self, path: str) -> Stored:
        return self._resolved(FILE, {"path": path})

    def _resolved(self, function: str, asked: Mapping[str, Any]) -> Stored:
        """What an input node stood for then, whatever its name means today."""
        for node in self.plan.nodes:
            if (
                node.function == function
                and asked.items() <= node.params.items()
                and node.id in self.original["inputs"]
            ):
                digest, media = self.original["inputs"][node.id]
                return Stored(digest=Digest(digest), media=media)
        raise NotFound(f"the run did not use {asked}", code="unknown-input")

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if builtin != "contract":
            return dict(params)
        return {**params, "version": self.original["contracts"][params["name"]]["version"]}

    def contract(self, name: str) -> Any:
        from stellwerk.data.model import Contract

        if name not in self.original["contracts"]:
            raise NotFound(f"no contract for {name!r} was checked by", code="no-contract")
        return documents.load(Contract, self.original["contracts"][name])

    def seal(self, *, name: str, features: bytes, rows: int, **_facts: Any) -> Any:
        """A gate set as it would be sealed. None is: the labels stay where they are."""
        kept = self.blobs.put(features)
        known = self.original["gates"].get(name, {})
        version = known.get("version", 0) if known.get("features") == kept else 0
        return SimpleNamespace(name=name, version=version, rows=rows, features=kept)


if __name__ == "__main__":
    main()
