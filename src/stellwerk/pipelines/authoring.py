"""How people write pipelines: `@step`, `@pipeline` and the steps that come with Stellwerk. Standard library only.

Inside a pipeline, calling a step notes a node and gives a `Ref`; everywhere else it calls the function. Calling a
pipeline gives a `Plan`. Arguments are checked in `parameters`, plans are executed by `service`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from stellwerk.core import names
from stellwerk.core.clock import format_instant, parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import BUILTIN, SINGLE, Node, Plan, Ref, Resources
from stellwerk.pipelines.parameters import Outputs, bind, check_importable, check_signature, constants
from stellwerk.pipelines.parameters import split as sorted_arguments

P = ParamSpec("P")
R = TypeVar("R")
MAX_SEEDS = 1000
MAX_RETRIES = 100
_NO_RESOURCES = Resources()


class _Builder:
    """The nodes of the pipeline that is being planned."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def add(self, draft: Node) -> Any:
        """Give the node an id of its own; return what stands for its outputs."""
        number, name = 1, draft.step
        while name in self.nodes:
            number += 1
            name = f"{draft.step}-{number}"
        for argument, ref in draft.inputs.items():
            self.check(ref, f"argument {argument!r} of step {draft.step!r}")
        self.nodes[name] = replace(draft, id=name)
        refs = {output: Ref(node=name, output=output) for output in draft.outputs}
        return refs[SINGLE] if draft.outputs == (SINGLE,) else Outputs(name, refs)

    def check(self, ref: Ref, where: str) -> None:
        if ref.node not in self.nodes:
            raise Invalid(
                f"{where} is the output of {ref.node!r}, which is not in this pipeline",
                code="foreign-reference",
                hint="call the step inside this pipeline",
            )


_BUILDER: ContextVar[_Builder | None] = ContextVar("stellwerk_pipeline", default=None)


@contextmanager
def _building(builder: _Builder) -> Iterator[None]:
    token = _BUILDER.set(builder)
    try:
        yield
    finally:
        _BUILDER.reset(token)


def reference(function: Callable[..., Any]) -> tuple[str, str]:
    """Where a function can be found again: `module:qualname`, and its module's file (empty if it has none).

    A script that runs as `__main__` is called what it would be called if it were imported.
    """
    space: Mapping[str, Any] = getattr(function, "__globals__", {})
    file = space.get("__file__") or ""
    return f"{label(space)}:{function.__qualname__}", str(Path(file).absolute()) if file else ""


def label(space: Mapping[str, Any]) -> str:
    """The name of the module with these globals, the same whichever way it was loaded."""
    name = str(space.get("__stellwerk_label__") or space.get("__name__") or "?")
    if name != "__main__":
        return name
    spec, file = space.get("__spec__"), space.get("__file__")
    return str(spec.name) if spec is not None else Path(file).stem if file else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `@step` says about a function."""

    kind: str = "step"
    seeds: int = 0
    retries: int = 0
    timeout: str = ""
    resources: Resources = _NO_RESOURCES
    outputs: tuple[str, ...] = (SINGLE,)


class Step(Generic[P, R]):
    """A function that can be a node of a pipeline. Outside pipelines it is just the function."""

    def __init__(self, function: Callable[P, R], options: Options) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self.signature = inspect.signature(function)
        self.name = function.__name__
        check_importable(function)
        check_signature(function, self.signature)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        builder = _BUILDER.get()
        if builder is None:
            return self.function(*args, **kwargs)
        return builder.add(self._node(args, kwargs))  # type: ignore[no-any-return]  # a Ref stands for the R

    def _node(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Node:
        given = bind(self.name, self.signature, args, kwargs, without="seed" if self.options.seeds else "")
        params, inputs = sorted_arguments(self.name, self.signature, given)
        function, file = reference(self.function)
        return Node(
            id="",
            step=self.name,
            kind=self.options.kind,
            function=function,
            file=file,
            params=params,
            inputs=inputs,
            seeds=self.options.seeds,
            retries=self.options.retries,
            timeout=self.options.timeout,
            resources=self.options.resources,
            outputs=self.options.outputs,
        )

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class Pipeline:
    """A function that connects steps. Calling it plans; inside another pipeline it adds its nodes there."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.signature = inspect.signature(function)
        check_signature(function, self.signature)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.plan(*args, **kwargs) if _BUILDER.get() is None else self.function(*args, **kwargs)

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """What would be executed with these parameters. Nothing runs."""
        params = constants(self.name, self.signature, bind(self.name, self.signature, args, kwargs))
        builder = _Builder()
        with _building(builder):
            returned = self.function(**params)
        results = _results(returned)
        for name, ref in results.items():
            builder.check(ref, f"result {name!r}")
        return Plan(name=self.name, params=params, nodes=tuple(builder.nodes.values()), results=results)

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


