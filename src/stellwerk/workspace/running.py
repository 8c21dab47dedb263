"""Executing plans against a workspace, from the beginning or from where an earlier engine has left them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, StellwerkError, interrupt_behind
from stellwerk.pipelines import service as engine
from stellwerk.pipelines.adapters import turns
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.model import (
    BUILTIN,
    Closure,
    Event,
    Execution,
    Plan,
    Ref,
    RunReport,
    Standing,
    document,
    flat,
    parse,
)
from stellwerk.pipelines.rules import isolated
from stellwerk.workspace import builtins, causing, codecs, declaring, elsewhere, executing, revision
from stellwerk.workspace import operations as ops
from stellwerk.workspace.here import Here, tuned
from stellwerk.workspace.journal import StepJournal
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.patience import Patient
from stellwerk.workspace.rebuilding import keeping
from stellwerk.workspace.rebuilding.tags import SOURCES
from stellwerk.workspace.resolving import Names
from stellwerk.workspace.waiting import Watched
from stellwerk.workspace.workers.offering import Workers

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.models.model import ModelVersion
    from stellwerk.pipelines.model import Environment
    from stellwerk.pipelines.ports import Executor
    from stellwerk.pipelines.stock import Stock
    from stellwerk.tracking.model import Run
    from stellwerk.workspace.ports import Caller
    from stellwerk.workspace.searching import Nodes

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
        return all(task.status in ("cached", "omitted") for task in self.report.tasks)

    @property
    def status(self) -> str:
        """How it stands: `done`, or `waiting` or `paused` where it goes on some other time."""
        return self.report.status


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a plan is to be executed.

    Args:
        on: The executor: `in-process`, `pool`, `pool:4`, `ray`, ...
        again: Steps that are executed whether their results are known or not, and so is what uses them.
        stay: Seconds to wait for persons, events and times before leaving the machine to others.
        call: How it was asked for, so that it can be planned again to go on.
    """

    on: str = "in-process"
    again: Collection[str] = ()
    stay: float = 0.0
    call: Mapping[str, Any] = field(default_factory=dict)


def run(caller: Caller, plan: Plan, watch: Watch | None = None, how: How | None = None) -> Ran:
    """Execute a plan as a run with its steps as children, and register the model it evaluates."""
    how, caller = how or How(), Patient(caller)
    check(plan, how)
    stock = declaring.resources(caller.home)
    if caller.local:
        caller.call(ops.close_runs, {})
    closures = engine.closures(plan)
    environment = caller.blobs.put(current().document)
    codes = _keep_code(caller, plan, closures)
    document_digest = caller.blobs.put(canonical.dumps(document(plan)))
    parent, execution = caller.call(
        ops.begin_execution,
        {
            "pipeline": plan.name,
            **causing.place(plan.name),
            "plan": document_digest,
            "code": _code(closures),
            "call": dict(how.call),
            "owner": this_process(),
            "params": plan.params,
            "tags": {
                "plan": document_digest,
                **_sources(caller, plan),
                **revision.tags(caller.home),
                **keeping.before(caller, plan, closures.values()),
                **causing.tags(),
            },
            "environment": environment,
        },
    )
    desk = _Desk(caller, plan, closures, codes, environment, execution, watch, stock)
    return desk.execute(parent, how, {})


def resume(caller: Caller, execution: str, plan: Plan, watch: Watch | None = None, how: How | None = None) -> Ran:
    """Go on with an execution whose engine has ended, because it was killed, paused, or had to wait.

    Raises:
        Conflict: If it goes on elsewhere, or is over.
        Refused: `code-changed`, if the code or the plan is another one than that under which it began.
    """
    how, caller = how or How(), Patient(caller)
    check(plan, how)
    stock = declaring.resources(caller.home)
    if caller.local:
        caller.call(ops.close_runs, {})
    closures = engine.closures(plan)
    known, _ = caller.call(ops.get_execution, {"execution": execution})
    if flat(parse(canonical.loads(caller.blobs.get(known.plan)))).digest != flat(plan).digest:
        raise Invalid(
            f"execution {execution} began with another plan of {known.pipeline!r}",
            code="plan-changed",
            hint="give the parameters with which it began, or execute the pipeline anew",
        )
    taken, states = caller.call(
        ops.take_execution,
        {"execution": execution, "owner": this_process(), "code": _code(closures), "cause": causing.went_on()},
    )
    environment = caller.blobs.put(current().document)
    codes = _keep_code(caller, plan, closures)
    history = {
        # An attempt that was under way when its engine ended is lost, and no fault of the step.
        state.task: (state.attempts, state.lost + (state.status == "running"))
        for state in states
        if state.attempts
    }
    desk = _Desk(caller, plan, closures, codes, environment, taken, watch, stock)
    return desk.execute(caller.call(ops.get_run, {"run": execution}), how, history)


