"""Where a model came from: walking the runs behind its digest down to dataset versions, as check results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stellwerk.core.digest import Digest, short
from stellwerk.evidence.model import CheckOutcome, CheckResult
from stellwerk.tracking.model import ORIGIN_WORKSPACE, Run

MOST_NAMED = 5
"""Steps that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What stands behind a digest."""

    runs: tuple[Run, ...]
    datasets: tuple[Digest, ...]
    loose: tuple[Digest, ...]
    """Inputs that no run made and no dataset version names."""


def origin(digest: Digest, makers: Callable[[Digest], Sequence[Run]], is_dataset: Callable[[Digest], bool]) -> Origin:
    """Walk from an artifact to everything it was made from."""
    runs: dict[str, Run] = {}
    datasets: list[Digest] = []
    loose: list[Digest] = []
    waiting, seen = [digest], {digest}
    while waiting:
        current = waiting.pop()
        if is_dataset(current):
            datasets.append(current)
            continue
        made_by = first_makers(makers(current), current)
        if not made_by:
            loose.append(current)
            continue
        run = made_by[0]
        runs[run.id] = run
        fresh = [item for item in run.inputs.values() if item not in seen]
        seen.update(fresh)
        waiting += fresh
    return Origin(runs=tuple(runs.values()), datasets=tuple(datasets), loose=tuple(loose))


def first_makers(makers: Sequence[Run], digest: Digest) -> list[Run]:
    """Runs that really made an artifact: not those that found it in the cache or only passed it on."""
    real = [run for run in makers if not run.cached] or list(makers)
    return [run for run in real if digest not in run.inputs.values()] or real


def provenance(model: Digest, found: Origin, has_blob: Callable[[Digest], bool]) -> tuple[CheckResult, ...]:
    """Whether every run is complete, every input known and every byte still there."""
    complete = [run for run in found.runs if run.status == "finished" and run.code and run.environment]
    partial = [run.name for run in found.runs if run not in complete]
    digests = {
        model,
        *found.datasets,
        *(d for run in found.runs for d in (*run.inputs.values(), *run.outputs.values())),
    }
    missing = [digest for digest in digests if not has_blob(digest)]
    taken = taken_elsewhere(found)
    return (
        _requirement(
            "provenance:runs",
            "pass" if found.runs and not partial else "unproven",
            f"{len(complete)} runs with code and environment digest behind the model"
            + (f"; incomplete: {', '.join(sorted(set(partial)))}" if partial else "")
            + (f"; {len(taken)} of them with results that another workspace gave" if taken else "")
            + ("" if found.runs else "; no run made these bytes"),
        ),
        _requirement(
            "provenance:data",
            "pass" if found.datasets and not found.loose else "unproven",
            f"{len(found.datasets)} dataset versions behind the model"
            + (f"; {len(found.loose)} inputs of unknown origin" if found.loose else ""),
        ),
        _requirement(
            "provenance:bytes",
            "fail" if missing else "pass",
            f"{len(missing)} artifacts are missing from the store, first {short(missing[0])}…"
            if missing
            else f"all {len(digests)} artifacts are in the store",
        ),
    )


def own_results(found: Origin) -> tuple[CheckResult, ...]:
    """Whether every step behind a model was computed here: what another workspace gave is believed and not proven."""
    taken = sorted({f"{run.name} from {run.tags[ORIGIN_WORKSPACE]}" for run in taken_elsewhere(found)})
    return (
        _requirement(
            "own-results",
            "fail" if taken else "pass" if found.runs else "unproven",
            f"results of another workspace stand behind the model: {', '.join(taken)}"
            if taken
            else f"all {len(found.runs)} runs behind the model were of this workspace",
        ),
    )


def step_of(kind: str, routes: Iterable[Sequence[Run]]) -> CheckResult:
    """Whether steps of a kind ran for a model: the newest route that has any decides, and they must all have finished.

    Args:
        routes: Its steps of that kind: of every pipeline run that made or found the model, the newest run first, and
            at last what stands behind the model itself.
    """
    name, steps = f"step:{kind}", next((route for route in routes if route), ())
    names = ", ".join(sorted({run.name for run in steps})[:MOST_NAMED])
    bad = [run for run in steps if run.status in ("failed", "interrupted")]
    going = [run for run in steps if run.status != "finished" and run not in bad]
    if bad:
        first = bad[0]
        return _requirement(name, "fail", f"step {first.name} of the kind {kind!r} {first.status} (run {first.id})")
    if going:
        return _requirement(name, "unproven", f"step {going[0].name} of the kind {kind!r} has not ended yet")
    if not steps:
        return _requirement(name, "unproven", f"no step of the kind {kind!r} ran for the model or stands behind it")
    return _requirement(name, "pass", f"{len(steps)} steps of the kind {kind!r} finished: {names}")


def taken_elsewhere(found: Origin) -> tuple[Run, ...]:
    """The runs whose results another workspace gave."""
    return tuple(run for run in found.runs if ORIGIN_WORKSPACE in run.tags)


def _requirement(name: str, outcome: CheckOutcome, text: str) -> CheckResult:
    return CheckResult(name=name, kind="requirement", outcome=outcome, text=text)
