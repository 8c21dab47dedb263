"""Everything that can be asked of a workspace, one function each. The table itself is in `calls`."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from stellwerk.core import canonical
from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.data.model import Contract, DatasetVersion, TableDiff
from stellwerk.evidence.model import GateSet
from stellwerk.evidence.shelves import GATES
from stellwerk.governance.comparing import Comparison, Duel
from stellwerk.governance.comparing import compare as compare_models
from stellwerk.governance.dossier import Dossier
from stellwerk.governance.dossier import dossier as make_dossier
from stellwerk.governance.model import Board, RunPage, Trace
from stellwerk.governance.story import StoryLine
from stellwerk.governance.story import story as tell_story
from stellwerk.ledger import documents
from stellwerk.models.model import Alias, ModelVersion, Signature
from stellwerk.monitoring.model import Assessment, Outcome, OutcomeReport
from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
from stellwerk.reviews.model import Case
from stellwerk.store import service as trees
from stellwerk.store.model import Damage
from stellwerk.tracking.model import Cost, Run, Status, StepMemory
from stellwerk.workspace import checking, frames, tables, viewing, watching
from stellwerk.workspace.calls import operation
from stellwerk.workspace.checking import BookReport
from stellwerk.workspace.layout import process_alive
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.watching import Renewal

# Data


@operation("data.add", "data:write", changes=True)
def add_data(
    rooms: Rooms, name: str, blob: Digest, partition: str = "all", source: str = "", replace: bool = False
) -> DatasetVersion:
    """Make the next version of a dataset from Parquet bytes that are in the store."""
    return tables.add(rooms, name, blob, partition=partition, source=source, replace=replace)


@operation("data.list", "data:read")
def list_data(rooms: Rooms) -> tuple[DatasetVersion, ...]:
    """All dataset versions, by name."""
    return tuple(rooms.datasets.list())


@operation("data.get", "data:read")
def get_data(rooms: Rooms, name: str, version: int | None = None) -> DatasetVersion:
    """A dataset version; the newest by default."""
    return rooms.datasets.get(name, version)


@operation("data.diff", "data:read")
def diff_data(rooms: Rooms, name: str, old: int, new: int) -> TableDiff:
    """What changed between two versions of a dataset, down to rows and columns."""
    return tables.diff(rooms, name, old, new)


@operation("data.table", "data:write", changes=True)
def table_of_data(rooms: Rooms, name: str, version: int | None = None) -> Digest:
    """The Parquet blob with all rows of a dataset version, made once and kept."""
    return tables.materialise(rooms, name, version)


@operation("contracts.get", "data:read")
def get_contract(rooms: Rooms, name: str) -> Contract | None:
    """The newest contract of a dataset, if any."""
    return rooms.datasets.contract(name)


@operation("contracts.confirm", "data:write", changes=True)
def confirm_contract(
    rooms: Rooms,
    name: str,
    changes: dict[str, dict[str, Any]] | None = None,
    table: dict[str, Any] | None = None,
) -> Contract:
    """Confirm the newest contract of a dataset, with changes to its columns and to the table as a whole."""
    return tables.confirm(rooms, name, changes or {}, table or {})


# Runs


@operation("runs.start", "runs:write", changes=True)
def start_run(
    rooms: Rooms,
    experiment: str,
    name: str,
    kind: str,
    parent: str | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    inputs: dict[str, Digest] | None = None,
    code: Digest | None = None,
    environment: Digest | None = None,
    step_key: Digest | None = None,
    process: str | None = None,
) -> Run:
    """Begin a run."""
    _must_be_kept(rooms, (inputs or {}).values())
    return rooms.runs.start(
        experiment=experiment,
        name=name,
        kind=kind,
        parent=parent,
        params=params or {},
        tags=tags or {},
        inputs=inputs or {},
        code=code,
        environment=environment,
        step_key=step_key,
        process=process,
    )


@operation("runs.finish", "runs:write", changes=True)
def finish_run(
    rooms: Rooms,
    run: str,
    status: Status = "finished",
    outputs: dict[str, Digest] | None = None,
    metrics: dict[str, float] | None = None,
    cost: Cost | None = None,
    error: str = "",
    log: Digest | None = None,
    memory: StepMemory | None = None,
) -> Run:
    """End a run once, and remember its result under its step key in the same transaction."""
    _must_be_kept(rooms, [*(outputs or {}).values(), *(memory.outputs.values() if memory else ())])
    if memory is not None:
        known = rooms.runs.get(run)
        same = memory.run == run and memory.step_key == known.step_key
        if not same or not set(memory.outputs.values()) <= set((outputs or {}).values()):
            raise Refused(
                "a run may only be remembered under its own step key, by its own outputs", code="foreign-memory"
            )
    return rooms.runs.finish(
        run, status=status, outputs=outputs, metrics=metrics, cost=cost, error=error, log=log, memory=memory
    )


@operation("runs.record", "runs:write", changes=True)
def record_run(rooms: Rooms, run: Run) -> Run:
    """Note a run that needed no execution, such as a step found in the cache."""
    _must_be_kept(rooms, [*run.inputs.values(), *run.outputs.values()])
    facts = {
        field: getattr(run, field)
        for field in ("parent", "params", "metrics", "tags", "inputs", "outputs", "code", "environment", "step_key",
                      "cached", "cost", "log")
    }  # fmt: skip
    return rooms.runs.record(
        experiment=run.experiment, name=run.name, kind=run.kind, started_at=run.started_at, **facts
    )


@operation("runs.close", "runs:write", changes=True)
def close_runs(rooms: Rooms) -> tuple[Run, ...]:
    """Mark runs as interrupted whose process on this machine is gone."""
    return tuple(rooms.runs.close_interrupted(process_alive))


@operation("runs.search", "runs:read")
def search_runs(
    rooms: Rooms, experiment: str | None = None, parent: str | None = None, limit: int = 100
) -> tuple[Run, ...]:
    """Runs, newest first."""
    return tuple(rooms.runs.search(experiment=experiment, parent=parent, limit=limit))


@operation("runs.get", "runs:read")
def get_run(rooms: Rooms, run: str) -> Run:
    """One run."""
    return rooms.runs.get(run)


@operation("steps.remembered", "runs:read")
def remembered_step(rooms: Rooms, step_key: Digest) -> StepMemory | None:
    """The result of a step under its key, if any machine has computed it."""
    found = rooms.runs.remembered(step_key)
    return found if found and all(rooms.blobs.has(digest) for digest in found.outputs.values()) else None


# Models and gate sets


@operation("models.register", "models:write", changes=True)
def register_model(
    rooms: Rooms, name: str, digest: Digest, signature: Signature, layout: str, run: str, seed: int | None = None
) -> ModelVersion:
    """Give a model's file tree the next version of a name."""
    files = trees.files(rooms.blobs, digest)
    _must_be_kept(rooms, files.values())
    _must_be_its_own(rooms, files, signature)
    return rooms.registry.register(name, digest, signature, layout=layout, run_id=run, seed=seed)