def check(plan: Plan, how: How) -> None:
    """Find slips of the keyboard before anything is recorded. Raises `Invalid`."""
    engine.must_have(plan, how.again)
    executing.check(how.on)


@dataclass
class _Desk:
    """One engine at work on one execution."""

    caller: Caller
    plan: Plan
    closures: dict[str, Closure]
    codes: dict[str, Digest]
    environment: Digest
    execution: Execution
    watch: Watch | None
    stock: Stock

    def execute(self, parent: Run, how: How, history: Mapping[str, tuple[int, int]]) -> Ran:
        journal = StepJournal(
            self.caller, self.plan, self.execution.id, self.execution.epoch, self.environment, self.codes
        )
        try:
            journal.foresee()
            report = self._report(parent, journal, how, history)
            keeping.after(self.caller, parent.id)
            return self._finish(parent, journal, report)
        except BaseException as error:
            interrupted = interrupt_behind(error) is not None
            if isinstance(error, StellwerkError) and error.code == "execution-taken":
                raise  # another engine writes from here on
            status: Literal["interrupted", "failed"] = "interrupted" if interrupted else "failed"
            with suppress(StellwerkError):  # what ended the execution is told, whatever cannot be written about it
                journal.abandon(str(error))
            with suppress(StellwerkError):
                self._end_run(parent, journal, status=status, error=str(error) or type(error).__name__)
            with suppress(StellwerkError):
                self._leave(journal, status)
            raise

    def _report(
        self, parent: Run, journal: StepJournal, how: How, history: Mapping[str, tuple[int, int]]
    ) -> RunReport:
        names = Names(self.caller, project_of(self.caller, self.plan), tuned(self.plan))
        steps = builtins.table(names.contract, names.seal)
        here = Here(self._nodes, builtins=steps, stock=self.stock)
        interpreter = self._interpreter(names.project)
        main = executing.executor(
            how.on,
            here,
            project=names.project,
            interpreter=interpreter,
            workers=lambda: self._workers(parent),
            stock=self.stock,
        )
        apart = self._apart(interpreter) or main
        with (
            closing(main),
            closing(apart) if apart is not main else nullcontext(),
            elsewhere.opened(self.caller) as others,
        ):
            return engine.execute(
                self.plan,
                blobs=self.caller.blobs,
                journal=journal,
                resolver=names,
                executor=main,
                isolated=apart if main is here else main,
                apart=apart,
                here=here,
                waits=Watched(self.caller, self.execution.id, self.plan.name),
                elsewhere=others,
                environment=self.environment,
                clock=self.caller.clock,
                builtins=builtins.BUILTINS,
                execution=self.execution.id,
                again=how.again,
                history=history,
                known=self.closures,
                stay=how.stay,
                watch=self.watch,
            )

    def _without_workers(self) -> None:
        if self.watch is not None:
            self.watch(Event(kind="workers-awaited", at=self.caller.clock.now()))

    def _nodes(self) -> Nodes:
        from stellwerk.workspace.searching import Nodes

        return Nodes(self.caller, experiment=self.plan.name, parent=self.execution.id, environment=self.environment)

    def _interpreter(self, project: Path) -> Callable[[Environment], Path] | None:
        """Gives the interpreters of the environments that steps declare, which are made now; None where none does."""
        if all(node.environment is None for node in self.plan.nodes):
            return None
        from stellwerk.pipelines.adapters.environments import Environments
        from stellwerk.pipelines.adapters.step_environments import StepEnvironments

        own = StepEnvironments(project, Environments())
        own.prepare(self.plan)
        return own.interpreter

    def _workers(self, parent: Run) -> Workers:
        scarce = {name for node in self.plan.nodes for name in node.resources.custom}
        sources = parent.tags.get(SOURCES, "")
        return Workers(self.caller, self.execution.id, sources, scarce=scarce, alone=self._without_workers)

    def _apart(self, interpreter: Callable[[Environment], Path] | None) -> Executor | None:
        """Runs steps that must have a process of their own; None where none must."""
        if interpreter is None and not any(map(isolated, self.plan.nodes)):
            return None
        from stellwerk.pipelines.adapters.subprocess import Subprocess

        return Subprocess(codecs=(codecs.REFERENCE,), interpreter=interpreter, capacity=turns.here(None, self.stock))

    def _finish(self, parent: Run, journal: StepJournal, report: RunReport) -> Ran:
        if report.status in ("waiting", "paused"):
            self._leave(journal, report.status)
            return Ran(run=self.caller.call(ops.get_run, {"run": parent.id}), report=report, model=None)
        if report.status == "cancelled":
            journal.abandon("cancelled")
            ended = self._end_run(parent, journal, status="interrupted", error="cancelled")
            self._leave(journal, "cancelled")
            return Ran(run=ended, report=report, model=None)
        for task in report.failures:
            if task.failure is not None:
                raise task.failure.error()
        evaluation, model = self._register(report, parent)
        metrics = {name: float(value) for name, value in evaluation.get("metrics", {}).items()}
        outputs = {
            name if len(stored) == 1 else f"{name}-{index}": item.digest
            for name, stored in report.results.items()
            for index, item in enumerate(stored)
        }
        if model is not None:
            outputs["model"] = model.bytes()
        ended = self._end_run(parent, journal, outputs=outputs, metrics=metrics)
        self._leave(journal, "done")
        return Ran(run=ended, report=report, model=model, evaluation=evaluation)

    def _end_run(self, parent: Run, journal: StepJournal, **facts: Any) -> Run:
        ended: Run = self.caller.call(ops.finish_run, {"run": parent.id, "cost": journal.total(), **facts})
        return ended

    def _leave(self, journal: StepJournal, status: Standing) -> None:
        keys = self.caller.blobs.put(canonical.dumps(list(journal.keys))) if journal.keys else None
        arguments = {"execution": self.execution.id, "epoch": self.execution.epoch, "status": status, "keys": keys}
        self.caller.call(ops.leave_execution, arguments)

    def _register(self, report: RunReport, parent: Run) -> tuple[dict[str, Any], ModelVersion | None]:
        """Register the model that the last `evaluate` step chose, unpacked into its files."""
        nodes = {node.id: node for node in self.plan.nodes if node.function == BUILTIN + "evaluate"}
        chosen = [task for task in report.tasks if task.node in nodes and task.result is not None]
        if not chosen or chosen[-1].result is None:
            return {}, None
        node, result = nodes[chosen[-1].node], chosen[-1].result
        made = _made(report, node.inputs["model"])
        made += _made(report, node.inputs["baseline"]) if "baseline" in node.inputs else []
        found = result.outputs["value"].digest
        from stellwerk.workspace.steps import registering

        return registering.register(
            self.caller, self.plan.name, found, made, parent=parent.id, environment=self.environment
        )


