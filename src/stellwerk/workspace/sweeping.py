"""Sweeps: each trial a program of its own, or a pipeline with its parameters, measured by what it logged."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.data.dvc import yamltext
from stellwerk.pipelines.adapters.line import Line
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.authoring.building import Builder
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.model import BUILTIN, Attempt, Failure, Plan
from stellwerk.pipelines.tuning import rules, sweeps
from stellwerk.pipelines.tuning.authoring import refuse_gate
from stellwerk.pipelines.tuning.model import Budget, Ending, Objective, Setup, Trial
from stellwerk.pipelines.tuning.ports import Report
from stellwerk.pipelines.tuning.program import CALL
from stellwerk.pipelines.tuning.reporting import PRUNED
from stellwerk.pipelines.tuning.sweeps import Sweep
from stellwerk.pipelines.tuning.together import Together
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.running import Ran
from stellwerk.workspace.settings import PARENT_RUN
from stellwerk.workspace.tuning import JSON, Found, Job, Watch, seek

TOOK = "took"
"""What is measured where a sweep names no metric: seconds."""


def load(file: Path) -> Sweep:
    """The sweep of a file.

    Raises:
        NotFound: `no-such-file`.
        Invalid: `invalid-sweep`, `sweep-not-supported`, with what is wrong.
    """
    if not file.is_file():
        raise NotFound(f"there is no sweep file {str(file)!r}", code="no-such-file", hint="check --sweep")
    try:
        data = file.read_bytes()
    except OSError as cause:
        raise Unavailable(f"{str(file)!r} cannot be read: {cause.strerror}", code="file-unreadable") from cause
    try:
        document = yamltext.read(data, file.name)
    except Invalid as cause:
        raise Invalid(cause.message, code="invalid-sweep") from cause
    return sweeps.read(document)


def budget(sweep: Sweep, trials: int | None) -> Budget:
    """How many runs there are to be. Raises `Invalid` where nobody said it and the search has no end of its own."""
    cap = min((one for one in (trials, sweep.cap) if one is not None), default=None)
    cap = cap or rules.most(_setup(sweep))
    if cap is None:
        raise Invalid(
            f"a sweep by {sweep.search} has no end of its own",
            code="no-budget",
            hint="say run_cap in the file, or --trials N",
        )
    return Budget(trials=cap)


def programs(
    caller: Caller, sweep: Sweep, folder: Path, *, place: str, limit: Budget, workers: int, watch: Watch
) -> Found:
    """Run the program of a sweep, once for each trial."""
    if "${program}" in sweep.command and not sweep.program:
        raise Invalid("the sweep names no program", code="invalid-sweep", hint="name a pipeline, or say `program:`")
    program = folder / sweep.program
    if "${program}" in sweep.command and not program.is_file():
        raise NotFound(
            f"there is no program {sweep.program!r} beside the sweep file",
            code="no-such-file",
            hint="paths are relative to the folder of the sweep file",
        )
    written = of_bytes(program.read_bytes()) if sweep.program and program.is_file() else ""
    code = {"command": list(sweep.command), "program": sweep.program, "written": written}
    job = _job(caller, sweep, sweep.name or Path(sweep.program).stem or "sweep", code, limit, workers)
    together = Together(lambda: Pool(workers=workers))
    with Line() as line, closing(together):
        return seek(caller, job, _Program(caller, job, sweep, folder, place, line, together), watch=watch)


def pipelines(
    caller: Caller,
    sweep: Sweep,
    name: str,
    *,
    plan: Callable[[Mapping[str, Any]], Plan],
    run: Callable[[Plan], Ran],
    code: Mapping[str, Any],
    limit: Budget,
    watch: Watch,
) -> Found:
    """Run a pipeline with the parameters of each trial, one after the other.

    Args:
        plan: The plan of some parameters.
        code: What the pipeline is, besides its parameters.
    """
    job = _job(caller, sweep, sweep.name or name, code, limit, 1)
    return seek(caller, job, _Pipeline(caller, job, plan, run), watch=watch)


def _setup(sweep: Sweep) -> Setup:
    return Setup(
        space=sweep.space,
        objectives=(sweep.objective or Objective(metric=TOOK),),
        search=sweep.search,
        pruning=sweep.pruning,
    )


def _job(caller: Caller, sweep: Sweep, name: str, code: Mapping[str, Any], limit: Budget, workers: int) -> Job:
    kept = caller.blobs.put(canonical.dumps({"sweep": dict(code)}))
    return Job(
        step={"name": name, "kind": "sweep", "outputs": (), "timeout": "", "memory": ""},
        file="",
        setup=_setup(sweep),
        budget=limit,
        workers=workers,
        given={},
        inputs={},
        listed=frozenset(),
        select=None,
        code=kept,
        kept_code=kept,
        environment=caller.blobs.put(current().document),
        experiment=name,
    )


@dataclass
class _Program:
    """Runs the program of a trial, and reads what it logged."""

    caller: Caller
    job: Job
    sweep: Sweep
    folder: Path
    place: str
    line: Line
    together: Together
    told: dict[str, int] = field(default_factory=dict)

    def __call__(self, trial: Trial, report: Report) -> Ending:
        name = f"{trial.number}/{trial.epoch}"
        self.line.listen(name, lambda _step, _value: self._looked(trial, report))
        try:
            ended = self.together.run(self._attempt(trial, name))
        finally:
            self.line.forget(name)
        if isinstance(ended, Failure):
            state: Any = "pruned" if ended.cause == PRUNED else "failed"
            return Ending(
                state=state, log=ended.log, error="" if state == "pruned" else ended.message, seconds=ended.seconds
            )
        return self._judged(trial, ended.log, ended.seconds)

    def _judged(self, trial: Trial, log: str, seconds: float) -> Ending:
        objective = self.job.setup.objectives[0]
        if self.sweep.objective is None:
            return Ending(state="done", values=(seconds,), log=log, seconds=seconds)
        logged = self._logged(trial)
        values = [run.metrics[objective.metric] for run in logged if objective.metric in run.metrics]
        if not values:
            there = sorted({name for run in logged for name in run.metrics})
            said = f"logged {', '.join(there[:12]) or 'nothing'}" if logged else "logged no run"
            return Ending(
                state="failed",
                log=log,
                error=f"the program {said} (expected the metric {objective.metric!r})",
                seconds=seconds,
            )
        return Ending(state="done", values=(values[0],), log=log, seconds=seconds)

    def _logged(self, trial: Trial) -> Sequence[Run]:
        """The runs that the program logged, the newest first."""
        found: Sequence[Run] = self.caller.call(ops.search_runs, {"parent": trial.run, "limit": 100})
        return found

    def _looked(self, trial: Trial, report: Report) -> bool:
        """Tell the search what the program has logged since; whether it is to end."""
        metric = self.job.setup.objectives[0].metric
        for run in self._logged(trial)[:1]:
            for one in self.caller.call(ops.run_page, {"run": run.id}).standing:
                if one.key == metric and one.step + 1 > self.told.get(trial.run, 0):
                    self.told[trial.run] = one.step + 1
                    return report(one.step + 1, one.value)
        return False

    def _attempt(self, trial: Trial, name: str) -> Attempt:
        return Attempt(
            id=f"{trial.run}/{secrets.token_hex(4)}",
            task=f"{self.job.step['name']}#{trial.number}",
            node=f"{self.job.step['name']} #{trial.number}",
            function=CALL,
            params={
                "trial": {
                    "argv": sweeps.argv(self.sweep, trial.params, interpreter=sys.executable),
                    "folder": str(self.folder),
                    "variables": {PARENT_RUN: trial.run, "STELLWERK_ROOT": self.place},
                    "line": self.line.address,
                    "number": name,
                    "asks": self.sweep.pruning is not None,
                }
            },
        )


@dataclass
class _Pipeline:
    """Runs the pipeline of a trial in this process."""

    caller: Caller
    job: Job
    plan: Callable[[Mapping[str, Any]], Plan]
    run: Callable[[Plan], Ran]

    def __call__(self, trial: Trial, report: Report) -> Ending:
        began = monotonic()
        try:
            plan = self.plan(sweeps.nested(trial.params))
            judged_apart(plan)
            ran = self.run(plan)
            values = self._values(ran, monotonic() - began)
        except StellwerkError as problem:
            if problem.code == "gate-in-tuning":
                raise
            return Ending(state="failed", error=problem.message, seconds=monotonic() - began)
        return Ending(state="done", values=values, log=f"pipeline run {ran.run.id}\n", seconds=monotonic() - began)

    def _values(self, ran: Ran, seconds: float) -> tuple[float, ...]:
        results = {
            name: canonical.loads(self.caller.blobs.get(Digest(many[0].digest)))
            for name, many in ran.report.results.items()
            if len(many) == 1 and many[0].media == JSON
        }
        known = {**results, "metrics of the pipeline": {"metrics": dict(ran.run.metrics)}, TOOK: seconds}
        return rules.values(self.job.setup.objectives, known)


def judged_apart(plan: Plan) -> None:
    """Refuse a pipeline whose models are measured on what is kept apart to judge the one that is chosen."""
    builder = Builder(nodes={node.id: node for node in plan.nodes}, groups={group.id: group for group in plan.groups})
    for node in plan.nodes:
        if node.function == BUILTIN + "evaluate":
            refuse_gate(dict(node.inputs), builder)