def _must_be_its_own(rooms: Rooms, files: dict[str, Digest], signature: Signature) -> None:
    """What is registered is what the model's own document says: serving and proof must not read two signatures."""
    if "model.json" not in files:
        return  # files of another format: never clear, because nothing here could load them
    try:
        document = canonical.loads(rooms.blobs.get(files["model.json"]))
    except Invalid:
        return  # not a document of ours: kept as it is, and stopped where its files are judged
    found = document.get("signature") if isinstance(document, dict) else None
    if found is not None and documents.load(Signature, found) != signature:
        raise Invalid("the signature is not the one in the model's own files", code="wrong-signature")


@operation("models.list", "models:read")
def list_models(rooms: Rooms) -> tuple[ModelVersion, ...]:
    """All model versions, by name."""
    return tuple(rooms.registry.list())


@operation("models.get", "models:read")
def get_model(rooms: Rooms, model: str) -> ModelVersion:
    """The model version that `name`, `name@3`, `name@alias` or a digest means."""
    return rooms.registry.find(model)


@operation("models.alias", "models:write", changes=True)
def alias_model(rooms: Rooms, name: str, alias: str, version: int) -> Alias:
    """Point an alias at a version."""
    return rooms.registry.alias(name, alias, version)


@operation("models.compare", "models:read")
def compare(rooms: Rooms, first: str, second: str) -> Comparison:
    """What two model versions share, where they differ, and what paired proofs say."""
    return compare_models(rooms.book, rooms.runs, rooms.registry.find(first), rooms.registry.find(second))