def _made(report: RunReport, ref: Ref) -> list[Digest]:
    """The digests behind a reference: one, or one per seed."""
    if ref.node in report.inputs:
        return [report.inputs[ref.node].digest]
    tasks = [task for task in report.tasks if task.node == ref.node and task.result is not None]
    return [task.result.outputs[ref.output].digest for task in tasks if task.result is not None]


def project_of(caller: Caller, plan: Plan) -> Path:
    """The folder that the files of a plan are relative to: that of its first step with a file, or the workspace's."""
    files = [node.file for node in plan.nodes if node.file]
    return Path(files[0]).parent if files else caller.home


def _code(closures: Mapping[str, Closure]) -> Digest:
    """What stands for all code of a plan."""
    return canonical.digest({name: found.digest for name, found in sorted(closures.items())})


def _keep_code(caller: Caller, plan: Plan, closures: Mapping[str, Closure]) -> dict[str, Digest]:
    """Keep what each step's code digest stands for, so that a trace can re-verify it."""
    documents: dict[str, bytes] = {}
    versions = {BUILTIN + item.name: item.version for item in builtins.BUILTINS}
    for node in plan.nodes:
        if node.function in closures:
            documents[node.function] = canonical.dumps([list(part) for part in closures[node.function].parts])
        else:
            name = node.function.removeprefix(BUILTIN)
            documents[node.function] = canonical.dumps({"builtin": name, "version": versions.get(node.function, 1)})
    kept = caller.blobs.put_many(documents.values())
    return dict(zip(documents, kept, strict=True))


def _sources(caller: Caller, plan: Plan) -> dict[str, str]:
    """The pipeline files themselves, as artifacts."""
    files = sorted({node.file for node in plan.nodes if node.file})
    return {f"source {Path(file).name}": caller.blobs.put(Path(file).read_bytes()) for file in files}
