"""Executing plans against a workspace: the bridge from the engine's ports to operations, local or remote."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Bug, NotFound
from stellwerk.ledger import documents
from stellwerk.models.model import ModelVersion, Signature
from stellwerk.pipelines import service as engine
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import (
    BUILTIN,
    DATASET,
    Event,
    Node,
    Plan,
    Ref,
    RunReport,
    StepResult,
    Stored,
    document,
)
from stellwerk.pipelines.values import STANDARD
from stellwerk.store import service as trees
from stellwerk.tracking.model import Cost, Run, StepMemory
from stellwerk.workspace import builtins, codecs, revision
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.tables import PARQUET

Watch = Callable[[Event], None]
"""Told every event of an execution, for progress bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of executing a plan."""

    run: Run
    report: RunReport
    model: ModelVersion | None
    evaluation: dict[str, Any] = field(default_factory=dict)

    @property
    def cached(self) -> bool:
        """Whether nothing had to be executed."""
        return all(task.status == "cached" for task in self.report.tasks)


def run(caller: Caller, plan: Plan, watch: Watch | None = None) -> Ran:
    """Execute a plan as a run with its steps as children, and register the model it evaluates."""
    if caller.local:
        caller.call(ops.close_runs, {})
    environment = caller.blobs.put(current().document)
    codes = _keep_code(caller, plan)
    parent: Run = caller.call(
        ops.start_run,
        {
            "experiment": plan.name,
            "name": plan.name,
            "kind": "pipeline",
            "params": plan.params,
            "tags": {
                "plan": caller.blobs.put(canonical.dumps(document(plan))),
                **_sources(caller, plan),
                **revision.tags(caller.home),
            },
            "environment": environment,
            "process": this_process() if caller.local else None,
        },
    )
    book = _Book(caller=caller, plan=plan, parent=parent.id, environment=environment, codes=codes, watch=watch)
    try:
        report = _execute(caller, plan, book, environment)
        return _finish(caller, plan, parent, book, report)
    except BaseException as error:
        book.abandon(str(error))
        caller.call(
            ops.finish_run,
            {
                "run": parent.id,
                "status": "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
                "error": str(error) or type(error).__name__,
                "cost": book.total(),
            },
        )
        raise


def _execute(caller: Caller, plan: Plan, book: _Book, environment: Digest) -> RunReport:
    steps = builtins.table(book.contract, book.seal)
    return engine.execute(
        plan,
        blobs=caller.blobs,
        memory=book,
        recorder=book,
        resolver=book,
        executor=InProcess(builtins=steps, codecs=STANDARD.with_first(codecs.MODEL)),
        isolated=Subprocess(codecs=(codecs.REFERENCE,)),
        environment=environment,
        clock=caller.clock,
        builtins=builtins.BUILTINS,
    )


def _finish(caller: Caller, plan: Plan, parent: Run, book: _Book, report: RunReport) -> Ran:
    for task in report.failures:
        if task.failure is not None:
            raise task.failure.error()
    evaluation, model = _register(caller, plan, book, report, parent)
    metrics = {name: float(value) for name, value in evaluation.get("metrics", {}).items()}
    outputs = {
        name if len(stored) == 1 else f"{name}-{index}": item.digest
        for name, stored in report.results.items()
        for index, item in enumerate(stored)
    }
    if model is not None:
        outputs["model"] = model.bytes()
    ended = caller.call(
        ops.finish_run, {"run": parent.id, "outputs": outputs, "metrics": metrics, "cost": book.total()}
    )
    return Ran(run=ended, report=report, model=model, evaluation=evaluation)


def _register(
    caller: Caller, plan: Plan, book: _Book, report: RunReport, parent: Run
) -> tuple[dict[str, Any], ModelVersion | None]:
    """Register the model that the last `evaluate` step chose, unpacked into its files."""
    nodes = [node for node in plan.nodes if node.function == BUILTIN + "evaluate"]
    if not nodes:
        return {}, None
    node = nodes[-1]
    result = next(task.result for task in report.tasks if task.node == node.id and task.result)
    evaluation: dict[str, Any] = canonical.loads(caller.blobs.get(result.outputs["value"].digest))
    made = book.made(node.inputs["model"])
    made += book.made(node.inputs["baseline"]) if "baseline" in node.inputs else []
    archive = made[evaluation["chosen"]]
    files = codecs.files(caller.blobs.get(archive))
    tree = trees.put_files(caller.blobs, files)
    described = canonical.loads(files["model.json"])
    registering = caller.call(
        ops.start_run,
        {
            "experiment": plan.name,
            "name": "register",
            "kind": "register",
            "parent": parent.id,
            "inputs": {"model": archive, "evaluation": result.outputs["value"].digest},
            "code": caller.blobs.put(canonical.dumps({"builtin": "register", "version": 1})),
            "environment": book.environment,
            "process": this_process() if caller.local else None,
        },
    )
    book.open["register"] = registering.id
    version = caller.call(
        ops.register_model,
        {
            "name": plan.name,
            "digest": tree,
            "signature": documents.load(Signature, described["signature"]),
            "layout": described["format"],
            "run": registering.id,
            "seed": evaluation["chosen"] if 1 < len(evaluation["seeds"]) > evaluation["chosen"] else None,
        },
    )
    caller.call(ops.finish_run, {"run": book.open.pop("register"), "outputs": {"model": tree}})
    return evaluation, version


def _keep_code(caller: Caller, plan: Plan) -> dict[str, Digest]:
    """Keep what each step's code digest stands for, so that a trace can re-verify it."""
    codes: dict[str, Digest] = {}
    for node in plan.nodes:
        if node.function in codes or node.function == DATASET:
            continue
        if node.function.startswith(BUILTIN):
            name = node.function.removeprefix(BUILTIN)
            version = next(item.version for item in builtins.BUILTINS if item.name == name)
            codes[node.function] = caller.blobs.put(canonical.dumps({"builtin": name, "version": version}))
        else:
            parts = closure(resolve(node.function, node.file)).parts
            codes[node.function] = caller.blobs.put(canonical.dumps([list(part) for part in parts]))
    return codes