@operation("gates.seal", "evidence:write", changes=True)
def seal_gate(
    rooms: Rooms,
    name: str,
    features: str,
    labels: str,
    rows: int,
    target: str,
    task: Literal["binary", "multiclass", "regression"],
) -> GateSet:
    """Seal gate cases: Parquet of features and labels, each as base64."""
    try:
        cases, sealed = (base64.b64decode(text, validate=True) for text in (features, labels))
    except ValueError as cause:
        raise Invalid(f"features and labels must be base64: {cause}", code="invalid-arguments") from cause
    with rooms.book.read() as reader:
        known = [gate for gate in GATES.select(reader) if gate.name == name or gate.target == target]
    older = (frames.read(rooms.blobs.get(gate.features)) for gate in known)
    return rooms.gates.seal(
        name=name,
        features=cases,
        labels=sealed,
        rows=rows,
        target=target,
        task=task,
        marks=frames.marks(frames.read(cases), older),
    )


# Releases


@operation("endpoints.declare", "workspace:admin", changes=True)
def declare_endpoint(rooms: Rooms, endpoint: EndpointSpec) -> EndpointSpec:
    """Make an endpoint's declaration known."""
    return rooms.interlocking.declare(endpoint)


@operation("endpoints.list", "releases:read")
def list_endpoints(rooms: Rooms) -> tuple[EndpointSpec, ...]:
    """All declared endpoints."""
    return tuple(rooms.interlocking.endpoints())


@operation("endpoints.signal", "releases:read")
def signal(rooms: Rooms, endpoint: str) -> SignalState:
    """What an endpoint's signal shows, and why."""
    return viewing.signal(rooms, endpoint)


@operation("releases.prove", "evidence:write", changes=True)
def prove(rooms: Rooms, endpoint: str, model: str = "", reason: str = "") -> Verdict:
    """Compute the verdict about a model on an endpoint under a plan frozen beforehand."""
    return watching.prove(rooms, endpoint, model, reason)


@operation("releases.grant", "releases:write", changes=True)
def release(rooms: Rooms, endpoint: str) -> Release:
    """Turn the newest verdict of an endpoint into a release; refused unless it is clear."""
    return watching.release(rooms, endpoint)


@operation("releases.renew", "releases:write", changes=True)
def renew(rooms: Rooms, endpoint: str) -> Renewal:
    """Extend the lease if the labels prove fitness; otherwise it runs on to its end."""
    return watching.renew(rooms, endpoint)


@operation("releases.stop", "releases:write", changes=True)
def stop(rooms: Rooms, endpoint: str, why: str) -> tuple[Release, ...]:
    """End the active release now; answers it, and the one that runs instead where the fallback is `previous`."""
    stopped, instead = rooms.interlocking.stop(endpoint, why)
    rooms.checkpoint()
    return (stopped,) if instead is None else (stopped, instead)


@operation("releases.list", "releases:read")
def list_releases(rooms: Rooms, endpoint: str) -> tuple[Release, ...]:
    """All releases of an endpoint, oldest first."""
    return tuple(rooms.interlocking.history(endpoint))


