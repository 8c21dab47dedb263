"""What a pod of Kubeflow does: it takes descriptors from Kubeflow, performs a task, and hands descriptors back.

What Kubeflow hands over is its `ExecutorInput` as JSON; what it wants back are files, one for each parameter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines.kubeflow.branches import Meetings
from stellwerk.pipelines.kubeflow.dags import PARAM
from stellwerk.pipelines.kubeflow.model import descriptor, read_descriptor
from stellwerk.pipelines.kubeflow.naming import ITEMS, TAKEN, Channel, Names
from stellwerk.pipelines.model import EITHER, SINGLE, Branch, Loop, Node, Plan, Ref, Stored
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.steps import performing

MOST = 16 << 20
"""Bytes of what Kubeflow may hand over."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What Kubeflow hands to a pod.

    Args:
        given: The parameters that go in, by name.
        wanted: The files in which it looks for those that come out, by name.
    """

    given: Mapping[str, Any]
    wanted: Mapping[str, Path]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the pipeline."""
        start = Channel(PARAM, "").name
        return {name.removeprefix(start): value for name, value in self.given.items() if name.startswith(start)}

    def give(self, outputs: Mapping[str, Any]) -> None:
        """Write the parameters that come out; what nobody wants is left out. Texts are written as they are."""
        for name, value in outputs.items():
            if name not in self.wanted:
                continue
            file = self.wanted[name]
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
            except OSError as cause:
                raise Unavailable(
                    f"Kubeflow wants {name!r} in a file that cannot be written: {cause.strerror}", code="no-output"
                ) from cause


def read(text: str) -> Envelope:
    """The envelope of an `ExecutorInput`. `Invalid` for anything else."""
    if len(text) > MOST:
        raise Invalid(f"Kubeflow handed over more than {MOST:,} bytes", code="too-large")
    try:
        body = json.loads(text)
        given = body.get("inputs", {}).get("parameterValues", {})
        wanted = body.get("outputs", {}).get("parameters", {})
        return Envelope(dict(given), {name: Path(one["outputFile"]) for name, one in wanted.items()})
    except (ValueError, AttributeError, KeyError, TypeError) as cause:
        raise Invalid(
            "this is not what Kubeflow hands to a pod (expected an ExecutorInput as JSON)",
            code="invalid-executor-input",
            hint="Kubeflow puts it in the place of {{$}}",
        ) from cause


def why_failed(envelope: Envelope) -> str:
    """Why the pipeline failed, by the final status that Kubeflow hands to its last task; empty if it did not."""
    status = envelope.given.get("status")
    if not isinstance(status, Mapping) or status.get("state") not in ("FAILED", "CANCELLED", "CANCELED"):
        return ""
    error = status.get("error")
    said = error.get("message") if isinstance(error, Mapping) else ""
    return str(said or f"Kubeflow says {status['state']}")


class Pod:
    """One pod: a plan, and what Kubeflow handed over."""

    def __init__(self, caller: Caller, plan: Plan, envelope: Envelope) -> None:
        self._caller, self._envelope = caller, envelope
        self.names = Names(plan)
        self._meetings = Meetings(self.names)

    def inputs(self, node: Node) -> dict[str, Stored | tuple[Stored, ...]]:
        """What goes into a node, by argument."""
        return {argument: self._value(ref) for argument, ref in node.inputs.items()}

    def several(self, node: Node, argument: str) -> tuple[Stored, ...]:
        """What stands for an argument of a node: one value, or one for each seed."""
        value = self._value(node.inputs[argument])
        return (value,) if isinstance(value, Stored) else value

    def made(self, node: Node) -> Stored:
        """What a node gave, in the pod of a later one."""
        return self._single(Ref(node=node.id, output=node.outputs[0]), node.id)

    def settle(self, name: str) -> dict[str, Any] | None:
        """What a task gives that executes no step: one that judges, lists or passes on. None if it is a step."""
        group = self.names.groups.get(name)
        if isinstance(group, Branch):
            return {TAKEN: self._verdict(group, self._single(group.subject, name))}
        if isinstance(group, Loop) and group.items is not None:
            return {ITEMS: self._listed(group, self._value(group.items))}
        node = self.names.nodes.get(name)
        if node is not None and node.function == EITHER:
            return {SINGLE: descriptor(self._single(self._meetings.by_node[name].refs[-1], name))}
        return None

    def outputs(self, node: Node, performed: performing.Performed) -> dict[str, Any]:
        """What a step's task gives: its outputs, and what others want to know of them."""
        given: dict[str, Any] = {
            name: descriptor(stored, performed.key) for name, stored in performed.outputs.items()
        }
        for key, group in self.names.told(node):
            if isinstance(group, Branch):
                given[key] = self._verdict(group, performed.outputs[group.subject.output])
            elif group.items is not None:
                given[key] = self._listed(group, performed.outputs[group.items.output])
        return given

    def _verdict(self, branch: Branch, subject: Stored) -> str:
        # The condition of Kubeflow says which answer it wants, so that two opposite branches share a question.
        taken = performing.judge(self._caller, branch, subject) != branch.negated
        return "true" if taken else "false"

    def _listed(self, loop: Loop, given: Stored | tuple[Stored, ...]) -> list[dict[str, str]]:
        return [descriptor(one) for one in performing.items(self._caller, loop, given)]

    def _single(self, ref: Ref, user: str) -> Stored:
        value = self._value(ref)
        if not isinstance(value, Stored):
            raise Invalid(f"{user!r} looks at a list of results (expected one value)", code="invalid-condition")
        return value

    def _value(self, ref: Ref) -> Stored | tuple[Stored, ...]:
        channels = self._meetings.channels(ref)
        found = [self._envelope.given.get(channel.name, _MISSING) for channel in channels]
        for channel, value in zip(channels, found, strict=True):
            if value is _MISSING:
                raise Invalid(
                    f"Kubeflow hands over no {channel.name!r} (it hands over {', '.join(self._envelope.given)})",
                    code="missing-argument",
                )
        if len(channels) == 1 and not isinstance(found[0], list):
            return self._stored(found[0])
        # Rounds of loops are the outer order, seeds the inner one, as in the engine.
        rounds = zip(*(list(_flat(value)) for value in found), strict=True)
        return tuple(self._stored(value) for several in rounds for value in several)

    def _stored(self, body: Any) -> Stored:
        stored = read_descriptor(body)
        return performing.keep(self._caller, body["json"]) if stored is None else stored


_MISSING = object()


def _flat(value: Any) -> Iterator[Any]:
    """Everything in nested lists."""
    if not isinstance(value, list):
        yield value
        return
    for one in value:
        yield from _flat(one)
