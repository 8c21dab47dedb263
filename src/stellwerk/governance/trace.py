"""Walking the book: from one answer back to raw bytes, and from one dataset on to everything it affects.

Every digest on the way is re-read and re-hashed. What cannot be proven is said in plain sentences, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.clock import format_instant
from stellwerk.core.digest import Digest, parse, short
from stellwerk.core.errors import Corrupt, Invalid, NotFound, StellwerkError
from stellwerk.data.model import DatasetVersion
from stellwerk.data.shelves import DATASETS
from stellwerk.evidence.model import Plan
from stellwerk.evidence.provenance import first_makers
from stellwerk.evidence.shelves import EVIDENCE, GATES
from stellwerk.governance.model import Edge, Graph, Node, Trace
from stellwerk.ledger import documents, keys
from stellwerk.ledger.ports import Book, Verifier
from stellwerk.models.model import ModelVersion
from stellwerk.models.shelves import VERSIONS
from stellwerk.releases.model import Release, Verdict
from stellwerk.releases.shelves import RELEASES, VERDICTS
from stellwerk.store import service as trees
from stellwerk.store.ports import Blobs
from stellwerk.tracking.model import ORIGIN_RUN, ORIGIN_WORKSPACE, Run
from stellwerk.tracking.service import Runs
from stellwerk.triggers.shelves import FIRINGS
from stellwerk.triggers.tags import firing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer that was given, as the prediction log has it."""

    id: str
    endpoint: str
    release: str
    model: Digest
    at: str
    signal: str
    segment: Digest | None
    """The sealed segment that holds it; None while it is only in the open log."""
    inputs: dict[str, Any]
    answer: str
    steered: str


