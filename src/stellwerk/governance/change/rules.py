"""What differs between two runs, and what follows of verdicts and steps: decisions without reading anything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.governance.change.model import Changed, CodeChange, Judged, Judgement, StepLine, StepStatus
from stellwerk.pipelines.closure import difference
from stellwerk.pipelines.model import Closure
from stellwerk.releases.model import Outcome, Verdict
from stellwerk.tracking.model import Run
from stellwerk.tracking.rules import spelled

SEVERITY: dict[Outcome, int] = {"stop": 0, "unproven": 1, "clear": 2}
_WORDS = (("fail", "failed"), ("unproven", "unproven"))
_STATUS: dict[str, StepStatus] = {
    "failed": "failed", "interrupted": "interrupted", "running": "running", "scheduled": "running",
    "waiting": "running", "paused": "running",
}  # fmt: skip


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Values that differ, by name."""
    names = sorted({*before, *after})
    pairs = [
        Changed(
            name=name,
            before=spelled(before[name]) if name in before else "",
            after=spelled(after[name]) if name in after else "",
        )
        for name in names
    ]
    return tuple(one for one in pairs if one.before != one.after or (one.name in before) != (one.name in after))


def code(
    before: Mapping[str, Mapping[str, Digest]], after: Mapping[str, Mapping[str, Digest]]
) -> tuple[CodeChange, ...]:
    """Steps that both ran and whose code differs. Steps that came or went are no change of code."""
    found = [
        CodeChange(step=step, parts=difference(_closure(before[step]), _closure(after[step])))
        for step in sorted({*before} & {*after})
    ]
    return tuple(one for one in found if one.parts)


def _closure(parts: Mapping[str, Digest]) -> Closure:
    listed = tuple(sorted(parts.items()))
    return Closure(digest=canonical.digest([list(part) for part in listed]), parts=listed)


def node(name: str) -> str:
    """The node of a task: `train` of `train[2]#0`, its third turn of a loop with the seed 0."""
    return re.split(r"[\[#]", name, maxsplit=1)[0]


def steps(
    children: Sequence[Run], planned: Sequence[Mapping[str, Any]], logs: Mapping[str, str], *, finished: bool = False
) -> tuple[StepLine, ...]:
    """How every step ended, in the order of the plan.

    Args:
        planned: The nodes of the plan's document; of inputs nothing is executed, so they are no steps.
        logs: Ends of the logs of failed steps, by run.
        finished: The whole ended well: what has no run then was skipped by a condition, otherwise it was not reached.
    """
    functions = {str(one.get("id")): str(one.get("function", "")) for one in planned}
    lines: dict[str, list[StepLine]] = {}
    for run in sorted(children, key=lambda one: one.id):
        if run.kind != "register":
            base = node(run.name)
            lines.setdefault(base, []).append(_line(run, functions.get(base, ""), logs.get(run.id, "")))
    found: list[StepLine] = []
    for one in planned:
        name, function = str(one.get("id")), str(one.get("function", ""))
        if name in lines:
            found += lines.pop(name)
        elif function != "builtin:dataset":
            status: StepStatus = "skipped" if finished else "not reached"
            found.append(StepLine(name=name, kind=str(one.get("kind", "")), status=status, function=function))
    return (*found, *(line for rest in lines.values() for line in rest))


def _line(run: Run, function: str, log: str) -> StepLine:
    return StepLine(
        name=run.name,
        kind=run.kind,
        status="cached" if run.cached else _STATUS.get(run.status, "ran"),
        seconds=run.cost.wall_seconds,
        key=run.step_key or "",
        run=run.id,
        error=run.error,
        function=function,
        log=log,
    )


def judged(verdict: Verdict, now: datetime) -> Judged:
    """A verdict as it stands now: what expired proves nothing any more (law 5)."""
    counts = {
        kind: sum(reason.outcome == kind for reason in verdict.reasons) for kind in ("pass", "fail", "unproven")
    }
    expired = verdict.outcome == "clear" and verdict.valid_until <= now
    outcome: Outcome = "unproven" if expired else verdict.outcome
    left = ", ".join(f"{counts[kind]} {word}" for kind, word in _WORDS if counts[kind])
    passed = f"{counts['pass']} of {len(verdict.reasons)} checks passed"
    if not left:
        passed = f"all {counts['pass']} checks passed" if counts["pass"] > 1 else "its one check passed"
    said = f"{left}, {passed}" if left else passed
    return Judged(
        endpoint=verdict.endpoint,
        outcome=outcome,
        why="the evidence behind its verdict has expired" if expired else said,
        attempt=verdict.attempt,
        reasons=verdict.reasons,
        n_needed=verdict.n_needed,
        valid_until=verdict.valid_until,
        verdict=verdict.id,
    )


def outcome(head: Run, model: str, verdicts: Sequence[Judged], failed: Sequence[StepLine]) -> tuple[Outcome, str]:
    """The outcome of a change and its reason. Nothing that is missing counts as clear (law 3)."""
    if failed:
        return "stop", f"step {', '.join(step.name for step in failed[:3])} failed"
    if head.status in ("failed", "interrupted"):
        return "stop", f"the run {'failed' if head.status == 'failed' else 'was interrupted'}"
    if head.status != "finished":
        return "unproven", "the run goes on"
    if not model:
        return "unproven", "no model came of this run, so there is nothing that could be proven"
    if not verdicts:
        return "unproven", f"nobody has proven {model} yet"
    worst = min(verdicts, key=lambda one: SEVERITY[one.outcome])
    return worst.outcome, f"{worst.endpoint}: {worst.why}" if len(verdicts) > 1 else worst.why


def judgement(lower: float | None, upper: float | None) -> Judgement:
    """What an interval of a gain says."""
    if lower is None or upper is None:
        return ""
    return "better" if lower > 0 else "worse" if upper < 0 else "not distinguishable"
