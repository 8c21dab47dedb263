"""How people write tuning: `sw.tune`, a node of a pipeline, or a call with a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stellwerk.core.arguments import bind, bound, nearest
from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.authoring import Step, reference
from stellwerk.pipelines.authoring.building import Builder, current
from stellwerk.pipelines.model import BUILTIN, TUNE, Loop, Node, Ref
from stellwerk.pipelines.parameters import constants, mapping, texts
from stellwerk.pipelines.parameters import split as sorted_arguments
from stellwerk.pipelines.tuning.model import MAX_WORKERS, VALUE, Budget, Goal, Objective, Pruning, Search, Setup
from stellwerk.pipelines.tuning.space import checked, flat
from stellwerk.pipelines.tuning.trial import shipped

SELECT = "select"
"""The input that holds the table on which the models of trials are measured."""
LOSS = "loss"
"""The proper loss of a model's task: log loss, or the absolute error of numbers."""


class Question:
    """A step to be tuned, checked: what `sw.tune` was given, before anything is looked up or run."""

    def __init__(
        self,
        step: Any,
        space: Any,
        budget: int | str | Budget,
        *,
        given: Mapping[str, Any] | None = None,
        metric: str | Sequence[str] = "",
        goal: Goal | Sequence[Goal] = "minimize",
        search: Search = "tpe",
        pruner: str | Pruning = "",
        workers: int = 1,
        seed: int = 0,
        select: Any = None,
    ) -> None:
        self.step = _step(step)
        self.space = checked(space)
        self.budget = budget_of(budget)
        self.workers = _workers(workers)
        self.select = select
        self.setup = Setup(
            space=self.space,
            objectives=_objectives(metric or (LOSS if select is not None else VALUE), goal),
            search=search,
            pruning=pruner if isinstance(pruner, Pruning) else Pruning(kind=pruner) if pruner else None,  # type: ignore[arg-type]
            seed=seed,
        )
        self.given = self._bound(mapping("given", given))

    @property
    def outputs(self) -> tuple[str, ...]:
        """What tuning gives: the best parameters, a report, and what the step gave with them."""
        return ("best", "report", *self.step.options.outputs)

    def _bound(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the step that are not searched, with their defaults."""
        name, signature = self.step.name, self.step.signature
        searched = {path.rpartition("/")[2] for path, _ in flat(self.space)}
        unknown = sorted(searched - set(signature.parameters))
        if unknown:
            raise Invalid(
                f"the space has {unknown[0]!r}, which is no argument of {name} "
                f"(it has {', '.join(signature.parameters) or 'none'}){nearest(unknown[0], signature.parameters)}",
                code="unknown-argument",
            )
        both = sorted(searched & set(given))
        if both:
            raise Invalid(f"{both[0]!r} is searched and given at once", code="wrong-arguments")
        below = {path.rpartition("/")[2] for path, _ in flat(self.space) if "/" in path}
        for one in sorted(below - set(self.space)):
            if signature.parameters[one].default is signature.parameters[one].empty:
                raise Invalid(
                    f"{one!r} is searched only below some option, so {name} needs a default for it",
                    code="missing-argument",
                )
        # What is searched is bound with something, so that only what is really missing is missed.
        bound = bind(name, signature, (), {**dict.fromkeys(searched), **given})
        return {key: value for key, value in bound.items() if key not in searched}

    def arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is not searched, as JSON parameters and as references."""
        params, inputs = sorted_arguments(self.step.name, self.step.signature, self.given)
        return params, dict(inputs)

    def params(self) -> dict[str, Any]:
        """The order as JSON, with neither inputs nor paths."""
        options = self.step.options
        function, _ = reference(self.step.function)
        budget: dict[str, Any] = {"trials": self.budget.trials, "time": self.budget.time}
        return {
            "step": {
                "name": self.step.name, "function": function, "kind": options.kind, "outputs": list(options.outputs),
                "timeout": options.timeout, "memory": options.resources.memory,
            },
            "setup": self.setup.document(), "budget": budget, "workers": self.workers,
            "selects": self.select is not None,
        }  # fmt: skip


@bound
def tune(
    step: Any,
    space: Mapping[str, Any],
    budget: int | str | Budget,
    *,
    given: Mapping[str, Any] | None = None,
    metric: str | Sequence[str] = "",
    goal: Goal | Sequence[Goal] = "minimize",
    search: Search = "tpe",
    pruner: str | Pruning = "",
    workers: int = 1,
    seed: int = 0,
    select: Any = None,
    workspace: Any = None,
) -> Any:
    """Search for the parameters of a step with which it gives the best value, within a budget.

    Inside a pipeline it is a node whose outputs are `best` (the parameters), `report`, and what the step gave with
    them (`value`, unless it names its outputs). Everywhere else it needs a workspace and gives a `Tuned`.

    Args:
        step: A step that returns the number, or a dict with it; or a model, if `select` is given.
        space: Dimensions by argument: `{"depth": sw.space.whole(2, 12)}`.
        budget: A number of trials, a time such as `"10m"`, or `sw.Budget(trials=..., time=...)`.
        given: The other arguments of the step, also outputs of other steps.
        metric: What the number is called, where the step returns several; several names seek several objectives.
        goal: `minimize` or `maximize`, one for all metrics or one for each.
        search: `tpe`, `random`, `grid`, `cmaes`, or `nsga2` for several objectives.
        pruner: `median`, `hyperband`, `asha`, or `sw.Pruning(...)`: ends trials early that call `sw.report`.
        workers: How many trials run at once, each in a process of its own; one runs in this process.
        seed: Same seed, same trials, if they run one after the other.
        select: A table on which the models that the step returns are measured; `metric` is then one of
            `sw.evaluate`, by default the proper loss of the task.
        workspace: Where the trials are kept, outside of a pipeline.

    Raises:
        Invalid: The step, the space or an argument does not fit.
        Refused: `gate-in-tuning`: an input comes from a gate set, which must not be seen before judging.
    """
    order = Question(
        step, space, budget, given=given, metric=metric, goal=goal, search=search, pruner=pruner, workers=workers,
        seed=seed, select=select,
    )  # fmt: skip
    builder = current()
    if builder is not None and workspace is None:
        return builder.add(_node(order, builder))
    if workspace is None:
        raise Invalid(
            "outside of a pipeline, tuning needs to know where to keep its trials",
            code="outside-pipeline",
            hint="sw.tune(..., workspace=sw.connect())",
        )
    if not callable(getattr(workspace, "tune", None)):
        raise Invalid(
            f"workspace is {workspace!r} (expected an open workspace)"[:200],
            code="wrong-type",
            hint="sw.tune(..., workspace=sw.connect(PATH))",
        )
    return workspace.tune(order)


def _node(order: Question, builder: Builder) -> Node:
    params, inputs = order.arguments()
    if order.select is not None:
        if not isinstance(order.select, Ref):
            raise Invalid("select must be the output of a step, inside of a pipeline", code="wrong-type")
        if SELECT in inputs or SELECT in params:
            raise Invalid(f"the tuned step has an argument {SELECT!r} itself", code="wrong-arguments")
        inputs[SELECT] = order.select
    refuse_gate(inputs, builder)
    function, file = reference(order.step.function)
    return Node(
        id="",
        step=f"tune:{order.step.name}",
        kind="tune",
        function=TUNE,
        file="" if shipped(function) else file,
        params=constants("tune", None, {**order.params(), "given": params}),
        inputs=inputs,
        outputs=order.outputs,
    )


def refuse_gate(inputs: Mapping[str, Ref], builder: Builder) -> None:
    """Refuse inputs that come from what is kept apart to judge: the gate of a split, or a table that is sealed."""
    nodes = builder.nodes
    sealed = {ref for node in nodes.values() if node.function == BUILTIN + "gate" for ref in node.inputs.values()}
    for name, ref in inputs.items():
        for one in _behind(ref, builder):
            node = nodes.get(one.node)
            split_off = node is not None and node.function == BUILTIN + "split" and one.output == "gate"
            of_gate = node is not None and node.function == BUILTIN + "gate"
            if split_off or of_gate or one in sealed:
                raise Refused(
                    f"the input {name!r} of tuning comes from {one.node}.{one.output}, which is kept apart to judge "
                    "what is chosen",
                    code="gate-in-tuning",
                    hint="tune on the outputs `train` and `select` of sw.split; the gate only judges what was chosen",
                )


def _behind(ref: Ref, builder: Builder) -> Iterable[Ref]:
    """A reference and all that it was made from."""
    waiting, seen = [ref], {ref}
    while waiting:
        one = waiting.pop()
        yield one
        node, group = builder.nodes.get(one.node), builder.groups.get(one.node)
        found = set(node.inputs.values()) if node is not None else set()
        if isinstance(group, Loop) and group.items is not None:
            found.add(group.items)
        waiting += found - seen
        seen |= found


def _step(step: Any) -> Step[..., Any]:
    if not isinstance(step, Step):
        raise Invalid(
            f"{getattr(step, '__name__', step)!r} is no step (expected a function with @sw.step)",
            code="wrong-type",
            hint="put @sw.step above the function",
        )
    if step.options.seeds:
        raise Invalid(
            f"step {step.name!r} runs once for each of {step.options.seeds} seeds, and a trial has one value",
            code="wrong-type",
            hint="tune a step without seeds that averages over seeds itself",
        )
    if {"best", "report"} & set(step.options.outputs):
        raise Invalid(f"step {step.name!r} has an output named best or report, which tuning adds", code="wrong-type")
    return step


def budget_of(budget: Any) -> Budget:
    """A budget as people write it: a number of trials, a time, or both. Raises `Invalid`."""
    if isinstance(budget, Budget):
        return budget
    return Budget(time=budget) if isinstance(budget, str) else Budget(trials=budget)


def _workers(workers: Any) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MAX_WORKERS:
        raise Invalid(f"workers is {workers!r} (expected a whole number from 1 to {MAX_WORKERS})", code="wrong-type")
    return workers


def _objectives(metric: str | Sequence[str], goal: Goal | Sequence[Goal]) -> tuple[Objective, ...]:
    names = [metric] if isinstance(metric, str) else list(texts("metric", metric))
    goals: list[Any] = [goal] * len(names) if isinstance(goal, str) else list(texts("goal", goal))
    if len(goals) != len(names):
        raise Invalid(f"there are {len(names)} metrics and {len(goals)} goals", code="invalid-tuning")
    return tuple(Objective(metric=name, goal=one) for name, one in zip(names, goals, strict=True))
