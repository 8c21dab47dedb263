"""DAGs of Kubeflow in the making: which task gives what, and how it reaches a task in another DAG.

A DAG sees its own tasks and its own inputs, nothing else. What a task needs from further out is handed in from DAG to
DAG, what it needs from further in is handed out; out of a loop comes the list of what its rounds gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Bug, Invalid
from stellwerk.pipelines.kubeflow.naming import Channel

PARAM = "param"
"""The task that stands for the parameters of the pipeline."""


@dataclass(eq=False, slots=True)
class Dag:
    """One DAG.

    Args:
        task: What the DAG is called as a task of the one around it; empty for the outermost.
        turns: Whether it is run once for each item.
        perhaps: Whether it may be left out, because it is a branch.
    """

    task: str
    parent: Dag | None = None
    turns: bool = False
    perhaps: bool = False
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, Channel] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    """Names of inputs that an iterator gives it."""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """Of the outputs."""

    def path(self) -> list[Dag]:
        """From itself to the outermost."""
        found: list[Dag] = [self]
        while (above := found[-1].parent) is not None:
            found.append(above)
        return found


@dataclass(frozen=True, slots=True)
class Maker:
    """Where a channel comes from: a task of a DAG that gives it under a key, or the DAG's own input."""

    dag: Dag
    task: str
    key: str
    kind: str


class Wiring:
    """Who makes what, and the edges between tasks."""

    def __init__(self) -> None:
        self.makers: dict[Channel, Maker] = {}

    def makes(self, dag: Dag, channel: Channel, kind: str, *, task: str = "", key: str = "") -> None:
        """Say that a task of a DAG gives a channel; with kind the type of the parameter."""
        self.makers[channel] = Maker(dag, task or channel.task, key or channel.key, kind)

    def source(self, dag: Dag, channel: Channel, user: str) -> dict[str, Any]:
        """The input of a task in a DAG that takes a channel."""
        maker = self._maker(channel)
        if maker.dag is dag and channel.name not in dag.own:
            return _output(maker.task, maker.key)
        below = _below(dag, maker.dag)
        if below is not None:
            self._hand_out(below, channel, maker, user)
            return _output(below.task, channel.name)
        dag.inputs.setdefault(channel.name, channel)
        return {
            "componentInputParameter": channel.key if maker.task == PARAM and dag.parent is None else channel.name
        }

    def kind(self, dag: Dag, channel: Channel) -> str:
        """The type of a channel as a DAG sees it: a list where it comes out of a loop."""
        maker = self._maker(channel)
        return "LIST" if any(one.turns for one in _outward(maker.dag, dag)) else maker.kind

    def visible(self, dag: Dag, channel: Channel) -> bool:
        """Whether a channel can always be had in a DAG: nothing on the way may be left out."""
        return not any(one.perhaps for one in _outward(self._maker(channel).dag, dag))

    def producer(self, dag: Dag, channel: Channel) -> str:
        """The task of a DAG that gives a channel there; empty where it comes from further out."""
        maker = self._maker(channel)
        below = _below(dag, maker.dag)
        return maker.task if maker.dag is dag else below.task if below is not None else ""

    def _hand_out(self, outermost: Dag, channel: Channel, maker: Maker, user: str) -> None:
        task, key = maker.task, maker.key
        for dag in maker.dag.path():
            if dag.perhaps:
                raise Invalid(
                    f"{user!r} uses what {channel.task!r} gives, which stands in a branch that may not be taken",
                    code="not-in-kubeflow",
                    hint="use it in the same branch, or what `sw.either` of two opposite branches gives",
                )
            if channel.name not in dag.outputs:
                selected = {"producerSubtask": task, "outputParameterKey": key}
                dag.outputs[channel.name] = {"valueFromParameter": selected}
                dag.types[channel.name] = self.kind(dag, channel)
            task, key = dag.task, channel.name
            if dag is outermost:
                return

    def _maker(self, channel: Channel) -> Maker:
        if channel not in self.makers:
            raise Bug(f"nobody gives {channel.name}")
        return self.makers[channel]


def _output(task: str, key: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _below(dag: Dag, inner: Dag) -> Dag | None:
    """The DAG directly inside of one that leads to another; None if the other is not inside."""
    path = inner.path()
    return next((one for one in path if one.parent is dag), None) if dag in path[1:] else None


def _outward(inner: Dag, dag: Dag) -> Iterator[Dag]:
    """The DAGs that one leaves on the way from one DAG to where another is reached."""
    around = dag.path()
    for one in inner.path():
        if one in around:
            return
        yield one
