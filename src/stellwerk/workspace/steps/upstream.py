"""The inputs of a step that nobody names: they are found by the keys of the steps before it, if these have results."""

from __future__ import annotations

from dataclasses import replace

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines.model import BUILTIN, DATASET, EITHER, FILE, WAIT, Node, Plan, Ref, Stored
from stellwerk.tracking.model import StepMemory
from stellwerk.workspace import elsewhere
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.resolving import Names
from stellwerk.workspace.steps import performing, plans
from stellwerk.workspace.steps.performing import Order


class Upstream:
    """What the steps of a plan have given, as far as anybody has computed it with this code and environment."""

    def __init__(self, caller: Caller, order: Order) -> None:
        self._caller, self._order, self._names = caller, order, Names(caller, order.folder)
        self._nodes = {node.id: node for node in order.plan.nodes}
        self._found: dict[tuple[str, int | None], dict[str, Stored]] = {}

    def value(self, ref: Ref, user: str) -> Stored | tuple[Stored, ...]:
        """What a reference stands for.

        Raises:
            NotFound: `not-computed`: a step before it has no result yet.
            Invalid: `missing-argument`: it depends on what is only known while the whole plan is executed.
        """
        node = self._nodes.get(ref.node)
        if node is None or node.within or node.function in (EITHER, WAIT) or not node.cache:
            raise Invalid(
                f"{user!r} uses {ref.node!r}, which is only known while the whole plan is executed",
                code="missing-argument",
                hint="say where it comes from: --input ARG=FILE, where FILE is what `--out` of a step wrote",
            )
        if node.function == DATASET:
            return performing.dataset(self._names, node)
        if node.function == FILE:
            return self._names.file(node.params["path"])
        if not node.seeds:
            return self._outputs(node, None)[ref.output]
        return tuple(self._outputs(node, seed)[ref.output] for seed in range(node.seeds))

    def _outputs(self, node: Node, seed: int | None) -> dict[str, Stored]:
        known = self._found.get((node.id, seed))
        if known is None:
            known = self._found[(node.id, seed)] = self._remembered(node, seed)
        return known

    def _remembered(self, node: Node, seed: int | None) -> dict[str, Stored]:
        task = node.id if seed is None else f"{node.id}#{seed}"
        order = replace(
            self._order,
            node=plans.located(node, None if node.function.startswith(BUILTIN) else self._order.folder),
            task=task,
            seed=seed,
            inputs={name: self.value(ref, node.id) for name, ref in node.inputs.items()},
            expected="",
        )
        key = performing.said(self._caller, order).key
        memory: StepMemory | None = self._caller.call(ops.remembered_step, {"step_key": key})
        if memory is None:
            taken = elsewhere.find(self._caller, node, key)
            if taken is not None:
                return taken.outputs
            raise NotFound(
                f"step {task!r} has no result with this code, these parameters and this environment ({key})",
                code="not-computed",
                hint=f"execute it first: `stellwerk step exec --node {node.id}`",
            )
        return {name: Stored(digest=digest, media=memory.media[name]) for name, digest in memory.outputs.items()}


def inputs(caller: Caller, plan: Plan, order: Order) -> dict[str, Stored | tuple[Stored, ...]]:
    """What goes into a task, found by the keys of the steps before it, where it is not given."""
    upstream = Upstream(caller, replace(order, plan=plan))
    return {
        name: order.inputs[name] if name in order.inputs else upstream.value(ref, order.node.id)
        for name, ref in order.node.inputs.items()
    }
