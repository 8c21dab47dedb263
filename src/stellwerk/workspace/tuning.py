"""Tuning against a workspace: trials as runs, a step cache, executors, and what came of it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol

from stellwerk.core import canonical
from stellwerk.core.clock import monotonic, parse_duration
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, StellwerkError
from stellwerk.pipelines.adapters.line import Line
from stellwerk.pipelines.adapters.optuna_search import OptunaAdvisor, PrunedPlain
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.keys import step_key
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import Attempt, Encoded, Failure, Outcome, Stored, parse_size
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.authoring import LOSS
from stellwerk.pipelines.tuning.model import Budget, Ending, Setup, Trial
from stellwerk.pipelines.tuning.ports import Advisor, Report
from stellwerk.pipelines.tuning.ports import Run as RunTrial
from stellwerk.pipelines.tuning.reporting import PRUNED
from stellwerk.pipelines.tuning.service import search
from stellwerk.pipelines.tuning.trial import CALL, digest_of, shim, shipped
from stellwerk.tracking.model import OPEN, Cost, Run, StepMemory, Study, TrialLine
from stellwerk.tracking.trials import LEASE
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.studies import trial_of

JSON = "application/json"
STUDY_FORMAT = "stellwerk-study/1"
Watch = Callable[[Trial], None]
AGAIN = 3
"""How often a trial is begun anew whose worker was lost through no fault of its own."""


class Runs(Protocol):
    """Runs an attempt to its end, for several threads at once."""

    def run(self, attempt: Attempt) -> Outcome | Failure:
        """Run it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is tuned, with everything looked up.

    Args:
        step: The tuned step: `name`, `function`, `kind`, `outputs`, `timeout`, `memory`.
        given: Its parameters that are not searched.
        inputs: Its inputs by argument.
        select: The table on which models are measured, if they are.
        codes: The digest of its code closure, and the blob that says what it stands for.
    """

    step: Mapping[str, Any]
    file: str
    setup: Setup
    budget: Budget
    workers: int
    given: Mapping[str, Any]
    inputs: Mapping[str, tuple[Stored, ...]]
    listed: frozenset[str]
    select: Stored | None
    code: Digest
    kept_code: Digest
    environment: Digest
    experiment: str
    parent: str | None = None

    @property
    def study(self) -> Digest:
        """What names the question: everything that its answer depends on, but how long it is sought."""
        return canonical.digest(
            {
                "format": STUDY_FORMAT,
                "code": self.code,
                "kind": self.step["kind"],
                "outputs": list(self.step["outputs"]),
                "given": dict(self.given),
                "inputs": {name: [one.digest for one in many] for name, many in self.inputs.items()},
                "select": None if self.select is None else self.select.digest,
                "environment": self.environment,
                "setup": self.setup.document(),
            }
        )

    @property
    def alone(self) -> bool:
        """Whether trials run in this process: one after the other, without limits that only another can keep."""
        return self.workers == 1 and not self.step["timeout"] and not self.step["memory"]

    @property
    def artifacts(self) -> dict[str, Digest]:
        """The inputs as runs name them."""
        named = {
            name if len(many) == 1 else f"{name}#{place}": one.digest
            for name, many in self.inputs.items()
            for place, one in enumerate(many)
        }
        return {**named, **({} if self.select is None else {"select": self.select.digest})}

    def key(self, params: Mapping[str, Any]) -> Digest:
        """The step key of a trial: that of the step with these parameters, wherever it is called."""
        inputs: dict[str, Stored | Sequence[Stored]] = {
            name: list(many) if name in self.listed else many[0] for name, many in self.inputs.items()
        }
        return step_key(
            code=self.code,
            params={**self.given, **params},
            inputs=inputs,
            environment=self.environment,
            kind=self.step["kind"],
            outputs=self.step["outputs"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to.

    Args:
        stored: What the step made with the best parameters, by output.
    """

    run: str
    study: Digest
    best: Trial
    trials: tuple[Trial, ...]
    report: dict[str, Any]
    stored: dict[str, Stored] = field(default_factory=dict)


