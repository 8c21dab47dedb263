"""Gathering what a change comes to: its run, the run it is measured against, and everything that differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, Invalid, NotFound, StellwerkError
from stellwerk.data.model import DatasetVersion
from stellwerk.data.shelves import CONTRACTS
from stellwerk.evidence.metrics import METRICS
from stellwerk.evidence.model import CheckResult
from stellwerk.evidence.provenance import origin
from stellwerk.evidence.shelves import EVIDENCE
from stellwerk.governance.change import rules
from stellwerk.governance.change.model import Change, CodeChange, DataChange, Judged, Measured, Pairing, Side
from stellwerk.models.model import ModelVersion
from stellwerk.releases.shelves import ENDPOINTS, VERDICTS
from stellwerk.tracking import packages
from stellwerk.tracking.model import Run
from stellwerk.workspace import pairing, tables
from stellwerk.workspace.revision import BRANCH, COMMIT, DIRTY
from stellwerk.workspace.rooms import Rooms

RUN = re.compile(r"[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{32}")
"""How ids of runs look."""
MOST_STEPS = 1000
LOG_TAIL = 3000
"""Characters of the log of a failed step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A run with everything that hangs on it."""

    run: Run
    children: tuple[Run, ...]
    plan: Mapping[str, Any]
    model: ModelVersion | None
    pipeline: str
    asked: str = ""

    @property
    def nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self.plan.get("nodes", []) if isinstance(node, dict)]

    def side(self) -> Side:
        """What is shown of it."""
        run, model = self.run, self.model
        return Side(
            run=run.id,
            pipeline=self.pipeline,
            status=run.status,
            started_at=run.started_at,
            asked=self.asked,
            commit=run.tags.get(COMMIT, ""),
            branch=run.tags.get(BRANCH, ""),
            dirty=run.tags.get(DIRTY) == "true",
            model=f"{model.name}@{model.version}" if model else "",
            digest=(model.digest or "") if model else "",
            error=run.error,
        )


def change(rooms: Rooms, *, run: str, base: str, commit: str, branch: str, local: bool) -> Change:
    """What a run changes.

    Args:
        run: Its id; without one the newest run of a pipeline of the commit, where none is known of the branch, else
            of all.
        base: A branch, a run or a model version to compare with; may be empty.
    """
    head = _stand(rooms, _head(rooms, run, commit, branch))
    other, why = _base(rooms, base, head)
    verdicts = _verdicts(rooms, head.model)
    steps = rules.steps(
        head.children, head.nodes, _logs(rooms, head.children), finished=head.run.status == "finished"
    )
    failed = [step for step in steps if step.status == "failed"]
    side = head.side()
    outcome, reason = rules.outcome(head.run, side.model, verdicts, failed)
    found = Change(
        head=side,
        base=other.side() if other else None,
        outcome=outcome,
        why=reason,
        made_at=rooms.clock.now(),
        no_base=why,
        next=_next(rooms, head, verdicts, failed[0].key if failed else ""),
        verdicts=verdicts,
        steps=steps,
        metrics=_alone(head, other),
    )
    return found if other is None else _beside(rooms, found, head, other, local=local)


def _beside(rooms: Rooms, found: Change, head: Standing, base: Standing, *, local: bool) -> Change:
    """The change with what only two runs together can say."""
    from dataclasses import replace

    answered = _paired(rooms, head, base)
    named = {one.name: one for one in answered.metrics}
    return replace(
        found,
        metrics=(*answered.metrics, *(one for one in found.metrics if one.name not in named)),
        pairing=answered.pairing,
        curves=answered.curves,
        confusions=answered.confusions,
        paired=_proven(rooms, head.model, base.model),
        params=rules.changed(base.run.params, head.run.params),
        inputs=_inputs(base.model, head.model),
        data=_data(rooms, base, head, local=local),
        code=_code(rooms, base, head),
        environment=rules.changed(*(_packages(rooms, side.run) for side in (base, head))),
    )


# Which runs


def _head(rooms: Rooms, run: str, commit: str, branch: str) -> Run:
    if run:
        return rooms.runs.get(run)
    if commit or branch:
        # Where the commit is known, a run of another one would say of it what it never did.
        found = _tagged(rooms, COMMIT, commit, "") if commit else _tagged(rooms, BRANCH, branch, "")
        if found:
            return found[0]
        raise NotFound(
            f"no run of {f'commit {commit[:12]}' if commit else f'branch {branch}'} is known",
            code="no-run-of-commit",
            hint="`stellwerk run` executes the pipeline; --run names a run of another commit",
        )
    newest = rooms.runs.search(where="parent IS NULL AND kind = 'pipeline'", limit=1)
    if not newest:
        raise NotFound("no pipeline ran here yet", code="no-run-of-commit", hint="`stellwerk run` executes one")
    return newest[0]


def _tagged(rooms: Rooms, tag: str, value: str, experiment: str, status: str = "") -> list[Run]:
    """The newest run of a pipeline with a tag."""
    quote = "'" if "'" not in value else '"'
    if quote in value or "`" in tag:
        return []
    where = f"parent IS NULL AND kind = 'pipeline' AND tags.`{tag}` = {quote}{value}{quote}"
    where += f" AND status = '{status}'" if status else ""
    return rooms.runs.search(where=where, experiment=experiment or None, limit=1)


def _base(rooms: Rooms, base: str, head: Standing) -> tuple[Standing | None, str]:
    """What is compared with, or why nothing is."""
    if not base:
        return None, "no branch, run or model was named to compare with"
    if RUN.fullmatch(base):
        return _stand(rooms, rooms.runs.get(base), base), ""
    if "@" in base:
        model = rooms.registry.find(base)
        return _stand(rooms, _run_of(rooms, model), base, model), ""
    found = [one for one in _tagged(rooms, BRANCH, base, head.run.experiment, "finished") if one.id != head.run.id]
    if found:
        return _stand(rooms, found[0], base), ""
    return None, f"no finished run of {head.pipeline} on branch {base} is known"


def _run_of(rooms: Rooms, model: ModelVersion) -> Run:
    """The pipeline run behind a model version, or the run that registered it."""
    if not model.run_id:
        raise Invalid(f"no run stands behind {model.name}@{model.version}", code="no-run-of-model")
    run = rooms.runs.get(model.run_id)
    return rooms.runs.get(run.parent) if run.parent else run


def _stand(rooms: Rooms, run: Run, asked: str = "", model: ModelVersion | None = None) -> Standing:
    children = tuple(rooms.runs.search(parent=run.id, limit=MOST_STEPS))
    digest = run.outputs.get("model")
    if model is None and digest is not None:
        try:
            model = rooms.registry.by_digest(digest)
        except NotFound:
            model = None
    plan = _document(rooms, run.tags.get("plan", ""))
    try:
        pipeline = rooms.experiments.get(run.experiment).name
    except NotFound:
        pipeline = run.name
    return Standing(run=run, children=children, plan=plan, model=model, pipeline=pipeline, asked=asked)


def _document(rooms: Rooms, digest: str) -> Mapping[str, Any]:
    if not digest.startswith("sha256:"):
        return {}
    try:
        found = json.loads(rooms.blobs.get(Digest(digest)))
    except (StellwerkError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# What is measured


def _alone(head: Standing, base: Standing | None) -> tuple[Measured, ...]:
    """What both runs say of themselves, each on its own rows: no interval follows from that."""
    mine, theirs = _metrics(head), _metrics(base) if base else {}
    return tuple(_without_interval(name, mine.get(name), theirs.get(name)) for name in {**mine, **theirs})


def _without_interval(name: str, after: float | None, before: float | None) -> Measured:
    known = METRICS.get(name)
    larger = known.larger_is_better if known else None
    gain = None if after is None or before is None else (before - after if larger is False else after - before)
    return Measured(
        name=name,
        title=known.title if known else name,
        after=after,
        before=before,
        gain=gain,
        larger_is_better=larger,
    )


def _metrics(standing: Standing) -> dict[str, float]:
    """What the pipeline measured, and what its steps did beside it."""
    found = dict(standing.run.metrics)
    for child in sorted(standing.children, key=lambda one: one.id):
        for name, value in child.metrics.items():
            found.setdefault(name, value)
    return {name: value for name, value in found.items() if not name.startswith("system/")}


def _paired(rooms: Rooms, head: Standing, base: Standing) -> pairing.Answered:
    sides = [_evaluated(rooms, one) for one in (head, base)]
    why = [
        f"{name} {said}"
        for name, said in zip(("this run", "the other run"), sides, strict=True)
        if isinstance(said, str)
    ]
    if isinstance(sides[0], str) or isinstance(sides[1], str):
        return pairing.Answered(pairing=Pairing(why_not=" and ".join(why)))
    with rooms.book.read() as reader:
        declared = ENDPOINTS.find(reader, sides[0].model.name)
    return pairing.pair(rooms, sides[0], sides[1], declared.groups if declared else None)


def _evaluated(rooms: Rooms, standing: Standing) -> pairing.Evaluated | str:
    """The model of a run with the rows it was chosen on, or what is missing."""
    if standing.model is None:
        return "made no model"
    nodes = {str(node.get("id")) for node in standing.nodes if node.get("function") == "builtin:evaluate"}
    steps = [run for run in standing.children if rules.node(run.name) in nodes and "table" in run.inputs]
    if not steps:
        return "did not evaluate its model with `sw.evaluate`"
    step = max(steps, key=lambda run: run.id)
    if not rooms.blobs.has(step.inputs["table"]):
        return "no longer has its selection rows"
    return pairing.Evaluated(model=standing.model, table=step.inputs["table"], metrics=standing.run.metrics)


def _proven(rooms: Rooms, head: ModelVersion | None, base: ModelVersion | None) -> tuple[Measured, ...]:
    """What a proof found by asking both the same sealed gate cases, one finding for each metric."""
    if head is None or base is None or head.digest is None or base.digest is None:
        return ()
    found: dict[str, CheckResult] = {}
    with rooms.book.read() as reader:
        for evidence in EVIDENCE.select(reader, subject=head.digest, kind="quality", order="observed_at"):
            if evidence.facts.get("champion") == base.digest:
                paired = (one for one in evidence.results if one.kind in ("guardrail", "success") and not one.slice)
                found |= {one.metric: one for one in paired if one.metric in METRICS}
    return tuple(_of_gate(one) for one in found.values() if one.estimate is not None)


def _of_gate(one: CheckResult) -> Measured:
    return Measured(
        name=one.metric,
        title=METRICS[one.metric].title,
        after=None,
        gain=one.estimate,
        lower=one.lower,
        upper=one.upper,
        larger_is_better=True,  # gains of checks are above zero where it is better, whatever the metric
        judgement=rules.judgement(one.lower, one.upper),
        method=one.method,
        n=one.n,
    )


def _verdicts(rooms: Rooms, model: ModelVersion | None) -> tuple[Judged, ...]:
    """The newest verdict about a model on every endpoint where there is one."""
    if model is None or model.digest is None:
        return ()
    now = rooms.clock.now()
    with rooms.book.read() as reader:
        newest = {one.endpoint: one for one in VERDICTS.select(reader, model=model.digest, order="id")}
    return tuple(rules.judged(verdict, now) for _, verdict in sorted(newest.items()))


def _next(rooms: Rooms, head: Standing, verdicts: Sequence[Judged], failed: str) -> str:
    """The command that leads on."""
    if failed:
        return f"stellwerk step fetch {failed}"
    if head.model is None or any(one.outcome == "stop" for one in verdicts):
        return ""
    named = f"{head.model.name}@{head.model.version}"
    if verdicts:
        return next(
            (f"stellwerk prove {one.endpoint} --model {named}" for one in verdicts if one.outcome != "clear"), ""
        )
    with rooms.book.read() as reader:
        endpoints = [one.name for one in ENDPOINTS.select(reader)]
    if not endpoints:
        return ""  # nothing demands a proof yet
    endpoint = head.model.name if head.model.name in endpoints else endpoints[0]
    return f"stellwerk prove {endpoint} --model {named}"


# What differs


def _logs(rooms: Rooms, children: Sequence[Run]) -> dict[str, str]:
    found = {}
    for run in children:
        if run.status == "failed" and run.log is not None:
            try:
                found[run.id] = rooms.blobs.get(run.log)[-LOG_TAIL:].decode("utf-8", "replace")
            except (NotFound, Corrupt):
                continue  # `fsck` tells of it
    return found


def _inputs(before: ModelVersion | None, after: ModelVersion | None) -> tuple[str, ...]:
    """Columns that the model takes now, or no longer takes, or takes as something else."""
    if before is None or after is None or before.signature is None or after.signature is None:
        return ()
    old, new = ({column.name: column.kind for column in one.interface().inputs} for one in (before, after))
    lines = [f"- {name}: {old[name]}" for name in old if name not in new]
    lines += [f"+ {name}: {new[name]}" for name in new if name not in old]
    return (
        *lines,
        *(f"~ {name}: {old[name]} → {new[name]}" for name in old if name in new and old[name] != new[name]),
    )


def _data(rooms: Rooms, base: Standing, head: Standing, *, local: bool) -> tuple[DataChange, ...]:
    """Datasets whose version or whose contract differs."""
    before, after = (_datasets(rooms, side) for side in (base, head))
    promised, promises = (_contracts(rooms, side) for side in (base, head))
    if head.run.status != "finished":  # what it did not come to is not gone
        after, promises = {**before, **after}, {**promised, **promises}
    found = []
    for name in sorted({*before, *after, *promised, *promises}):
        old, new = before.get(name), after.get(name)
        lines, schema = ((), ()) if old == new else _versions(rooms, old, new, local=local)
        contract, changes = _promises(rooms, name, promised.get(name), promises.get(name))
        if old != new or contract:
            found.append(
                DataChange(
                    name=name,
                    before=str(old.version) if old else "",
                    after=str(new.version) if new else "",
                    lines=lines,
                    schema=schema,
                    contract=contract,
                    promises=changes,
                )
            )
    return tuple(found)


def _datasets(rooms: Rooms, standing: Standing) -> dict[str, DatasetVersion]:
    """The dataset versions that a run read, also those of a run that failed early."""
    found: dict[str, DatasetVersion] = {}
    read = {digest for child in standing.children for digest in child.inputs.values()}
    for digest in sorted(read):
        behind = origin(digest, rooms.runs.makers, lambda one: rooms.datasets.by_digest(one) is not None)
        for one in behind.datasets:
            version = rooms.datasets.by_digest(one)
            if version is not None and (version.name not in found or found[version.name].version < version.version):
                found[version.name] = version
    return found


def _versions(
    rooms: Rooms, old: DatasetVersion | None, new: DatasetVersion | None, *, local: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What differs between two versions, and what of that is their schema."""
    if old is None or new is None:
        one = old or new
        return ((f"{one.rows:,} rows",) if one else ()), ()
    try:
        diff = tables.diff(rooms, old, new, local=local)
    except StellwerkError as problem:
        return (f"cannot be compared: {problem.message}",), ()
    schema = (
        *(f"+ {name}" for name in diff.columns_added),
        *(f"- {name}" for name in diff.columns_removed),
        *(f"~ {name}: {was} → {now}" for name, was, now in diff.columns_retyped),
    )
    rows = f"{diff.rows_old:,} → {diff.rows_new:,} rows (+{diff.rows_added:,} −{diff.rows_removed:,})"
    return (rows,), schema