@dataclass
class _Walk:
    """What a walk has collected."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], Edge] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


class Tracer:
    """Reads rooms and blobs; changes nothing."""

    def __init__(
        self,
        *,
        book: Book,
        blobs: Blobs,
        runs: Runs,
        verifier: Verifier,
        keys: Callable[[str, Digest], Sequence[bytes]],
        answered: Callable[[str], Answered],
        segments: Callable[[str, str], Sequence[tuple[Digest, int]]],
    ) -> None:
        """Take what is read.

        Args:
            keys: (subject, statement) → the public keys of which one must have signed that statement.
            answered: Finds a prediction by id. Raises `NotFound`.
            segments: (endpoint, release) → sealed segments with the number of predictions that release gave there.
        """
        self._book, self._blobs, self._runs = book, blobs, runs
        self._verifier, self._keys = verifier, keys
        self._answered, self._segments = answered, segments

    def up(self, subject: str) -> Trace:
        """From a prediction id, `name@version`, run id, release id or digest to its causes."""
        walk = _Walk()
        kind, value = self._resolve(subject)
        if kind == "prediction":
            self._prediction(walk, value)
        elif kind == "release":
            self._release(walk, value)
        elif kind == "run":
            self._run(walk, value)
        else:
            self._artifact(walk, value)
        return _trace(walk, subject, "up")

    def down(self, subject: str) -> Trace:
        """From a dataset version, model, run or digest to everything made from it."""
        walk = _Walk()
        kind, value = self._resolve(subject)
        if kind == "prediction":
            raise Invalid("nothing is made from a prediction", code="invalid-subject", hint="leave out --down")
        starts = list(value.outputs.values()) if kind == "run" else [value.model if kind == "release" else value]
        waiting, seen = list(starts), set(starts)
        for start in starts:
            walk.nodes[start] = self._node(walk, start)
        while waiting:
            current = waiting.pop(0)
            for follower in self._followers(walk, current):
                if follower not in seen:
                    seen.add(follower)
                    waiting.append(follower)
        return _trace(walk, subject, "down")

    def _resolve(self, subject: str) -> tuple[str, Any]:
        if subject.startswith("sha256:"):
            return "digest", parse(subject)
        with self._book.read() as reader:
            name, _, version = subject.partition("@")
            if (version.isascii() and version.isdigit()) or not version:
                for shelf in (DATASETS, VERSIONS):
                    found = shelf.select(reader, name=name)
                    wanted = [item for item in found if not version or item.version == int(version)]
                    if wanted:
                        last = wanted[-1]
                        return "digest", last.bytes() if isinstance(last, ModelVersion) else last.digest
            release = RELEASES.find(reader, subject)
            if release is not None:
                return "release", release
        try:
            return "run", self._runs.get(subject)
        except NotFound:
            pass
        try:
            return "prediction", self._answered(subject)
        except Invalid as cause:
            raise NotFound(
                f"nothing is called {subject[:80]!r}",
                hint="a prediction id, name@version, run id, release id or digest",
            ) from cause

    def _prediction(self, walk: _Walk, found: Answered) -> None:
        node = f"prediction:{found.id}"
        walk.facts += [
            ("prediction", found.id),
            ("endpoint", found.endpoint),
            ("answered at", found.at),
            ("answer", found.answer),
            ("signal then", found.signal),
            *((f"asked {name}", str(value)) for name, value in found.inputs.items()),
        ]
        walk.facts += [("steered", found.steered)] if found.steered else []
        walk.nodes[node] = Node(id=node, kind="prediction", title=found.id, detail=f"{found.answer} at {found.at}")
        if found.segment is None:
            walk.unproven.append("The prediction is in the open log, which is not yet sealed into the ledger.")
        else:
            walk.nodes[found.segment] = self._checked(walk, found.segment, "segment", "sealed prediction log")
            _edge(walk, found.segment, node, "holds")
        with self._book.read() as reader:
            release = RELEASES.find(reader, found.release)
        if release is None:
            walk.unproven.append(f"The ledger has no release {found.release}.")
            return
        if release.model != found.model:
            walk.failed.append("The prediction names another model than its release permits.")
        self._release(walk, release)
        _edge(walk, f"release:{release.id}", node, "permitted")
        _edge(walk, release.model, node, "computed")

    def _release(self, walk: _Walk, release: Release) -> None:
        node = f"release:{release.id}"
        with self._book.read() as reader:
            verdict = VERDICTS.get(reader, release.verdict)
        told = {**_granted(release), "verdict": documents.dump(verdict)}
        title = f"{release.model_name}@{release.model_version}"
        walk.nodes[node] = replace(
            self._signed(walk, node, release.statement, "release", title, told),
            id=node,
            detail=f"{release.endpoint}: granted {format_instant(release.granted_at)[:16]} by {release.granted_by}, "
            f"until {format_instant(release.expires_at)[:16]}",
        )
        self._verdict(walk, verdict)
        _edge(walk, f"verdict:{verdict.id}", node, "permits")
        self._artifact(walk, release.model)
        _edge(walk, release.model, node, "released")

    def _verdict(self, walk: _Walk, verdict: Verdict) -> None:
        node = f"verdict:{verdict.id}"
        passed = sum(reason.outcome == "pass" for reason in verdict.reasons)
        walk.nodes[node] = Node(
            id=node,
            kind="verdict",
            title=verdict.outcome,
            detail=f"attempt {verdict.attempt}, {passed} of {len(verdict.reasons)} checks passed",
        )
        walk.nodes[verdict.plan] = self._checked(walk, verdict.plan, "plan", f"plan for {verdict.endpoint}")
        _edge(walk, verdict.plan, node, "judged under")
        with self._book.read() as reader:
            evidence = [item for item in EVIDENCE.select(reader, subject=verdict.model) if item.statement]
        for item in evidence:
            if item.statement in verdict.evidence and item.statement is not None:
                told = {key: value for key, value in documents.dump(item).items() if key != "statement"}
                about = f"model:{item.subject}"
                walk.nodes[item.statement] = self._signed(walk, about, item.statement, "evidence", item.kind, told)
                _edge(walk, item.statement, node, "proves")
        self._gate(walk, verdict)

    def _gate(self, walk: _Walk, verdict: Verdict) -> None:
        try:
            plan = documents.load(Plan, canonical.loads(self._blobs.get(verdict.plan)))
        except StellwerkError as problem:
            walk.failed.append(f"The plan cannot be read: {problem}")
            return
        with self._book.read() as reader:
            gate = GATES.get(reader, plan.gate, plan.gate_version)
        walk.nodes[gate.labels] = replace(
            self._checked(walk, gate.labels, "gate", f"{gate.name}@{gate.version}"),
            detail=f"{gate.rows:,} sealed cases; labels stay encrypted",
        )
        _edge(walk, gate.labels, verdict.plan, "opened by")
        self._artifact(walk, gate.features)
        _edge(walk, gate.features, gate.labels, "cases")

    def _artifact(self, walk: _Walk, digest: Digest) -> None:
        """An artifact and everything it was made from."""
        if digest in walk.nodes:
            return
        walk.nodes[digest] = self._node(walk, digest)
        dataset = self._dataset(digest)
        if dataset is not None:
            self._copied(walk, dataset)
            for name, part in self._parts(walk, dataset).items():
                # The table of a version of one part is that part: drawing it twice would close a circle.
                if part not in walk.nodes:
                    walk.nodes[part] = self._checked(walk, part, "file", name)
                    _edge(walk, part, digest, "part of")
            return
        real = first_makers(self._runs.makers(digest), digest)
        if not real:
            walk.unproven.append(f"No run and no dataset version made {short(digest)}…; its origin is unknown.")
            return
        self._run(walk, real[0])
        _edge(walk, f"run:{real[0].id}", digest, "made")

    def _parts(self, walk: _Walk, dataset: DatasetVersion) -> dict[str, Digest]:
        """What the store holds of a dataset version; of one that lives elsewhere, the pin is all."""
        return {} if dataset.kind == "reference" else self._files(walk, dataset.digest)

    def _copied(self, walk: _Walk, dataset: DatasetVersion) -> None:
        """From rows that were copied into the store to the pin of the source that they came from."""
        before = self._dataset(dataset.parent) if dataset.parent else None
        if (
            before is not None
            and before.kind == "reference"
            and (before.source, "table") == (dataset.source, dataset.kind)
        ):
            self._artifact(walk, before.digest)
            _edge(walk, before.digest, dataset.digest, "copied")

    def _run(self, walk: _Walk, run: Run) -> None:
        node = f"run:{run.id}"
        if node in walk.nodes:
            return
        walk.nodes[node] = Node(
            id=node,
            kind="run",
            title=run.name,
            detail=f"{run.kind}, {run.status} {format_instant(run.started_at)[:16]} by {run.started_by}",
            link=f"/runs/{run.id}",
        )
        for label, digest in (("code", run.code), ("environment", run.environment)):
            if digest is None:
                walk.unproven.append(f"Run {run.name} recorded no {label} digest.")
                continue
            known = self._blobs.has(digest)
            walk.nodes.setdefault(
                digest,
                self._checked(walk, digest, label, short(digest))
                if known
                else Node(id=digest, kind=label, title=short(digest), digest=digest, state="unproven"),
            )
            if not known:
                sentence = f"The {label} of run {run.name} is known by its digest only; its text was not kept."
                walk.unproven += [] if sentence in walk.unproven else [sentence]
            _edge(walk, digest, node, label)
        if ORIGIN_WORKSPACE in run.tags:
            walk.unproven.append(
                f"The result of run {run.name} was not computed here: {run.tags[ORIGIN_WORKSPACE]} gave it, "
                f"from its run {run.tags.get(ORIGIN_RUN, '')}."
            )
        for label, used in run.inputs.items():
            self._artifact(walk, used)
            _edge(walk, used, node, label)
        self._fired(walk, run, node)

    def _fired(self, walk: _Walk, run: Run, node: str) -> None:
        """Why there is a run: the firing of a trigger, which began it or the pipeline that it is a step of."""
        try:
            whole = self._runs.get(run.parent) if run.parent else run
        except NotFound:
            return  # the pipeline's own run lies elsewhere
        named = firing_of(whole.tags)
        with self._book.read() as reader:
            firing = FIRINGS.find(reader, named) if named else None
            subject = firing.cause.subject.removeprefix("dataset:") if firing is not None else ""
            name, _, version = subject.rpartition("@")
            data = DATASETS.find(reader, name, int(version)) if name and version.isdecimal() else None
        if firing is None:
            return
        began = f"firing:{firing.id}"
        more = f", and {firing.others} more" if firing.others else ""
        known = began in walk.nodes
        walk.nodes[began] = Node(
            id=began, kind="trigger", title=firing.name, detail=firing.cause.text + more, link="/triggers"
        )
        _edge(walk, began, node, "fired")
        if not known:
            walk.facts.append(("caused by", f"trigger {firing.name}: {firing.cause.text}{more}"))
            if data is not None and data.digest == firing.cause.digest:
                self._artifact(walk, data.digest)
                _edge(walk, data.digest, began, "new version")

    def _followers(self, walk: _Walk, digest: Digest) -> list[Digest]:
        made: list[Digest] = []
        for run in self._runs.users(digest):
            if run.cached:
                continue
            node = f"run:{run.id}"
            walk.nodes[node] = Node(id=node, kind="run", title=run.name, detail=run.kind, link=f"/runs/{run.id}")
            _edge(walk, digest, node, "used")
            for output in run.outputs.values():
                walk.nodes.setdefault(output, self._node(walk, output))
                _edge(walk, node, output, "made")
                made.append(output)
        with self._book.read() as reader:
            releases = RELEASES.select(reader, model=digest)
            newer = [version for version in DATASETS.select(reader) if version.parent == digest]
        for version in newer:
            walk.nodes.setdefault(version.digest, self._node(walk, version.digest))
            _edge(walk, digest, version.digest, "next version")
            made.append(version.digest)
        for release in releases:
            node = f"release:{release.id}"
            walk.nodes[node] = replace(
                self._signed(walk, node, release.statement, "release", release.endpoint, _granted(release)),
                id=node,
                detail=release.status,
            )
            _edge(walk, digest, node, "released")
            for segment, count in self._segments(release.endpoint, release.id):
                title = f"{count:,} answers"
                walk.nodes[segment] = self._checked(walk, segment, "segment", title)
                _edge(walk, node, segment, "answered")
        return made

    def _node(self, walk: _Walk, digest: Digest) -> Node:
        dataset = self._dataset(digest)
        if dataset is not None:
            return replace(
                self._checked(walk, digest, "dataset", f"{dataset.name}@{dataset.version}"),
                detail=f"{dataset.rows:,} rows in {dataset.files or len(dataset.partitions)} parts{_where(dataset)}",
            )
        with self._book.read() as reader:
            model = VERSIONS.select(reader, digest=digest, limit=1)
        if model:
            node = self._checked(walk, digest, "model", f"{model[0].name}@{model[0].version}")
            for path, part in self._files(walk, digest).items():
                if self._checked(walk, part, "file", path).state == "failed":
                    node = replace(node, state="failed", detail=f"its file {path} is damaged")
            return node
        return self._checked(walk, digest, "artifact", short(digest))

    def _files(self, walk: _Walk, digest: Digest) -> dict[str, Digest]:
        """The files of a tree. What cannot be read is told, not raised: the rest of the walk goes on."""
        try:
            return trees.files(self._blobs, digest)
        except (Corrupt, NotFound) as problem:
            if not any(str(problem) in known for known in walk.failed):
                walk.failed.append(f"tree {short(digest)}: {problem}")
            return {}

    def _dataset(self, digest: Digest) -> DatasetVersion | None:
        with self._book.read() as reader:
            found = DATASETS.select(reader, digest=digest, limit=1)
        return found[0] if found else None

    def _checked(self, walk: _Walk, digest: Digest, kind: str, title: str) -> Node:
        """Re-read and re-hash a blob."""
        state: Any = "verified"
        detail = ""
        if digest not in walk.verified:
            try:
                for _ in self._blobs.stream(digest):
                    pass
                walk.verified.add(digest)
            except (Corrupt, NotFound) as problem:
                state, detail = "failed", str(problem)
                walk.failed.append(f"{kind} {title}: {problem}")
        return Node(id=digest, kind=kind, title=title, digest=digest, state=state, detail=detail)

    def _signed(
        self, walk: _Walk, subject: str, statement: Digest, kind: str, title: str, told: dict[str, Any]
    ) -> Node:
        """Re-read a signed statement, check its signature, and that it says what the book's rows say.

        Args:
            subject: What the entry is about that names the statement.
        """
        node = self._checked(walk, statement, kind, title)
        if node.state == "failed":
            return node
        try:
            envelope = canonical.loads(self._blobs.get(statement))
            found = keys.unseal(envelope, self._keys(subject, statement), self._verifier)
            wrong = list(_differing(found.get("predicate"), told))
            if wrong:
                raise Corrupt(f"the book and the signed statement differ in {', '.join(wrong)}")
        except StellwerkError as problem:
            walk.failed.append(f"{kind} {title}: {problem}")
            return replace(node, state="failed", detail=str(problem))
        return node


GRANTED = ("id", "endpoint", "environment", "model", "model_name", "model_version", "verdict", "granted_at",
           "granted_by", "audit_share", "routed", "risk_limit")  # fmt: skip
"""What never changes of a release; its lease and its end are told by the ledger."""


def _granted(release: Release) -> dict[str, Any]:
    told = documents.dump(release)
    return {"release": {name: told[name] for name in GRANTED}}


def _differing(signed: Any, told: Any, name: str = "") -> Iterator[str]:
    """Where a signed document lacks something that the book tells, or says otherwise."""
    if isinstance(told, dict) and isinstance(signed, dict) and told:
        for key, value in told.items():
            yield from _differing(signed.get(key), value, f"{name}.{key}".lstrip("."))
    elif signed != told:
        yield name or "everything"


def _edge(walk: _Walk, source: str, target: str, label: str) -> None:
    walk.edges.setdefault((source, target), Edge(source=source, target=target, label=label))


def _trace(walk: _Walk, subject: str, direction: Any) -> Trace:
    return Trace(
        subject=subject,
        direction=direction,
        graph=Graph(nodes=tuple(walk.nodes.values()), edges=tuple(walk.edges.values())),
        verified=len(walk.verified),
        failed=tuple(walk.failed),
        unproven=tuple(walk.unproven),
        facts=tuple(walk.facts),
    )


def _where(dataset: DatasetVersion) -> str:
    return f" at {dataset.source}" if dataset.kind == "reference" else ""