def _results(returned: Any) -> dict[str, Ref]:
    if returned is None:
        return {}
    named: Mapping[Any, Any]
    if isinstance(returned, Ref):
        named = {"result": returned}
    elif isinstance(returned, Mapping):
        named = returned
    elif isinstance(returned, (list, tuple)):
        named = {f"result-{number}": item for number, item in enumerate(returned, 1)}
    else:
        named = {"": returned}
    for name, ref in named.items():
        if not isinstance(ref, Ref) or not isinstance(name, str):
            raise Invalid(
                f"the pipeline returns a {type(ref).__name__} (expected outputs of steps, a list or dict of them)",
                code="wrong-result",
            )
    return dict(named)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    kind: str = "step",
    seeds: int = 0,
    retries: int = 0,
    timeout: str = "",
    resources: Resources = ...,
    outputs: tuple[str, ...] = ...,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a step.

    Args:
        kind: What it is for: `data`, `validate`, `features`, `tune`, `train`, `evaluate`, ...; policies ask for it.
        seeds: Run it once for each of the seeds 0, 1, ...; the output is the list. Each time the seed is passed as
            the argument `seed` if there is one, and the global generators of `random` and numpy start from it.
        retries: How often it is tried again after failing.
        timeout: Wall-clock limit of one attempt, such as `10m`; the step then runs in a process of its own.
        resources: What it needs; with `memory` the step runs in a process of its own.
        outputs: Names of several outputs, which the function returns as a dict.
    """
    checked = _options(options)
    if function is not None:
        return Step(function, checked)
    return lambda inner: Step(inner, checked)


def _options(options: Mapping[str, Any]) -> Options:
    known = inspect.signature(Options)
    given = bind("step", known, (), options)
    names.name(given.get("kind", "step"), what="kind of step")
    _whole("seeds", given.get("seeds", 0), MAX_SEEDS)
    _whole("retries", given.get("retries", 0), MAX_RETRIES)
    timeout = given.get("timeout", "")
    if not isinstance(timeout, str) or (timeout and not parse_duration(timeout)):
        raise Invalid(f"timeout is {timeout!r} (expected a duration such as '10m')", code="invalid-duration")
    if not isinstance(given.get("resources", _NO_RESOURCES), Resources):
        raise Invalid("resources must be given as Resources(cpus=..., memory=...)", code="wrong-type")
    outputs = given.get("outputs", (SINGLE,))
    if isinstance(outputs, str) or not outputs or not all(isinstance(o, str) and o.isidentifier() for o in outputs):
        raise Invalid(f"outputs are {outputs!r} (expected names such as ('train', 'gate'))", code="invalid-outputs")
    if len(set(outputs)) != len(outputs):
        raise Invalid(f"outputs repeat a name: {outputs!r}", code="invalid-outputs")
    return Options(**{**given, "outputs": tuple(outputs)})


def _whole(what: str, value: object, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise Invalid(f"{what} is {value!r} (expected a whole number from 0 to {limit})", code="wrong-type")


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...


@overload
def pipeline(*, name: str) -> Callable[[Callable[..., Any]], Pipeline]: ...


def pipeline(function: Callable[..., Any] | None = None, /, *, name: str = "") -> Any:
    """Make a function a pipeline; its name is the function's, unless given."""
    if function is not None:
        return Pipeline(function, names.name(function.__name__, what="pipeline name"))
    return lambda inner: Pipeline(inner, names.name(name or inner.__name__, what="pipeline name"))


def dataset(name: str, *, version: int | None = None, as_of: datetime | None = None) -> Any:
    """A version of a registered dataset: this one, or the newest at a time, or the newest at the time of execution."""
    names.name(name, what="dataset name")
    if version is not None:
        _whole("version", version, 2**53 - 1)
    if version is not None and as_of is not None:
        raise Invalid("give a version or a time, not both", code="version-and-time")
    at = {} if as_of is None else {"as_of": format_instant(as_of)}
    return _builtin("dataset", f"dataset:{name}", "input", {"name": name, "version": version, **at}, {})


def contract(name: str, **options: Any) -> Callable[[Any], Any]:
    """A step that checks a table against the data contract of this name and passes on what fulfils it."""
    names.name(name, what="contract name")
    params = {"name": name, **options}
    return lambda table: _builtin("contract", f"contract:{name}", "validate", params, {"table": table})


def evaluate(model: Any, table: Any, *, baseline: Any = None) -> Any:
    """A step that measures a model (one, or one per seed) on a selection table and chooses the best.

    Args:
        baseline: A simpler model, chosen where the others are not better.
    """
    inputs = {"model": model, "table": table} | ({} if baseline is None else {"baseline": baseline})
    return _builtin("evaluate", "evaluate", "evaluate", {}, inputs)


def split(table: Any, *, target: str, time: str = "", entity: Sequence[str] = (), exclude: Sequence[str] = ()) -> Any:
    """A step that cuts a table into `train`, `select` and `gate` without leaks, and reports what it looked for.

    With `time` the gate lies strictly after training; otherwise rows go by a hash of the entity, or of the whole row,
    and never move when others come.

    Args:
        entity: Columns that name what a row is about; one entity is never on both sides.
        exclude: Columns that are no inputs of a model and so cannot leak.
    """
    params = {"target": target, "time": time, "entity": list(entity), "exclude": list(exclude)}
    return _builtin("split", "split", "split", params, {"table": table}, ("train", "select", "gate", "report"))


def gate(table: Any, *, name: str, target: str, task: str = "") -> Any:
    """A step that seals a table as the gate set of this name: the labels in `target` open only to a proof.

    Args:
        task: binary, multiclass or regression; found from the labels by default.
    """
    names.name(name, what="gate set name")
    params = {"name": name, "target": target} | ({"task": task} if task else {})
    return _builtin("gate", f"gate:{name}", "gate", params, {"table": table})


def _builtin(
    name: str,
    step: str,
    kind: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, Any],
    outputs: tuple[str, ...] = (SINGLE,),
) -> Any:
    builder = _BUILDER.get()
    if builder is None:
        raise Invalid(
            f"{step} is a step that comes with Stellwerk and only works inside a pipeline", code="outside-pipeline"
        )
    for argument, value in inputs.items():
        if not isinstance(value, Ref):
            raise Invalid(
                f"argument {argument!r} of {step} is a {type(value).__name__} (expected the output of a step)",
                code="wrong-type",
            )
    plain = constants(step, None, params)
    return builder.add(
        Node(id="", step=step, kind=kind, function=BUILTIN + name, params=plain, inputs=dict(inputs), outputs=outputs)
    )
