"""What would be executed: plans, their nodes and the groups these stand in, and what a node needs.

How a plan is written is in `authoring`, how it is executed in `rules` and `service`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Literal

from stellwerk.core import canonical
from stellwerk.core.arguments import named
from stellwerk.core.clock import parse_duration
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid

SINGLE = "value"
"""The name of the only output of a step that declares none."""

BUILTIN = "builtin:"
"""Function references with this prefix name steps that come with Stellwerk."""

DATASET = BUILTIN + "dataset"
FILE = BUILTIN + "file"
RESOLVED = frozenset({DATASET, FILE})
"""The function references of input nodes: they are resolved, never executed."""

WAIT = BUILTIN + "wait"
"""The function reference of nodes that wait for a person, an event or a time; they hold no machine."""

TUNE = BUILTIN + "tune"
"""The built-in step that searches the best parameters of another one."""

EITHER = BUILTIN + "either"
"""The function reference of nodes that pass on the first of their inputs that was computed."""

ITEM = "item"
"""The output of a loop that stands for its present item."""

Status = Literal[
    "pending",
    "ready",
    "queued",
    "delayed",
    "running",
    "waiting",
    "cached",
    "done",
    "failed",
    "skipped",
    "omitted",
    "cancelled",
]
"""How a task stands: `skipped` because of one that failed, `omitted` because its condition was not met."""

Test = Literal["true", "equals", "above", "below", "at_least", "at_most", "among"]
"""How a branch compares: the value itself, or with the value that the branch names."""

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Read `512MB`, `2GB` or `1.5GiB` as bytes; GB are 10^9, GiB are 2^30."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s?([A-Za-z]{1,3})", text)
    if not match or match[2].upper() not in _UNITS:
        raise Invalid(
            f"not a size: {text[:40]!r} (expected a number and B, KB, MB, GB, TB, KiB, MiB or GiB)",
            code="invalid-size",
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


@named
@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a step needs while it runs, or what a machine has.

    Args:
        cpus: Processors, reserved while the step runs.
        memory: Such as `2GB`: reserved, and the limit of the step's process.
        gpus: Accelerators, reserved.
        custom: Anything else that is scarce, by name: `{"licence": 1}`.
    """

    cpus: float = 1
    memory: str = ""
    gpus: float = 0
    custom: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _number(self.cpus) or self.cpus <= 0:
            raise Invalid(f"cpus is {self.cpus!r} (expected a number above 0)", code="invalid-resources")
        _check_text("memory", self.memory, "such as '2GB'", "invalid-resources")
        if self.memory and parse_size(self.memory) < 1:
            raise Invalid(f"memory is {self.memory!r} (expected more than nothing)", code="invalid-resources")
        if not _is_dict(self.custom):
            raise Invalid(
                f"custom is {self.custom!r} (expected amounts by name, such as {{'licence': 1}})",
                code="invalid-resources",
            )
        for name, amount in {"gpus": self.gpus, **self.custom}.items():
            if not _number(amount) or amount < 0:
                raise Invalid(f"{name} is {amount!r} (expected a number from 0 on)", code="invalid-resources")

    def amounts(self) -> dict[str, float]:
        """Everything that is asked for, by name, memory in bytes; what is not asked for is left out."""
        memory = {"memory": float(parse_size(self.memory))} if self.memory else {}
        asked = {"cpus": float(self.cpus), **memory, "gpus": float(self.gpus), **self.custom}
        return {name: amount for name, amount in asked.items() if amount}


@named
@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a failed step is tried again.

    Args:
        first: Before the first retry, such as `1s`.
        factor: By how much the wait grows each time.
        most: The longest wait.
        jitter: The share of the wait that is left to chance, from 0 to 1, so that many do not come back at once.
    """

    first: str = "1s"
    factor: float = 2.0
    most: str = "60s"
    jitter: float = 0.1

    def __post_init__(self) -> None:
        parse_duration(self.first, what="first"), parse_duration(self.most, what="most")
        if not _number(self.factor) or self.factor < 1:
            raise Invalid(f"factor is {self.factor!r} (expected a number from 1 on)", code="invalid-backoff")
        if not _number(self.jitter) or not 0 <= self.jitter <= 1:
            raise Invalid(f"jitter is {self.jitter!r} (expected a number from 0 to 1)", code="invalid-backoff")

    def seconds(self, attempt: int, chance: float) -> float:
        """The wait after the failed attempt of this number, counted from 1; `chance` lies in [0, 1)."""
        first, most = parse_duration(self.first).total_seconds(), parse_duration(self.most).total_seconds()
        grown = min(most, first * self.factor ** min(attempt - 1, 64))
        return grown * (1 - self.jitter * chance)


@named
@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment that a step runs in, where it is not the pipeline's own.

    Args:
        extra: An extra of the project's own package, such as `gpu`.
        lock: The path of a lock file with pinned packages, relative to the project.
        python: A version such as `3.12`; the engine's own by default.
        image: A container image by name and digest, for executors that run containers.
    """

    extra: str = ""
    lock: str = ""
    python: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_text(one.name, getattr(self, one.name), "", "wrong-type")
        if not any((self.extra, self.lock, self.python, self.image)):
            raise Invalid(
                "an environment names nothing (expected extra, lock, python or image)", code="wrong-arguments"
            )


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_text(what: str, value: object, example: str, code: str) -> None:
    if not isinstance(value, str):
        raise Invalid(f"{what} is {value!r} (expected text{example and ' ' + example})", code=code)


