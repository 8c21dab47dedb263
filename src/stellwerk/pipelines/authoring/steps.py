"""`@step` and `@pipeline`: functions that become nodes, and functions that connect them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from stellwerk.core import names
from stellwerk.core.arguments import bind, bound
from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.authoring.building import Builder, building, current
from stellwerk.pipelines.model import SINGLE, Backoff, Environment, Node, Plan, Ref, Resources
from stellwerk.pipelines.parameters import check_importable, check_signature, constants
from stellwerk.pipelines.parameters import split as sorted_arguments

P = ParamSpec("P")
R = TypeVar("R")
MAX_SEEDS = 1000
MAX_RETRIES = 100
MAX_PRIORITY = 1000
_NO_RESOURCES = Resources()
_BACKOFF = Backoff()


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
    cache: bool = True
    priority: int = 0
    backoff: Backoff = _BACKOFF
    environment: Environment | None = None


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
        builder = current()
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
            cache=self.options.cache,
            priority=self.options.priority,
            backoff=self.options.backoff,
            environment=self.options.environment,
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
        builder = current()
        if builder is None:
            return self.plan(*args, **kwargs)
        given = bind(self.name, self.signature, args, kwargs)
        with builder.calling(self.name):
            return self.function(**given)

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """What would be executed with these parameters. Nothing runs."""
        params = constants(self.name, self.signature, bind(self.name, self.signature, args, kwargs))
        builder = Builder()
        with building(builder):
            returned = self.function(**params)
        results = _results(returned)
        for name, ref in results.items():
            builder.check(ref, f"result {name!r}")
        if not builder.nodes:
            raise Invalid(
                f"the pipeline {self.name!r} has no step (expected at least one)",
                code="empty-pipeline",
                hint="call a function with @sw.step in it",
            )
        nodes, groups = tuple(builder.nodes.values()), tuple(builder.groups.values())
        return Plan(name=self.name, params=params, nodes=nodes, results=results, groups=groups)

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
    cache: bool = True,
    priority: int = 0,
    backoff: Backoff = ...,
    environment: Environment | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a step.

    Args:
        kind: What it is for: `data`, `validate`, `features`, `tune`, `train`, `evaluate`, ...; part of its key.
        seeds: Run it once for each of the seeds 0, 1, ...; the output is the list. Each time the seed is passed as
            the argument `seed` if there is one, and the global generators of `random` and numpy start from it.
        retries: How often it is tried again after failing.
        timeout: Wall-clock limit of one attempt, such as `10m`; the step then runs in a process of its own.
        resources: What it needs; with `memory` the step runs in a process of its own.
        outputs: Names of several outputs, which the function returns as a dict.
        cache: Whether a later execution may use the result; False for what must happen each time.
        priority: Where several steps could start, the higher one does; from -1000 to 1000.
        backoff: How long to wait before each retry.
        environment: Where the step runs in another environment than the pipeline.
    """
    checked = _options(options)
    if function is not None:
        _check_function("step", function)
        return Step(function, checked)
    return lambda inner: Step(inner, checked)


def _check_function(what: str, function: object) -> None:
    """Refuse `@sw.step("train")`: what is meant has a name."""
    if not callable(function):
        raise Invalid(f"{what} is given {function!r} (expected a function, or options by name)", code="wrong-type")


def _options(options: Mapping[str, Any]) -> Options:
    known = inspect.signature(Options)
    given = bind("step", known, (), options)
    names.name(given.get("kind", "step"), what="kind of step")
    whole("seeds", given.get("seeds", 0), MAX_SEEDS)
    whole("retries", given.get("retries", 0), MAX_RETRIES)
    timeout = given.get("timeout", "")
    if not isinstance(timeout, str) or (timeout and not parse_duration(timeout, what="timeout")):
        raise Invalid(f"timeout is {timeout!r} (expected a duration such as '10m')", code="invalid-duration")
    if not isinstance(given.get("resources", _NO_RESOURCES), Resources):
        raise Invalid("resources must be given as Resources(cpus=..., memory=...)", code="wrong-type")
    outputs = given.get("outputs", (SINGLE,))
    if (
        not isinstance(outputs, (list, tuple))
        or not outputs
        or not all(isinstance(o, str) and o.isidentifier() for o in outputs)
    ):
        raise Invalid(f"outputs are {outputs!r} (expected names such as ('train', 'gate'))", code="invalid-outputs")
    if len(set(outputs)) != len(outputs):
        raise Invalid(f"outputs repeat a name: {outputs!r}", code="invalid-outputs")
    _options_of_execution(given)
    return Options(**{**given, "outputs": tuple(outputs)})


def _options_of_execution(given: Mapping[str, Any]) -> None:
    if not isinstance(given.get("cache", True), bool):
        raise Invalid(f"cache is {given['cache']!r} (expected True or False)", code="wrong-type")
    priority = given.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise Invalid(f"priority is {priority!r} (expected a whole number from -1000 to 1000)", code="wrong-type")
    if not isinstance(given.get("backoff", _BACKOFF), Backoff):
        raise Invalid(
            "backoff must be given as Backoff(first=..., factor=..., most=..., jitter=...)", code="wrong-type"
        )
    if not isinstance(given.get("environment"), Environment | None):
        raise Invalid("environment must be given as Environment(lock=..., python=..., ...)", code="wrong-type")


def whole(what: str, value: object, limit: int) -> None:
    """Refuse what is no whole number from 0 to a limit."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise Invalid(f"{what} is {value!r} (expected a whole number from 0 to {limit})", code="wrong-type")


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...


@overload
def pipeline(*, name: str) -> Callable[[Callable[..., Any]], Pipeline]: ...


@bound
def pipeline(function: Callable[..., Any] | None = None, /, *, name: str = "") -> Any:
    """Make a function a pipeline; its name is the function's, unless given."""
    if function is not None:
        _check_function("pipeline", function)
        return Pipeline(function, names.name(function.__name__, what="pipeline name"))
    return lambda inner: Pipeline(inner, names.name(name or inner.__name__, what="pipeline name"))


def step_options(named: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide options into those of a step, checked, and the rest; those that say nothing are left out."""
    known = set(inspect.signature(Options).parameters) - {"seeds", "outputs"}
    mine = {**named, **{name: value for name, value in others.items() if name in known}}
    checked = _options(mine)
    rest = {name: value for name, value in others.items() if name not in known}
    return {name: getattr(checked, name) for name in mine}, rest
