"""Plans with everything that a plan can have, for whoever translates plans. They are never executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stellwerk.pipelines.model import BUILTIN, DATASET, EITHER, ITEM, Branch, Loop, Node, Plan, Ref


def ref(node: str, output: str = "value") -> Ref:
    return Ref(node=node, output=output)


def node(name: str, /, *refs: Ref, **facts: Any) -> Node:
    inputs = {f"argument_{number}": one for number, one in enumerate(refs)}
    return Node(**{"id": name, "step": name, "kind": "step", "function": f"flow:{name}", "inputs": inputs, **facts})


def either(name: str, *refs: Ref, within: str = "") -> Node:
    inputs = {f"values[{number}]": one for number, one in enumerate(refs)}
    return Node(id=name, step="either", kind="either", function=EITHER, inputs=inputs, within=within)


def plan(*nodes: Node, groups: tuple[Any, ...] = (), results: Mapping[str, Ref] | None = None, **params: Any) -> Plan:
    return Plan(name="flow", params=params, nodes=nodes, groups=groups, results=dict(results or {}))


BOTH = (
    Branch(id="when", subject=ref("score"), test="above", value=3),
    Branch(id="otherwise", subject=ref("score"), test="above", value=3, negated=True),
)
PLANS = {
    "a chain": plan(node("first"), node("second", ref("first")), results={"end": ref("second")}),
    "parameters": plan(node("first"), count=3, share=0.5, name="x", flag=True, many=[1], more={"a": 1}, none=None),
    "several outputs": plan(node("parts", outputs=("a", "b")), node("user", ref("parts", "b"), ref("parts", "a"))),
    "seeds": plan(node("train", seeds=3), node("best", ref("train")), results={"all": ref("train")}),
    "inputs": plan(node("dataset:flights", function=DATASET, kind="input"), node("user", ref("dataset:flights"))),
    "a branch": plan(node("score"), node("inner", ref("score"), within="when"), groups=BOTH[:1]),
    "branches that meet": plan(
        node("score"),
        node("one", ref("score"), within="when"),
        node("other", within="otherwise"),
        either("choice", ref("one"), ref("other")),
        node("user", ref("choice")),
        groups=BOTH,
        results={"end": ref("user"), "choice": ref("choice")},
    ),
    "a branch or what is there": plan(
        node("score"),
        node("better", ref("score"), within="when"),
        either("choice", ref("better"), ref("score")),
        node("user", ref("choice")),
        groups=BOTH[:1],
    ),
    "two choices of the same branches": plan(
        node("score"),
        node("one", within="when", outputs=("a", "b")),
        node("other", within="otherwise", outputs=("a", "b")),
        either("left", ref("one", "a"), ref("other", "a")),
        either("right", ref("other", "b"), ref("one", "b")),
        node("user", ref("left"), ref("right")),
        groups=BOTH,
    ),
    "an either that is always its first": plan(
        node("score"),
        node("better", within="when"),
        either("choice", ref("score"), ref("better")),
        node("user", ref("choice")),
        groups=BOTH[:1],
    ),
    "a choice within a branch": plan(
        node("score"),
        node("deep", within="inner"),
        either("first", ref("deep"), ref("score"), within="when"),
        node("flat", within="otherwise"),
        either("second", ref("first"), ref("flat")),
        node("user", ref("second")),
        groups=(*BOTH, Branch(id="inner", within="when", subject=ref("score"), test="below", value=9)),
    ),
    "a loop": plan(
        node("items"),
        node("other"),
        node("body", ref("each", ITEM), ref("other"), within="each"),
        node("sum", ref("body")),
        groups=(Loop(id="each", items=ref("items"), at_once=2),),
        results={"all": ref("body")},
    ),
    "a loop over what is written": plan(
        node("body", ref("each", ITEM), within="each"),
        node("sum", ref("body")),
        groups=(Loop(id="each", values=(1, "zwei", {"drei": 3.5})),),
    ),
    "a loop over seeds": plan(
        node("train", seeds=2),
        node("body", ref("each", ITEM), within="each"),
        node("sum", ref("body")),
        groups=(Loop(id="each", items=ref("train")),),
    ),
    "a loop over a loop": plan(
        node("items"),
        node("first", ref("each", ITEM), within="each"),
        node("second", ref("again", ITEM), within="again"),
        node("sum", ref("second"), ref("first")),
        groups=(Loop(id="each", items=ref("items")), Loop(id="again", items=ref("first"))),
    ),
    "loops in loops": plan(
        node("items"),
        node("rows", ref("outer", ITEM), within="outer"),
        node("cell", ref("outer", ITEM), ref("inner", ITEM), ref("items"), within="inner", seeds=2),
        node("row", ref("cell"), within="outer"),
        node("sum", ref("row"), ref("cell")),
        groups=(Loop(id="outer", items=ref("items")), Loop(id="inner", within="outer", items=ref("rows"))),
    ),
    "a branch in a loop": plan(
        node("items"),
        node("score", ref("each", ITEM), within="each"),
        node("better", ref("score"), within="when"),
        either("choice", ref("better"), ref("score"), within="each"),
        node("sum", ref("choice")),
        groups=(Loop(id="each", items=ref("items")), replace(BOTH[0], within="each")),
    ),
    "a branch on an item": plan(
        node("body", ref("each", ITEM), within="when"),
        groups=(
            Loop(id="each", values=(1, 2)),
            Branch(id="when", within="each", subject=ref("each", ITEM), test="above", value=1),
        ),
    ),
    "a loop in a branch": plan(
        node("score"),
        node("items", within="when"),
        node("body", ref("each", ITEM), within="each"),
        node("sum", ref("body"), within="when"),
        groups=(*BOTH[:1], Loop(id="each", within="when", items=ref("items"))),
    ),
    "waiting for what is used by nobody": plan(
        node("first"),
        node("inner", within="each", after=("first",)),
        node("last", after=("inner", "first")),
        groups=(Loop(id="each", values=(1, 2)),),
    ),
    "a model": plan(
        node("fit", seeds=2),
        node("evaluate", function=BUILTIN + "evaluate", kind="evaluate", inputs={"model": ref("fit")}),
        results={"evaluation": ref("evaluate")},
    ),
    "names that are much alike": plan(node("a_b"), node("a-b"), node("A b"), node("steps"), node("close")),
}