def _is_dict(value: object) -> bool:
    """Whether it has texts as keys."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An output of a node, or the item of a loop, standing for a value that nobody has computed yet."""

    node: str
    output: str = SINGLE

    def __bool__(self) -> bool:
        raise self._unknown("cannot be tested")

    def __iter__(self) -> Any:
        raise self._unknown("cannot be iterated or unpacked")

    def __getitem__(self, key: object) -> Any:
        raise self._unknown("cannot be indexed")

    def __len__(self) -> int:
        raise self._unknown("cannot be counted")

    def _compared(self, other: object) -> Any:
        raise self._unknown("cannot be compared")

    def _computed(self, *others: object) -> Any:
        raise self._unknown("cannot be computed with")

    __lt__ = __le__ = __gt__ = __ge__ = _compared
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _computed
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _computed
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _computed
    __neg__ = __pos__ = __abs__ = __invert__ = __round__ = __int__ = __float__ = _computed

    def _unknown(self, what: str) -> Invalid:
        return Invalid(
            f"the output of step {self.node!r} {what}: it is not known while the pipeline is planned",
            code="unknown-value",
            hint="do this inside a step, or with `sw.when` and `sw.each`; outputs are declared by @step(outputs=(...))",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One use of a step in a plan.

    Args:
        id: Unique in the plan and readable: `train`, `train-2`.
        step: Name of the step.
        kind: What the step is for: `data`, `train`, `evaluate`, ...
        function: `module:qualname`, or `builtin:<name>`.
        file: Where the function's module was loaded from; empty if it has no file. Not part of the plan's digest.
        params: JSON values by argument.
        inputs: References by argument; the items of a list argument are `tables[0]`, `tables[1]`, ...
        seeds: 0, or how often the step runs, once for each of the seeds 0, 1, ...; its output is then a list.
        retries: How often it is tried again after failing.
        timeout: Wall-clock limit of one attempt as text such as `10m`; empty for none.
        within: The id of the innermost group that the node stands in; empty for none.
        cache: Whether another execution may use its result.
        priority: Where several tasks could start, the higher one does.
        environment: Where it is not the pipeline's.
        after: Nodes that must have ended well before, though nothing of theirs is used.
        aside: Files that the step finds though they do not count in its key, by argument: the digest that each had
            when what counts of it became parameters.
        calls: The calls of pipelines inside the pipeline that it comes from, the outermost first: `prepare-2`. They
            change nothing of what is executed.
    """

    id: str
    step: str
    kind: str
    function: str
    file: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Ref] = field(default_factory=dict)
    seeds: int = 0
    retries: int = 0
    timeout: str = ""
    resources: Resources = field(default_factory=Resources)
    outputs: tuple[str, ...] = (SINGLE,)
    within: str = ""
    cache: bool = True
    priority: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    environment: Environment | None = None
    after: tuple[str, ...] = ()
    aside: dict[str, str] = field(default_factory=dict)
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Nodes that run only if a value fulfils a condition; the others are omitted.

    Args:
        within: The id of the group around it; empty for none.
        value: What is compared with, in JSON.
        negated: Whether it is taken where the condition does not hold.
        calls: As those of a node.
    """

    id: str
    within: str = ""
    subject: Ref
    test: Test = "true"
    value: Any = None
    negated: bool = False
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Nodes that run once for each item of a list, which may be known only while the plan is executed.

    Args:
        within: The id of the group around it; empty for none.
        items: The list: the output of a step, or of the same step in an earlier loop.
        values: The items themselves, in JSON, where they are known; then `items` is None.
        at_once: How many of its tasks may run at the same time; 0 for no limit.
        calls: As those of a node.
    """

    id: str
    within: str = ""
    items: Ref | None = None
    values: tuple[Any, ...] = ()
    at_once: int = 0
    calls: tuple[str, ...] = ()


Group = Branch | Loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline called with parameters: what would be executed, as a pure value."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    results: dict[str, Ref] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()

    @property
    def digest(self) -> Digest:
        """The digest of the plan's document: the same on every machine, and without any code."""
        return canonical.digest(document(self))


_SINCE = ("within", "cache", "priority", "backoff", "environment", "after", "aside", "calls")
"""Fields of a node that plans of the first days did not have: they are written where they say something."""


def document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON, without the paths of this machine."""
    groups = [_noted(group) for group in plan.groups]
    return {
        "format": "stellwerk-plan/1",
        "name": plan.name,
        "params": plan.params,
        "nodes": [_written(node) for node in plan.nodes],
        "results": {name: _pointed(ref) for name, ref in plan.results.items()},
        **({"groups": groups} if groups else {}),
    }


def _noted(group: Group) -> dict[str, Any]:
    said = {"kind": type(group).__name__.lower(), **asdict(group)}
    return said if group.calls else {name: value for name, value in said.items() if name != "calls"}


def _written(node: Node) -> dict[str, Any]:
    """A node as JSON; spelled out, because plans of thousands of nodes are written with every run."""
    needs = node.resources
    plain: dict[str, Any] = {
        "id": node.id,
        "step": node.step,
        "kind": node.kind,
        "function": node.function,
        "params": node.params,
        "inputs": {name: _pointed(ref) for name, ref in node.inputs.items()},
        "seeds": node.seeds,
        "retries": node.retries,
        "timeout": node.timeout,
        "resources": {
            "cpus": needs.cpus,
            "memory": needs.memory,
            **({"gpus": needs.gpus} if needs.gpus else {}),
            **({"custom": dict(needs.custom)} if needs.custom else {}),
        },
        "outputs": list(node.outputs),
    }
    for name in _SINCE:
        value = getattr(node, name)
        if value != _NODE_DEFAULTS[name]:
            plain[name] = asdict(value) if isinstance(value, Backoff | Environment) else value
    return plain


def _pointed(ref: Ref) -> dict[str, str]:
    return {"node": ref.node, "output": ref.output}


def flat(plan: Plan) -> Plan:
    """The same without what does not decide what is executed: the calls that nodes come from, and files aside."""
    return replace(
        plan,
        nodes=tuple(replace(node, calls=(), aside=dict.fromkeys(node.aside, "")) for node in plan.nodes),
        groups=tuple(replace(group, calls=()) for group in plan.groups),
    )


def parse(body: Mapping[str, Any]) -> Plan:
    """The plan of a document. Nodes have no files: their functions are found by name. `Invalid` for anything else."""
    try:
        if body["format"] != "stellwerk-plan/1":
            raise Invalid(f"a plan of the format {body['format']!r} (expected stellwerk-plan/1)", code="invalid-plan")
        return Plan(
            name=body["name"],
            params=body["params"],
            nodes=tuple(_node(node) for node in body["nodes"]),
            results={name: Ref(**ref) for name, ref in body["results"].items()},
            groups=tuple(_group(group) for group in body.get("groups", ())),
        )
    except (KeyError, TypeError, AttributeError) as cause:
        raise Invalid(f"not the document of a plan: {cause}", code="invalid-plan") from cause


def _node(body: Mapping[str, Any]) -> Node:
    made: dict[str, Any] = {
        "inputs": {name: Ref(**ref) for name, ref in body["inputs"].items()},
        "resources": Resources(**body["resources"]),
        "outputs": tuple(body["outputs"]),
        "after": tuple(body.get("after", ())),
        "calls": tuple(body.get("calls", ())),
    }
    if "backoff" in body:
        made["backoff"] = Backoff(**body["backoff"])
    if "environment" in body:
        made["environment"] = Environment(**body["environment"])
    return Node(**{**body, **made})


def _group(body: Mapping[str, Any]) -> Group:
    said = {name: value for name, value in body.items() if name != "kind"}
    said["calls"] = tuple(said.get("calls", ()))
    if body["kind"] == "branch":
        return Branch(**{**said, "subject": Ref(**said["subject"])})
    if body["kind"] == "loop":
        items = Ref(**said["items"]) if said.get("items") else None
        return Loop(**{**said, "items": items, "values": tuple(said.get("values", ()))})
    raise Invalid(f"a group of the kind {body['kind']!r} (expected branch or loop)", code="invalid-plan")


_NODE_DEFAULTS: dict[str, Any] = {
    one.name: one.default_factory() if one.default_factory is not MISSING else one.default
    for one in fields(Node)
    if one.name in _SINCE
}