class KeptTrials:
    """The trials of a study in a workspace."""

    def __init__(self, caller: Caller, job: Job) -> None:
        self._caller, self._job, self._study = caller, job, job.study
        self.holder = f"{this_process()}/{secrets.token_hex(8)}"
        self._process = this_process() if caller.local else None
        self._renewed = caller.clock.now()
        self._turn = threading.Lock()

    def known(self) -> list[Trial]:
        lines = self._caller.call(
            ops.list_trials, {"study": self._study, "reports": self._job.setup.pruning is not None}
        )
        return [trial_of(self._job.setup, line) for line in lines]

    def claim(self, number: int, params: Mapping[str, Any]) -> Trial:
        line: TrialLine = self._caller.call(
            ops.claim_trial,
            {
                "study": self._study,
                "number": number,
                "holder": self.holder,
                "params": {**self._job.given, **params},
                "tags": {"trial": str(number)},
                "inputs": self._job.artifacts,
                "code": self._job.kept_code,
                "environment": self._job.environment,
                "step_key": self._job.key(params),
                "process": self._process,
            },
        )
        return trial_of(self._job.setup, line)

    def retake(self, trial: Trial) -> Trial | None:
        line: TrialLine | None = self._caller.call(
            ops.retake_trial,
            {
                "study": self._study,
                "number": trial.number,
                "epoch": trial.epoch,
                "holder": self.holder,
                "process": self._process,
            },
        )
        return None if line is None else trial_of(self._job.setup, line)

    def finish(self, trial: Trial, ending: Ending) -> bool:
        outputs = {name: one.digest for name, one in ending.known.items()}
        media = {name: one.media for name, one in ending.known.items()}
        for name, value in ending.outputs.items():
            outputs[name], media[name] = self._caller.blobs.put(value.data), value.media
        memory = None
        if ending.state == "done" and ending.key and not ending.cached:
            memory = StepMemory(
                step_key=Digest(ending.key), outputs=outputs, media=media, run=trial.run,
                created_at=self._caller.clock.now(),
            )  # fmt: skip
        log = self._caller.blobs.put(ending.log.encode("utf-8", "replace")) if ending.log else None
        names = [one.metric for one in self._job.setup.objectives]
        ended: Run | None = self._caller.call(
            ops.finish_trial,
            {
                "study": self._study,
                "number": trial.number,
                "epoch": trial.epoch,
                "status": "failed" if ending.state == "failed" else "finished",
                "outputs": outputs,
                "metrics": dict(zip(names, ending.values, strict=True)) if ending.state == "done" else {},
                "reports": ending.reports,
                "pruned": ending.state == "pruned",
                "cached": ending.cached,
                "cost": Cost(wall_seconds=ending.seconds),
                "error": ending.error,
                "log": log,
                "memory": memory,
            },
        )
        return ended is not None

    def renew(self) -> None:
        with self._turn:
            now = self._caller.clock.now()
            if now - self._renewed < timedelta(seconds=LEASE.total_seconds() / 3):
                return
            self._renewed = now
        self._caller.call(ops.renew_trials, {"study": self._study, "holder": self.holder})

    def release(self) -> None:
        self._caller.call(ops.release_trials, {"study": self._study, "holder": self.holder})


def tune(caller: Caller, job: Job, executor: Runs, *, watch: Watch | None = None, decode: Any = None) -> Found:
    """Search until the budget is spent, going on with what is known of the same question.

    Args:
        executor: Runs trials, as many at once as the job has workers.
        decode: Reads a value that a step made, for models that are measured here.
    """
    with Line() as line:
        return seek(caller, job, _Runner(caller, job, executor, line, decode), watch=watch)


def seek(caller: Caller, job: Job, run: RunTrial, *, watch: Watch | None = None) -> Found:
    """The same, with trials that are run in another way than as a step."""
    if caller.local:
        caller.call(ops.close_runs, {})
    study = _open(caller, job)
    try:
        trials = search(
            job.setup,
            _limited(job),
            trials=KeptTrials(caller, job),
            advise=lambda known: advisor(job.setup, known),
            run=run,
            workers=job.workers,
            tell=watch or (lambda trial: None),
        )
    except Invalid as problem:
        if problem.code == "all-trials-failed":
            _end(caller, study.runs[-1], {"status": "failed", "error": problem.message})
        raise
    # A smaller budget than what is known already has the answer that it would have had.
    most = job.budget.trials
    return _closed(caller, job, study, [trial for trial in trials if most is None or trial.number < most])


def advisor(setup: Setup, known: Sequence[Trial]) -> Advisor:
    """Who advises: Optuna where something is learned or ended early, our own points otherwise."""
    if setup.search in ("random", "grid"):
        plain = rules.Plain(setup)
        return PrunedPlain(plain, setup, known) if setup.pruning is not None else plain
    return OptunaAdvisor(setup, known)


