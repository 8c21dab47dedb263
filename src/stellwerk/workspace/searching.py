"""How tuning is asked for: by a call with a workspace, or by a node of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core import canonical
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Bug, Invalid, StellwerkError
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.authoring import reference
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.model import Attempt, Encoded, Failure, Outcome, Ref, Stored
from stellwerk.pipelines.parameters import constants
from stellwerk.pipelines.tuning.authoring import SELECT, Question
from stellwerk.pipelines.tuning.model import Budget, Setup, Trial
from stellwerk.pipelines.tuning.together import Together
from stellwerk.workspace import codecs, tuning
from stellwerk.workspace.here import CODECS
from stellwerk.workspace.tuning import Found, Job, Runs

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.workspace.ports import Caller


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search came to.

    Args:
        run: The run whose parts are the trials.
        params: The best parameters.
        values: The objectives' values with them.
        report: What is said of the search, as JSON.
    """

    run: str
    params: dict[str, Any]
    values: tuple[float, ...]
    report: dict[str, Any]
    trials: tuple[Trial, ...]
    outputs: Mapping[str, Encoded]

    @property
    def value(self) -> float:
        """The value of the first objective."""
        return self.values[0]

    def output(self, name: str = "value", *, folder: Path | None = None) -> Any:
        """What the step gave with the best parameters.

        Args:
            folder: Where a value that is a file is written.
        """
        if name not in self.outputs:
            raise Invalid(
                f"the tuned step has no output {name!r} (it has {', '.join(self.outputs)})", code="unknown-output"
            )
        return CODECS.decode(self.outputs[name], folder=folder)


def ask(caller: Caller, order: Question, *, watch: Callable[[Trial], None] | None = None) -> Tuned:
    """Tune outside of any pipeline. Values that the step is given are kept in the store."""
    plain, inputs = _sorted(caller, order)
    function, file = reference(order.step.function)
    said = order.params()
    code, kept = tuning.code_of(caller, function, file)
    select = None if order.select is None else _kept(caller, order.select, SELECT)
    job = Job(
        step=said["step"],
        file=file,
        setup=order.setup,
        budget=order.budget,
        workers=order.workers,
        given=plain,
        inputs={name: (stored,) for name, stored in inputs.items()},
        listed=frozenset(),
        select=select,
        code=code,
        kept_code=kept,
        environment=caller.blobs.put(current().document),
        experiment=order.step.name,
    )
    with executor_for(job) as executor:
        found = tuning.tune(caller, job, executor, watch=watch, decode=CODECS.decode)
    outputs = {
        name: Encoded(media=one.media, data=caller.blobs.get(one.digest)) for name, one in found.stored.items()
    }
    return Tuned(
        run=found.run,
        params=found.best.params,
        values=found.best.values,
        report=found.report,
        trials=found.trials,
        outputs=outputs,
    )


def _sorted(caller: Caller, order: Question) -> tuple[dict[str, Any], dict[str, Stored]]:
    """What the step is given: plain data as parameters, everything else as inputs, as in a pipeline."""
    plain: dict[str, Any] = {}
    inputs: dict[str, Stored] = {}
    for name, value in order.given.items():
        if isinstance(value, Ref):
            raise Invalid(f"{name!r} is the output of a step, which only a pipeline knows", code="wrong-type")
        if value is order.step.signature.parameters[name].default or _is_plain(value):
            plain[name] = value
        else:
            inputs[name] = _kept(caller, value, name)
    return constants(order.step.name, order.step.signature, plain), inputs


def _is_plain(value: Any) -> bool:
    try:
        canonical.dumps(value)
    except (Invalid, TypeError):
        return False
    return True


def _kept(caller: Caller, value: Any, name: str) -> Stored:
    try:
        encoded = CODECS.encode(value)
    except StellwerkError as cause:
        raise Invalid(f"argument {name!r}: {cause.message}", code="unsupported-value", hint=cause.hint) from cause
    return Stored(digest=caller.blobs.put(encoded.data), media=encoded.media)


class Nodes:
    """Executes the nodes of a plan that tune.

    Args:
        parent: The run of the plan, of which the studies become parts.
    """

    def __init__(self, caller: Caller, *, experiment: str, parent: str, environment: Digest) -> None:
        self._caller, self._experiment, self._parent, self._environment = caller, experiment, parent, environment

    def run(self, attempt: Attempt, watch: Callable[[Trial], None] | None = None) -> Outcome | Failure:
        """Tune, and give what a node gives."""
        began = monotonic()
        said: list[str] = []

        def tell(trial: Trial) -> None:
            said.append(_line(trial))
            if watch is not None:
                watch(trial)

        try:
            found = self._found(attempt, tell)
        except StellwerkError as problem:
            return Failure(
                code="step-failed",
                message=f"step {attempt.node!r} failed: {problem.message}",
                hint=problem.hint,
                cause=problem.code,
                log="".join(said),
                seconds=monotonic() - began,
            )
        outputs = {
            name: Encoded(media=one.media, data=self._caller.blobs.get(one.digest))
            for name, one in found.stored.items()
        }
        outputs["best"] = Encoded(media=tuning.JSON, data=canonical.dumps(found.best.params))
        outputs["report"] = Encoded(media=tuning.JSON, data=canonical.dumps(found.report))
        ordered = {name: outputs[name] for name in attempt.outputs}
        return Outcome(outputs=ordered, log="".join(said), seconds=monotonic() - began)

    def _found(self, attempt: Attempt, tell: Callable[[Trial], None]) -> Found:
        params = attempt.params
        step = params["step"]
        stored = {
            name: tuple(Stored(digest=self._digest(one), media=one.media) for one in many)
            for name, many in attempt.inputs.items()
        }
        selected = stored.pop(SELECT)[0] if params["selects"] else None
        code, kept = tuning.code_of(self._caller, step["function"], attempt.file)
        job = Job(
            step=step,
            file=attempt.file,
            setup=Setup.read(params["setup"]),
            budget=Budget(**params["budget"]),
            workers=params["workers"],
            given=params["given"],
            inputs=stored,
            listed=attempt.listed,
            select=selected,
            code=code,
            kept_code=kept,
            environment=self._environment,
            experiment=self._experiment,
            parent=self._parent,
        )
        with executor_for(job) as executor:
            return tuning.tune(self._caller, job, executor, watch=tell, decode=CODECS.decode)

    def _digest(self, encoded: Encoded) -> Digest:
        # What the step before gave may not be in the store yet: results are kept in batches.
        return self._caller.blobs.put(encoded.data)


class _Alone:
    """This process, which runs one attempt at a time."""

    def __init__(self) -> None:
        self._executor = InProcess(codecs=CODECS)

    def run(self, attempt: Attempt) -> Outcome | Failure:
        self._executor.start(attempt)
        ended = self._executor.wait(None)
        if ended is None:
            raise Bug(f"attempt {attempt.node!r} was started and did not end", code="no-outcome")
        return ended.outcome


@contextmanager
def executor_for(job: Job) -> Iterator[Runs]:
    """This process for one trial at a time without limits; else processes, as many as there are workers."""
    if job.alone:
        yield _Alone()
        return
    together = Together(lambda: Pool(workers=job.workers, codecs=(codecs.REFERENCE,)))
    try:
        yield together
    finally:
        together.close()


def _line(trial: Trial) -> str:
    came = ", ".join(f"{value:.6g}" for value in trial.values) if trial.state == "done" else trial.state
    chosen = ", ".join(f"{name}={value}" for name, value in trial.params.items())
    return f"#{trial.number} {chosen}: {came}{' (known)' if trial.cached else ''}\n"