def _sources(caller: Caller, plan: Plan) -> dict[str, str]:
    """The pipeline files themselves, as artifacts."""
    files = sorted({node.file for node in plan.nodes if node.file})
    return {f"source {Path(file).name}": caller.blobs.put(Path(file).read_bytes()) for file in files}


@dataclass(kw_only=True)
class _Book:
    """Memory, Recorder and Resolver of the engine, on the operations of a workspace.

    A step's run and its result under the step key are written in one transaction, at `commit`.
    """

    caller: Caller
    plan: Plan
    parent: str
    environment: Digest
    codes: dict[str, Digest]
    watch: Watch | None
    results: dict[tuple[str, int | None], dict[str, Digest]] = field(default_factory=dict)
    datasets: dict[str, Digest] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    """Step key → run that computes it."""
    spent: list[Cost] = field(default_factory=list)
    cpu: float = 0.0

    # Memory

    def lookup(self, key: Digest) -> StepResult | None:
        known: StepMemory | None = self.caller.call(ops.remembered_step, {"step_key": key})
        if known is None:
            return None
        outputs = {n: Stored(digest=d, media=known.media[n]) for n, d in known.outputs.items() if n in known.media}
        return StepResult(outputs=outputs)

    def commit(self, key: Digest, result: StepResult) -> StepResult:
        run_id = self.open.pop(key, None)
        if run_id is None:
            raise Bug("a result was committed for a step that was not started")
        outputs = {name: stored.digest for name, stored in result.outputs.items()}
        usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        now = sum(one.ru_utime + one.ru_stime for one in usage)
        cost = Cost(
            wall_seconds=result.seconds,
            cpu_seconds=max(0.0, now - self.cpu),
            peak_memory_bytes=max(one.ru_maxrss for one in usage) * 1024,
        )
        self.spent.append(cost)
        memory = StepMemory(
            step_key=key,
            outputs=outputs,
            media={name: stored.media for name, stored in result.outputs.items()},
            run=run_id,
            created_at=self.caller.clock.now(),
        )
        self.caller.call(
            ops.finish_run,
            {
                "run": run_id,
                "outputs": {**outputs, **self._gate_features(run_id, result)},
                "metrics": self._metrics(result),
                "cost": cost,
                "log": Digest(result.log) if result.log else None,
                "memory": memory,
            },
        )
        return self.lookup(key) or result

    # Recorder

    def record(self, event: Event) -> None:
        if event.kind == "input-resolved" and event.stored is not None:
            self.datasets[event.node] = event.stored.digest
        elif event.kind == "node-started" and Digest(event.key) not in self.open:
            self.cpu = sum(
                one.ru_utime + one.ru_stime
                for one in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
            )
            self.open[event.key] = self._start(event).id
        elif event.kind in ("node-finished", "node-cached") and event.result is not None:
            outputs = {name: stored.digest for name, stored in event.result.outputs.items()}
            self.results[(event.node, event.seed)] = outputs
            if event.kind == "node-cached":
                self._note_cached(event, outputs)
        elif event.kind == "node-failed" and event.failure is not None:
            self._fail(event)
        if self.watch is not None:
            self.watch(event)

    def _start(self, event: Event) -> Run:
        node = self._node(event.node)
        started: Run = self.caller.call(
            ops.start_run,
            {
                "experiment": self.plan.name,
                "name": event.task,
                "kind": node.kind,
                "parent": self.parent,
                "params": self._params(node, event),
                "inputs": self._inputs(node),
                "code": self.codes[node.function],
                "environment": self.environment,
                "step_key": Digest(event.key),
                "process": this_process() if self.caller.local else None,
            },
        )
        return started

    def _note_cached(self, event: Event, outputs: dict[str, Digest]) -> None:
        node = self._node(event.node)
        now = self.caller.clock.now()
        self.caller.call(
            ops.record_run,
            {
                "run": Run(
                    id="",
                    experiment=self.plan.name,
                    name=event.task,
                    kind=node.kind,
                    status="finished",
                    started_at=now,
                    started_by="",
                    parent=self.parent,
                    params=self._params(node, event),
                    inputs=self._inputs(node),
                    outputs=outputs,
                    code=self.codes[node.function],
                    environment=self.environment,
                    step_key=Digest(event.key),
                    cached=True,
                )
            },
        )

    def _fail(self, event: Event) -> None:
        failure = event.failure
        run_id = self.open.pop(event.key, None)
        if run_id is None or failure is None:
            return
        text = "\n".join(part for part in (failure.log, failure.traceback) if part)
        log = self.caller.blobs.put(text.encode("utf-8", "replace")) if text else None
        arguments = {"run": run_id, "status": "failed", "error": failure.message, "log": log}
        self.caller.call(ops.finish_run, arguments)

    def abandon(self, why: str) -> None:
        """End the runs of steps that were under way when the execution ended."""
        for run_id in self.open.values():
            self.caller.call(ops.finish_run, {"run": run_id, "status": "interrupted", "error": why or "interrupted"})
        self.open.clear()

    # Resolver

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        blob = self.caller.call(ops.table_of_data, {"name": name, "version": version, "as_of": as_of})
        return Stored(digest=blob, media=PARQUET)

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if builtin != "contract":
            return dict(params)
        changes = {name: dict(rule) for name, rule in (params.get("changes") or {}).items()}
        confirmed = self.caller.call(ops.confirm_contract, {"name": params["name"], "changes": changes})
        return {**params, "version": confirmed.version}

    # For built-in steps

    def contract(self, name: str) -> Any:
        found = self.caller.call(ops.get_contract, {"name": name})
        if found is None:
            raise NotFound(f"no contract for {name!r}", code="no-contract", hint="`stellwerk data add` drafts one")
        return found

    def seal(self, *, features: bytes, labels: bytes, **facts: Any) -> Any:
        plain = {"features": builtins.encode_bytes(features), "labels": builtins.encode_bytes(labels)}
        return self.caller.call(ops.seal_gate, {**plain, **facts})

    # What references stand for

    def made(self, ref: Ref) -> list[Digest]:
        """The digests behind a reference: one, or one per seed."""
        if ref.node in self.datasets:
            return [self.datasets[ref.node]]
        found = [(seed, out[ref.output]) for (node, seed), out in self.results.items() if node == ref.node]
        return [digest for _, digest in sorted(found, key=lambda item: item[0] or 0)]

    def total(self) -> Cost:
        """What all executed steps used."""
        return Cost(
            wall_seconds=sum(cost.wall_seconds for cost in self.spent),
            cpu_seconds=sum(cost.cpu_seconds for cost in self.spent),
            peak_memory_bytes=max((cost.peak_memory_bytes for cost in self.spent), default=0),
        )

    def _node(self, node_id: str) -> Node:
        return next(node for node in self.plan.nodes if node.id == node_id)

    def _params(self, node: Node, event: Event) -> dict[str, Any]:
        return {**node.params, "seed": event.seed} if event.seed is not None else node.params

    def _inputs(self, node: Node) -> dict[str, Digest]:
        named = {}
        for argument, ref in node.inputs.items():
            found = self.made(ref)
            for index, digest in enumerate(found):
                named[argument if len(found) == 1 else f"{argument}#{index}"] = digest
        return named

    def _gate_features(self, run_id: str, result: StepResult) -> dict[str, Digest]:
        """A gate step also made the feature table that proofs will read."""
        answer = self._json(result)
        return {"features": Digest(answer["features"])} if "gate" in answer and "features" in answer else {}

    def _metrics(self, result: StepResult) -> dict[str, float]:
        found = self._json(result).get("metrics", {})
        return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}

    def _json(self, result: StepResult) -> dict[str, Any]:
        stored = result.outputs.get("value")
        if stored is None or stored.media != "application/json":
            return {}
        value = canonical.loads(self.caller.blobs.get(stored.digest))
        return value if isinstance(value, dict) else {}