def _limited(job: Job) -> Budget:
    """A grid ends by itself."""
    points = rules.most(job.setup)
    if points is None:
        return job.budget
    return Budget(trials=min(points, job.budget.trials or points), time=job.budget.time)


def _open(caller: Caller, job: Job) -> Study:
    """The study, with a run that trials can be part of if there are to be more."""
    known: Study | None = caller.call(ops.find_study, {"study": job.study})
    spent = False
    if known is not None:
        lines = caller.call(ops.list_trials, {"study": job.study})
        trials = [trial_of(job.setup, line) for line in lines]
        wanted, seconds = _limited(job).trials, job.budget.seconds
        over = (wanted is not None and len(trials) >= wanted) or (
            seconds is not None and rules.spent(trials, job.workers) >= seconds
        )
        spent = over and all(trial.state != "running" for trial in trials)
    opened: Study = caller.call(
        ops.open_study,
        {
            "study": job.study,
            "experiment": job.experiment,
            "name": job.step["name"],
            "setup": job.setup.document(),
            "again": not spent,
            "parent": job.parent,
            "params": {**job.given, "search": job.setup.search, "seed": job.setup.seed, "workers": job.workers},
            "inputs": job.artifacts,
            "code": job.kept_code,
            "environment": job.environment,
        },
    )
    return opened


def _closed(caller: Caller, job: Job, study: Study, trials: Sequence[Trial]) -> Found:
    from stellwerk.workspace import tuned

    best = rules.best(trials, job.setup.objectives[0])
    run: Run = caller.call(ops.get_run, {"run": study.runs[-1]})
    if best is None:
        states = ", ".join(f"{sum(t.state == s for t in trials)} {s}" for s in ("pruned", "failed"))
        error = f"none of {len(trials)} trials came to a value ({states})"
        _end(caller, run.id, {"status": "failed", "error": error})
        raise Invalid(error, code="no-trial-finished", hint="look at the errors of the trials, or raise the budget")
    stored = _stored(caller, job, best)
    report: dict[str, Any] = {}
    if run.status not in OPEN and "report" in run.outputs:
        report = canonical.loads(caller.blobs.get(run.outputs["report"]))
    if not report or report["trials"]["all"] != len(trials):
        report = tuned.report(job.setup, trials, best)
    if run.status in OPEN:
        outputs = {
            "best": caller.blobs.put(canonical.dumps(best.params)),
            "report": caller.blobs.put(canonical.dumps(report)),
            **{name: one.digest for name, one in stored.items()},
        }
        metrics = {one.metric: value for one, value in zip(job.setup.objectives, best.values, strict=True)}
        counts = report["trials"]
        metrics |= {"trials": float(counts["all"])}
        metrics |= {f"trials/{name}": float(counts[name]) for name in ("pruned", "failed", "cached") if counts[name]}
        tuned.keep(caller, run, job.setup, trials, report)
        cost = Cost(wall_seconds=sum(trial.seconds for trial in trials))
        _end(caller, run.id, {"outputs": outputs, "metrics": metrics, "cost": cost})
    return Found(run=run.id, study=job.study, best=best, trials=tuple(trials), report=report, stored=stored)


def _end(caller: Caller, run: str, facts: dict[str, Any]) -> None:
    try:
        caller.call(ops.finish_run, {"run": run, **facts})
    except Conflict:  # somebody who is at the same study was quicker, and says the same
        pass


def _stored(caller: Caller, job: Job, best: Trial) -> dict[str, Stored]:
    """What the step made in the best trial."""
    memory: StepMemory | None = caller.call(ops.remembered_step, {"step_key": job.key(best.params)})
    media = {} if memory is None else memory.media
    return {
        name: Stored(digest=Digest(best.outputs[name]), media=media.get(name, JSON))
        for name in job.step["outputs"]
        if name in best.outputs
    }