def _contracts(rooms: Rooms, standing: Standing) -> dict[str, int]:
    """The version of each contract that a run's tables had to fulfil: the newest in the book when the step began."""
    names = {str(node.get("id")) for node in standing.nodes if node.get("function") == "builtin:contract"}
    found: dict[str, int] = {}
    for run in standing.children:
        name = run.params.get("name")
        if rules.node(run.name) not in names or not isinstance(name, str):
            continue
        began = rooms.book.entries(subject=f"run:{run.id}", limit=1)
        until = began[0].sequence if began else 0
        made = [entry for entry in rooms.book.entries(kinds=["contract."]) if entry.sequence < until]
        versions = [entry.subject.rpartition("@") for entry in made if entry.subject.startswith(f"contract:{name}@")]
        if versions:
            found[name] = int(versions[-1][2])
    return found


def _promises(rooms: Rooms, name: str, old: int | None, new: int | None) -> tuple[str, tuple[str, ...]]:
    from stellwerk.data.contract import diff

    if old == new:
        return "", ()
    with rooms.book.read() as reader:
        sides = [None if one is None else CONTRACTS.find(reader, name, one) for one in (old, new)]
    lines = tuple(diff(sides[0], sides[1])) if sides[0] and sides[1] else ()
    return f"{old or '–'} → {new or '–'}", lines


def _code(rooms: Rooms, base: Standing, head: Standing) -> tuple[CodeChange, ...]:
    closures = [
        {rules.node(run.name): _closure(rooms, run.code) for run in side.children if run.code is not None}
        for side in (base, head)
    ]
    return rules.code(*closures)


def _closure(rooms: Rooms, digest: Digest) -> dict[str, Digest]:
    """The parts of a step's code; of a built-in step its own digest."""
    try:
        found = canonical.loads(rooms.blobs.get(digest))
    except StellwerkError:
        return {"code": digest}
    if not isinstance(found, list):
        return {"code": digest}
    return {str(part[0]): Digest(str(part[1])) for part in found if isinstance(part, list) and len(part) == 2}


def _packages(rooms: Rooms, run: Run) -> dict[str, str]:
    if run.environment is None:
        return {}
    try:
        return packages.of_lock(rooms.blobs.get(run.environment).decode("utf-8", "replace"))
    except StellwerkError:
        return {}
