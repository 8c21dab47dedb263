"""A plan as a pipeline of Kubeflow: tasks, nested DAGs, conditions and loops. Names are in `naming`, edges in `dags`.

What Kubeflow cannot express is refused, never left out. A group becomes a DAG: a branch one with a condition, a loop
one in which a second DAG is run for each item. That the loop has two is for Kubeflow's own local runner, which looks
for the items among the inputs of the DAG around the loop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.pipelines import rules
from stellwerk.pipelines.kubeflow import containers, writing
from stellwerk.pipelines.kubeflow.branches import Meeting
from stellwerk.pipelines.kubeflow.containers import FINAL_STATUS, GROUP, LIST, STRING, STRUCT, Call
from stellwerk.pipelines.kubeflow.dags import Dag
from stellwerk.pipelines.kubeflow.model import Target, descriptor, literal
from stellwerk.pipelines.kubeflow.naming import ITEMS, TAKEN, Channel
from stellwerk.pipelines.kubeflow.placing import Places
from stellwerk.pipelines.model import (
    BUILTIN,
    EITHER,
    FILE,
    ITEM,
    RESOLVED,
    SINGLE,
    Branch,
    Loop,
    Node,
    Plan,
    Ref,
    Stored,
)

SCHEMA = "2.1.0"
SDK = "kfp-2.13.0"
"""The version of the SDK whose output this is like; Kubeflow looks at it to know what to expect."""


def emit(plan: Plan, target: Target, *, files: Mapping[str, Stored] | None = None) -> list[dict[str, Any]]:
    """The documents of a pipeline: its specification, and what is special to Kubernetes if there is anything.

    Args:
        files: What the file nodes of the plan stand for, by node; they are read where the pipeline is emitted.

    Raises:
        Invalid: `not-in-kubeflow`: the plan has something that Kubeflow cannot express.
    """
    rules.order(plan)
    made = _Emitter(plan, target, files or {})
    spec = made.specification()
    platform = writing.platform(made.executors, target)
    return [spec] if platform is None else [spec, platform]


class _Emitter:
    """One pipeline in the making."""

    def __init__(self, plan: Plan, target: Target, files: Mapping[str, Stored]) -> None:
        self.plan, self.target, self.files = plan, target, files
        self.places = Places(plan)
        self.names, self.meetings, self.wiring = self.places.names, self.places.meetings, self.places.wiring
        self.components: dict[str, dict[str, Any]] = {}
        self.executors: dict[str, dict[str, Any]] = {}

    def specification(self) -> dict[str, Any]:
        for group in self.plan.groups:
            if isinstance(group, Branch):
                self._branch(group)
            else:
                self._loop(group)
        for node in self.plan.nodes:
            if node.function != EITHER:
                self._node(node)
        for meeting in self.meetings.by_node.values():
            if meeting.branches:
                self._meeting(meeting)
        self._registration()
        self._results()
        self._close()
        inner_first = sorted(self.places.all(), key=lambda dag: -len(dag.path()))
        for dag in inner_first:
            self._hand_in(dag)
        for dag in inner_first:
            if dag.parent is not None:
                self.components[f"comp-{dag.task}"] = writing.component(dag, self._kinds(dag))
        return self._document()

    # Groups

    def _branch(self, branch: Branch) -> None:
        dag = self.places.dags[branch.id]
        channel = self.names.judges(branch)
        if channel.key == TAKEN and channel not in self.wiring.makers:
            self._ask(branch, channel, branch.subject, STRING)
        dag.inputs[channel.name] = channel
        task = writing.task(dag.parent or self.places.main, dag.task)
        task["triggerPolicy"] = _condition(channel, taken=not branch.negated)

    def _loop(self, loop: Loop) -> None:
        rounds = self.places.dags[loop.id]
        channel = self.names.lists(loop)
        items = {"raw": json.dumps([literal(value) for value in loop.values], ensure_ascii=False)}
        if channel is not None and loop.items is not None:
            if channel.key == ITEMS and channel not in self.wiring.makers:
                self._ask(loop, channel, loop.items, LIST)
            rounds.inputs[channel.name] = channel
            items = {"inputParameter": channel.name}
        task = writing.task(rounds.parent or self.places.main, rounds.task)
        task["parameterIterator"] = {"items": items, "itemInput": Channel(self.names.of(loop.id), ITEM).name}
        if loop.at_once:
            task["iteratorPolicy"] = {"parallelismLimit": loop.at_once}

    def _ask(self, group: Branch | Loop, channel: Channel, ref: Ref, kind: str) -> None:
        """A task that only judges a branch or lists the items of a loop, where no other can."""
        place = self.places.dags[group.within]
        self.wiring.makes(place, channel, kind)
        call = Call(task=channel.task, words=self._words(group.id), outputs={channel.key: kind})
        self._call(place, call, group.id, (*self.meetings.channels(ref), *self.places.params()))

    def _words(self, name: str) -> list[str]:
        code = ["--code", self.target.code] if self.target.code else []
        again = ["--pipeline", self.target.pipeline] if self.target.pipeline else []
        return ["step", "exec", "--plan", self.plan.digest, "--node", name, "--group", GROUP, *code, *again]

    # Nodes

    def _node(self, node: Node) -> None:
        dag = self.places.dags[node.within]
        channels = [channel for ref in node.inputs.values() for channel in self.meetings.channels(ref)]
        told = {key: STRING if isinstance(group, Branch) else LIST for key, group in self.names.told(node)}
        for seed in range(node.seeds) if node.seeds else (None,):
            call = Call(
                task=self.names.of(node.id, seed),
                words=containers.words(self.plan.digest, self.target, node, seed),
                outputs={**dict.fromkeys(node.outputs, STRUCT), **told},
                node=node,
            )
            if node.function == FILE:
                call = replace(call, words=[*self._words(node.id), "--stored", self._file(node)])
            params = () if node.function == FILE else self.places.params()
            task = self._call(dag, call, node.id, (*channels, *params))
            if node.cache and node.function not in RESOLVED:
                task["cachingOptions"] = {"enableCache": True}
            if node.retries:
                task["retryPolicy"] = containers.retry(node)
            self._after(node, dag, task)

    def _file(self, node: Node) -> str:
        if node.id not in self.files:
            raise Invalid(f"nobody says what the file {node.params.get('path')!r} holds", code="not-in-kubeflow")
        return json.dumps(descriptor(self.files[node.id]), sort_keys=True)

    def _call(self, dag: Dag, call: Call, user: str, channels: tuple[Channel, ...]) -> dict[str, Any]:
        """A task of a DAG that runs a pod."""
        inputs = {channel.name: self.wiring.source(dag, channel, user) for channel in channels}
        kinds = {channel.name: self.wiring.kind(dag, channel) for channel in channels}
        whole = replace(call, inputs=kinds)
        self.components[f"comp-{call.task}"] = containers.component(whole)
        self.executors[containers.label(call.task)] = containers.executor(whole, self.target)
        task = writing.task(dag, call.task)
        writing.give(task, inputs)
        return task

    def _after(self, node: Node, dag: Dag, task: dict[str, Any]) -> None:
        for name in node.after:
            before = self.names.nodes[name]
            for channel in self.meetings.channels(Ref(node=name, output=before.outputs[0])):
                place, waiting = dag, task
                while not (producer := self.wiring.producer(place, channel)) and place.parent is not None:
                    waiting, place = writing.task(place.parent, place.task), place.parent
                if not self.wiring.visible(place, channel):
                    raise Invalid(
                        f"{node.id!r} comes after {name!r}, which stands in a branch that may not be taken",
                        code="not-in-kubeflow",
                        hint="put both into the same branch",
                    )
                writing.wait(waiting, [producer])

    # Where branches meet

    def _meeting(self, meeting: Meeting) -> None:
        dag = self.places.meeting(meeting)
        chosen = [self.meetings.channels(ref)[0] for ref in meeting.refs]
        selectors = [
            self._handed(self.places.dags[branch.id], dag, channel, meeting.node.id)
            for branch, channel in zip(meeting.branches, chosen, strict=False)
        ]
        if len(meeting.branches) < len(chosen):
            selectors.append(self._pass(meeting, dag, chosen[-1]))
        name = self.meetings.channel(meeting)[0].name
        dag.outputs[name] = {"valueFromOneof": {"parameterSelectors": selectors}}
        dag.types[name] = STRUCT

    def _handed(self, branch: Dag, dag: Dag, channel: Channel, user: str) -> dict[str, str]:
        branch.perhaps = False  # only to where all branches meet may it hand out something
        selected = _selector(self.wiring.source(dag, channel, user))
        branch.perhaps = True
        return selected

    def _pass(self, meeting: Meeting, dag: Dag, channel: Channel) -> dict[str, str]:
        """A task that passes on what is there where the branch is not taken."""
        task = self.names.aside("pass", meeting.node.id)
        judge = self.names.judges(meeting.branches[0])
        call = Call(task=task, words=self._words(meeting.node.id), outputs={SINGLE: STRUCT})
        made = self._call(dag, call, meeting.node.id, (channel, judge))
        made["triggerPolicy"] = _condition(judge, taken=meeting.branches[0].negated)
        return {"producerSubtask": task, "outputParameterKey": SINGLE}

    # The end

    def _registration(self) -> None:
        """The task that registers the model which the last evaluation chose, as `stellwerk run` does."""
        found = [node for node in self.plan.nodes if node.function == BUILTIN + "evaluate"]
        if not found or self.names.loops(found[-1].id):
            return
        node = found[-1]
        refs = [Ref(node=node.id), *(node.inputs[name] for name in ("model", "baseline") if name in node.inputs)]
        words = ["step", "register", "--plan", self.plan.digest, "--node", node.id, "--group", GROUP]
        channels = tuple(channel for ref in refs for channel in self.meetings.channels(ref))
        call = Call(task="register", words=words, outputs={"model": STRUCT})
        self._call(self.places.dags[node.within], call, "register", channels)

    def _results(self) -> None:
        root = self.places.root
        for name, ref in self.plan.results.items():
            channels = self.meetings.channels(ref)
            for number, channel in enumerate(channels):
                if not self.wiring.visible(root, channel):
                    continue  # it may not be there; in the workspace it is kept all the same
                key = name if len(channels) == 1 else f"{name}-{number}"
                selected = _selector(self.wiring.source(root, channel, f"result {name}"))
                root.outputs[key] = {"valueFromParameter": selected}
                root.types[key] = self.wiring.kind(root, channel)

    def _close(self) -> None:
        """The task that ends the run in the workspace, however the others ended."""
        root = self.places.root
        call = Call(task="close", words=["step", "close", "--group", GROUP], inputs={"status": FINAL_STATUS})
        self.components["comp-close"] = containers.component(call)
        self.executors["exec-close"] = containers.executor(call, self.target)
        task = writing.task(root, "close")
        task["inputs"] = {"parameters": {"status": {"taskFinalStatus": {"producerTask": self.places.main.task}}}}
        task["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        writing.wait(task, [self.places.main.task])

    def _hand_in(self, dag: Dag) -> None:
        """Give a DAG what its tasks need from around it."""
        if dag.parent is None:
            return
        wanted = {name: one for name, one in dag.inputs.items() if name not in dag.own}
        sources = {name: self.wiring.source(dag.parent, one, dag.task) for name, one in wanted.items()}
        writing.give(writing.task(dag.parent, dag.task), sources)

    def _kinds(self, dag: Dag) -> dict[str, str]:
        given = {channel.name: self.wiring.kind(dag, channel) for channel in dag.inputs.values()}
        return {**dict.fromkeys(dag.own, STRUCT), **given}

    def _document(self) -> dict[str, Any]:
        root = writing.component(self.places.root, {})
        declared = {
            name: {"parameterType": writing.kind(value), "defaultValue": value, "isOptional": True}
            for name, value in sorted(self.plan.params.items())
            if value is not None
        }
        if declared:
            root["inputDefinitions"] = {"parameters": declared}
        return {
            "components": dict(sorted(self.components.items())),
            "deploymentSpec": {"executors": dict(sorted(self.executors.items()))},
            "pipelineInfo": {
                "name": writing.pipeline(self.plan.name),
                "description": f"{self.plan.name}, a pipeline of Stellwerk: plan {self.plan.digest}",
            },
            "root": root,
            "schemaVersion": SCHEMA,
            "sdkVersion": SDK,
        }


def _condition(channel: Channel, *, taken: bool) -> dict[str, str]:
    return {"condition": f"inputs.parameter_values['{channel.name}'] == '{'true' if taken else 'false'}'"}


def _selector(source: Mapping[str, Any]) -> dict[str, str]:
    """An output of a DAG from what a task in it gives."""
    made = source["taskOutputParameter"]
    return {"producerSubtask": made["producerTask"], "outputParameterKey": made["outputParameterKey"]}