@operation("releases.token", "predict")
def lease_token(rooms: Rooms, endpoint: str) -> dict[str, Any] | None:
    """The signed lease token of an endpoint's release, or nothing: then the signal is stop."""
    return rooms.interlocking.token(endpoint, rooms.layout.workspace)


# Production


@operation("outcomes.record", "outcomes:write", changes=True)
def record_outcomes(rooms: Rooms, endpoint: str, outcomes: tuple[Outcome, ...]) -> OutcomeReport:
    """Say what became true of predictions."""
    watching.check_labels(rooms, endpoint, outcomes)
    return rooms.monitoring.record_outcomes(endpoint, outcomes)


@operation("endpoints.assess", "evidence:write", changes=True)
def assess(rooms: Rooms, endpoint: str) -> Assessment:
    """Seal the prediction log, join it with the labels, run all trackers, and set caution where they say so."""
    return watching.assess(rooms, endpoint)


@operation("models.duel", "evidence:write", changes=True)
def duel(rooms: Rooms, endpoint: str, first: str, second: str, since: datetime, until: datetime) -> Duel:
    """Two models on the same production cases, with a paired bound; signed as evidence."""
    from stellwerk.workspace.dueling import duel as compare_on_log  # numpy: only those who compare pay for it

    return compare_on_log(rooms, endpoint, first, second, since, until)


@operation("cases.list", "cases:read")
def list_cases(
    rooms: Rooms, status: Literal["open", "decided"] = "open", endpoint: str | None = None, limit: int = 50
) -> tuple[Case, ...]:
    """Cases, the most urgent first."""
    return tuple(rooms.inbox.list(status=status, endpoint=endpoint, limit=limit))


@operation("cases.decide", "cases:decide", changes=True)
def decide_case(rooms: Rooms, case: str, decision: str, reason: str = "") -> Case:
    """Decide a case."""
    return rooms.inbox.decide(case, decision, reason)


# Views


@operation("views.board", "releases:read")
def board(rooms: Rooms) -> Board:
    """Every endpoint with its signal, lease, quality and next step."""
    return viewing.board(rooms)


@operation("views.run", "runs:read")
def run_page(rooms: Rooms, run: str) -> RunPage:
    """One run with everything that is known of it."""
    return viewing.run_page(rooms, run)


@operation("views.trace", "ledger:read")
def trace(rooms: Rooms, subject: str, down: bool = False) -> Trace:
    """From a prediction, model, dataset, run, release or digest to its causes, or to everything it affects."""
    tracer = viewing.tracer(rooms)
    return tracer.down(subject) if down else tracer.up(subject)


@operation("views.story", "ledger:read")
def story(rooms: Rooms, endpoint: str) -> tuple[StoryLine, ...]:
    """What happened to an endpoint, when, with which numbers; all read from the ledger."""
    return tell_story(rooms.book, endpoint)


@operation("views.dossier", "ledger:read")
def dossier(rooms: Rooms, release: str) -> Dossier:
    """Everything behind a release, as a document."""
    return make_dossier(rooms.book, rooms.runs, release, _now(rooms.clock))


@operation("ledger.verify", "ledger:read")
def verify(rooms: Rooms) -> BookReport:
    """Check every entry, the tree and all checkpoints by independent code."""
    return checking.verify(rooms)


@operation("ledger.fsck", "ledger:read")
def fsck(rooms: Rooms) -> tuple[Damage, ...]:
    """Check every blob and every reference to one by independent code. Nothing is changed."""
    return tuple(checking.fsck(rooms))


def _must_be_kept(rooms: Rooms, digests: Iterable[Digest]) -> None:
    """The bytes come first: the book never names what the store does not hold."""
    for digest in digests:
        if not rooms.blobs.has(digest):
            raise NotFound(f"the store holds no {digest}", hint="put the bytes before what refers to them")


def _now(clock: Clock) -> Any:
    return clock.now()