class _Runner:
    """Runs one trial: looks its key up, else executes the step, and judges what came."""

    def __init__(self, caller: Caller, job: Job, executor: Runs, line: Line, decode: Any) -> None:
        self._caller, self._job, self._executor, self._line, self._decode = caller, job, executor, line, decode
        self._turn = threading.Lock()
        self._table: Any = None
        self._call = (CALL, "") if job.alone else shim(line.folder, job.step["function"], job.file)

    def __call__(self, trial: Trial, report: Report) -> Ending:
        key = self._job.key(trial.params)
        began = monotonic()
        known: StepMemory | None = self._caller.call(ops.remembered_step, {"step_key": key})
        if known is not None:
            stored = {name: Stored(digest=d, media=known.media[name]) for name, d in known.outputs.items()}
            read = {name: self._caller.blobs.get(one.digest) for name, one in stored.items() if self._needed(one)}
            encoded = {name: Encoded(media=stored[name].media, data=data) for name, data in read.items()}
            ending = Ending(state="done", known=stored, cached=True, key=key)
            return replace(self._judged(ending, encoded), seconds=monotonic() - began)
        name = f"{trial.number}/{trial.epoch}"
        self._line.listen(name, report)
        try:
            outcome = self._executor.run(self._attempt(trial, name))
            for _ in range(AGAIN):
                if not isinstance(outcome, Failure) or not outcome.lost:
                    break
                outcome = self._executor.run(self._attempt(trial, name))
        finally:
            self._line.forget(name)
        if isinstance(outcome, Failure):
            state: Any = "pruned" if outcome.cause == PRUNED else "failed"
            said = "" if state == "pruned" else outcome.message
            text = "\n".join(part for part in (outcome.log, outcome.traceback if said else "") if part)
            return Ending(state=state, key=key, log=text, error=said, seconds=outcome.seconds)
        ending = Ending(state="done", outputs=dict(outcome.outputs), key=key, log=outcome.log)
        judged = self._judged(ending, outcome.outputs)
        return replace(judged, seconds=monotonic() - began if self._job.select else outcome.seconds)

    def _needed(self, stored: Stored) -> bool:
        return stored.media == JSON or self._job.select is not None

    def _judged(self, ending: Ending, outputs: Mapping[str, Encoded]) -> Ending:
        """The values of what a step returned; a trial whose value cannot be had has failed."""
        try:
            found = rules.values(self._job.setup.objectives, self._plain(outputs))
        except StellwerkError as problem:
            return replace(ending, state="failed", outputs={}, known={}, cached=False, error=problem.message)
        return replace(ending, values=found)

    def _plain(self, outputs: Mapping[str, Encoded]) -> dict[str, Any]:
        plain = {name: canonical.loads(one.data) for name, one in outputs.items() if one.media == JSON}
        if self._job.select is None:
            return plain
        from stellwerk.workspace.evaluating import evaluate

        models = [one for one in outputs.values() if one.media not in (JSON,)]
        if len(models) != 1:
            raise Invalid(
                f"the step returned {len(models)} values that could be models (expected one, to be measured on `select`)",
                code="no-objective",
            )
        with self._turn:
            if self._table is None:
                select = self._job.select
                data = self._caller.blobs.get(select.digest)
                self._table = self._decode(Encoded(media=select.media, data=data))
        measured = evaluate(model=self._decode(models[0]), table=self._table)
        (loss,) = measured["baseline"]
        metrics = {**measured["metrics"], LOSS: measured["metrics"][loss]}
        return {**plain, "select": {"metrics": metrics}}

    def _attempt(self, trial: Trial, name: str) -> Attempt:
        job = self._job
        timeout, memory = job.step["timeout"], job.step["memory"]
        return Attempt(
            id=f"{trial.run}/{secrets.token_hex(4)}",
            task=f"{job.step['name']}#{trial.number}",
            node=f"{job.step['name']} #{trial.number}",
            function=self._call[0],
            file=self._call[1],
            inputs={
                label: tuple(Encoded(media=one.media, data=self._caller.blobs.get(one.digest)) for one in many)
                for label, many in job.inputs.items()
            },
            listed=job.listed,
            params={
                "trial": {
                    "function": job.step["function"], "file": job.file, "code": job.code, "line": self._line.address,
                    "number": name, "params": {**job.given, **trial.params},
                }
            },
            outputs=tuple(job.step["outputs"]),
            timeout=parse_duration(timeout).total_seconds() if timeout else None,
            memory=parse_size(memory) if memory else None,
        )  # fmt: skip


def code_of(caller: Caller, function: str, file: str) -> tuple[Digest, Digest]:
    """The digest of a step's code, and the blob that says what it stands for."""
    if shipped(function):
        said = canonical.dumps({"shipped": function})
        return digest_of(function, file), caller.blobs.put(said)
    found = closure(resolve(function, file))
    return found.digest, caller.blobs.put(canonical.dumps([list(part) for part in found.parts]))
