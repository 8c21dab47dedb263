"""The plan in the making: its nodes and groups, and which group and which calls of pipelines are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import BUILTIN, SINGLE, Group, Loop, Node, Ref
from stellwerk.pipelines.parameters import Outputs, constants

G = TypeVar("G", bound=Group)


@dataclass(slots=True)
class Builder:
    """The nodes and groups of the pipeline that is being planned."""

    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """The groups around what is called now, from the outermost on."""
    after: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    """By wanted name the last number that was given."""
    calls: list[str] = field(default_factory=list)
    """The calls of pipelines around what is called now, from the outermost on."""
    called: dict[str, int] = field(default_factory=dict)
    """By wanted and by given name of a call the last number."""

    @property
    def within(self) -> str:
        return self.open[-1] if self.open else ""

    def free(self, wanted: str) -> str:
        """An id that nothing has yet: `train`, `train-2`, ..."""
        return _numbered(wanted, self.numbers, self.nodes, self.groups)

    def add(self, draft: Node) -> Any:
        """Give the node an id of its own; return what stands for its outputs."""
        for argument, ref in draft.inputs.items():
            self.check(ref, f"argument {argument!r} of step {draft.step!r}")
        name = self.free(draft.step)
        after, calls = (*draft.after, *self.after), tuple(self.calls)
        self.nodes[name] = replace(draft, id=name, within=self.within, after=after, calls=calls)
        refs = {output: Ref(node=name, output=output) for output in draft.outputs}
        return refs[SINGLE] if draft.outputs == (SINGLE,) else Outputs(name, refs)

    def add_group(self, wanted: str, make: Callable[[str, str], G]) -> G:
        """Make a group, given its id and the group around it."""
        group = replace(make(self.free(wanted), self.within), calls=tuple(self.calls))
        self.groups[group.id] = group
        return group

    def check(self, ref: Ref, where: str) -> None:
        if ref.node in self.groups:
            if ref.node not in self.open:
                raise Invalid(
                    f"{where} is the item of {ref.node!r}, outside of that loop",
                    code="foreign-reference",
                    hint="use the output of a step inside the loop; outside it is the list of all of them",
                )
        elif ref.node not in self.nodes:
            raise Invalid(
                f"{where} is the output of {ref.node!r}, which is not in this pipeline",
                code="foreign-reference",
                hint="call the step inside this pipeline",
            )

    @contextmanager
    def inside(self, group: Group) -> Iterator[None]:
        """What is called now stands in this group."""
        self.open.append(group.id)
        try:
            yield
        finally:
            self.open.pop()

    @contextmanager
    def calling(self, pipeline: str) -> Iterator[None]:
        """What is called now comes from a pipeline inside the pipeline. Its steps are called as they would be without."""
        name = _numbered(pipeline, self.called, self.called)
        self.called.setdefault(name, 1)
        self.calls.append(name)
        try:
            yield
        finally:
            self.calls.pop()

    def loops(self) -> list[str]:
        """The loops that are open."""
        return [name for name in self.open if isinstance(self.groups[name], Loop)]


def _numbered(wanted: str, numbers: dict[str, int], *taken: Mapping[str, Any]) -> str:
    number = numbers.get(wanted, 0) + 1
    while any((name := wanted if number == 1 else f"{wanted}-{number}") in names for names in taken):
        number += 1
    numbers[wanted] = number
    return name


_BUILDER: ContextVar[Builder | None] = ContextVar("stellwerk_pipeline", default=None)


def current() -> Builder | None:
    """The plan that is being made, if one is."""
    return _BUILDER.get()


def needed(what: str) -> Builder:
    """The plan that is being made. `Invalid` if none is."""
    builder = _BUILDER.get()
    if builder is None:
        raise Invalid(f"{what} only works inside a pipeline", code="outside-pipeline")
    return builder


@contextmanager
def building(builder: Builder) -> Iterator[None]:
    """Steps that are called now become nodes of this plan."""
    token = _BUILDER.set(builder)
    try:
        yield
    finally:
        _BUILDER.reset(token)


def builtin(
    name: str,
    step: str,
    kind: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, Any],
    outputs: tuple[str, ...] = (SINGLE,),
    **options: Any,
) -> Any:
    """A node for a step that comes with Stellwerk; what stands for its outputs."""
    builder = needed(f"{step} is a step that comes with Stellwerk and")
    for argument, value in inputs.items():
        if not isinstance(value, Ref):
            raise Invalid(
                f"argument {argument!r} of {step} is a {type(value).__name__} (expected the output of a step)",
                code="wrong-type",
            )
    plain = constants(step, None, params)
    return builder.add(
        Node(
            id="",
            step=step,
            kind=kind,
            function=BUILTIN + name,
            params=plain,
            inputs=dict(inputs),
            outputs=outputs,
            **options,
        )
    )
