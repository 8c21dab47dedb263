"""Runs of Weights & Biases as a tracker: projects are experiments, and what several processes wrote of a run is one.

Implements `Source`, so that what takes over trackers of MLflow takes these over. Which record means what is in
`records` and `replay`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from stellwerk.tracking import rules
from stellwerk.tracking.logbook import NAME_TAG
from stellwerk.tracking.model import DatasetUse, Latest, Point
from stellwerk.workspace.mlflow.folders import text_of
from stellwerk.workspace.mlflow.model import (
    Folder,
    FoundExperiment,
    FoundFile,
    FoundModel,
    FoundRegistered,
    FoundRun,
    Kind,
    Problem,
    Standing,
    Unread,
)
from stellwerk.workspace.mlflow.said import text_said
from stellwerk.workspace.wandb import files, naming, replay
from stellwerk.workspace.wandb.files import OURS, Allowed
from stellwerk.workspace.wandb.log import Damage
from stellwerk.workspace.wandb.parts import Part, find, opened
from stellwerk.workspace.wandb.records import Message, value_of
from stellwerk.workspace.wandb.replay import Told

READ_TAG, PROJECT_TAG = "wandb.read", "wandb.project"
"""The folders that were read of a run and the bytes of their logs, as JSON; and where it is from."""
METADATA = "wandb-metadata.json"
OUTPUT = "output.log"
MOST_METADATA = 4 << 20
_TAGS = {
    "entity": "wandb.entity", "group": "wandb.group", "job_type": "wandb.job_type", "sweep": "wandb.sweep_id",
    "host": "wandb.host", "notes": "mlflow.note.content", "client": "wandb.version", "python": "wandb.python",
}  # fmt: skip
_KILLED = 255
"""How a client ends a run that somebody interrupted at the keyboard."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A run by the parts of it, the oldest first, and what of it belongs among its artifacts once it was read."""

    id: str
    parts: Sequence[Part]
    told: Told | None = None
    before: Mapping[str, int] = field(default_factory=dict)
    """By the folders that were read when it was taken over, the bytes of their logs then."""


class WandbSource:
    """Implements `Source` and `Growing`.

    Args:
        place: A folder of runs, or one that holds such folders.
        allowed: Other folders from which files may be read.
    """

    kind: Kind = "wandb"

    def __init__(self, place: Path, allowed: Allowed) -> None:
        self._allowed = allowed
        self._runs: dict[str, _Known] = {}
        self._projects: dict[str, list[str]] = {}
        self._left: Counter[str] = Counter()
        self._folders = find(place)

    def __len__(self) -> int:
        return len(self._folders)

    def experiments(self) -> Iterator[FoundExperiment | Problem]:
        parts: list[Part] = []
        for folder in self._folders:
            for one in opened(folder):
                if isinstance(one, Part):
                    parts.append(one)
                else:
                    yield Problem(kind="run", where=f"folder {folder.name}", name=folder.name, reason=one)
        parts.sort(key=lambda one: (one.start, one.folder.name))
        together: dict[tuple[str, str], list[Part]] = {}
        for part in parts:
            together.setdefault((part.project, part.run["id"]), []).append(part)
        for (project, said), some in together.items():
            identity = naming.run_id(project, said, taken=said in self._runs)
            self._runs[identity] = _Known(identity, some)
            self._projects.setdefault(project, []).append(identity)
        for project, ids in self._projects.items():
            begun = self._runs[ids[0]].parts[0].start
            # No id that could be one here: numbers are given by the workspace.
            yield FoundExperiment(id=_identity(project), name=project, created=begun, changed=begun)

    def runs(self, experiment: str) -> Sequence[str]:
        return next(ids for project, ids in self._projects.items() if _identity(project) == experiment)

    def read(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        for identity in ids:
            try:
                yield self._run(self._runs[identity])
            except Unread as cause:
                yield Problem(kind="run", where=f"run {identity}", name=identity, reason=str(cause))

    def compare(self, run: str, tags: Mapping[str, str]) -> Standing:
        known = self._runs[run]
        if tags.get(PROJECT_TAG) != known.parts[0].project:
            return "other"
        before = _read_before(tags.get(READ_TAG, ""))
        self._runs[run] = replace(known, before=before)
        return "same" if all(before.get(part.folder.name, -1) >= part.size for part in known.parts) else "more"

    def renamed(self, run: str) -> str:
        known = self._runs[run]
        identity = naming.run_id(known.parts[0].project, known.parts[0].run["id"], taken=True)
        self._runs[identity] = replace(known, id=identity, before={})
        return identity

    def models(self, experiment: str) -> Sequence[FoundModel | Problem]:
        return ()

    def registered(self) -> Sequence[FoundRegistered | Problem]:
        return ()

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        known = self._runs[location]
        self._runs[location] = replace(known, told=None)
        return Folder(state="here", files=self._files(known) if known.told else ())

    def left_out(self) -> Mapping[str, int]:
        return dict(self._left)

    def close(self) -> None:
        """Nothing is held open."""

    # A run

    def _run(self, known: _Known) -> FoundRun:
        told, lost = _replayed(known.parts)
        self._runs[known.id] = replace(known, told=told)
        self._left += told.left
        found = self._found(known, told, lost)
        told.points = []  # there may be millions, and files need none
        return found

    def _found(self, known: _Known, told: Told, lost: Sequence[Problem]) -> FoundRun:
        curves = naming.Names([*(one.key for one in told.points), *_numbers(told.summary)])
        config = dict(replay.leaves(told.config))
        names = naming.Names(config)
        meta = {**_metadata(known.parts[-1].folder), **told.environment}
        return FoundRun(
            id=known.id,
            experiment=_identity(known.parts[0].project),
            name=told.run.get("name") or told.run.get("id", ""),
            user=text_said(meta.get("username")),
            status=_status(told.ended),
            start=told.start,
            end=max(told.last, told.start),
            location=known.id,
            params=[
                (names.of(key) or "", text_said(rules.spelled(value)))
                for key, value in config.items()
                if names.of(key)
            ],
            tags=list(_tags(known, told, meta)),
            points=list(_named(told, curves)),
            latest=list(_summary(told, curves)),
            datasets=[_used(one) for one in told.used],
            problems=[
                *lost,
                *_renamed("metric", curves, f"{OURS}/values.jsonl"),
                *_renamed("param", names, f"{OURS}/config.json"),
            ],
        )

    def _files(self, known: _Known) -> Iterator[FoundFile | Problem]:
        told = known.told or Told()
        newest = known.parts[-1].folder / "files"
        taken: set[str] = set()
        for part in reversed(known.parts):
            for one in files.saved(part.folder / "files", self._allowed):
                yield _beside(one, part, taken)
        if told.output_size and not _size(newest / OUTPUT):
            where = OUTPUT if not (newest / OUTPUT).exists() else f"{OURS}/{OUTPUT}"
            yield _again(where, told.output_size, known.parts, "output")
        for name in ("config", "summary", "environment"):
            if said := getattr(told, name):
                yield files.made(f"{OURS}/{name}.json", replay.document(said))
        if told.metrics:
            yield files.made(f"{OURS}/metrics.json", replay.document(told.metrics))
        if told.values:
            yield _again(f"{OURS}/values.jsonl", told.values_size, known.parts, "history")
        for artifact in told.artifacts:
            yield from files.logged(artifact, self._allowed)


def _beside(one: FoundFile | Problem, part: Part, taken: set[str]) -> FoundFile | Problem:
    """A file under its own path, or beside what a later process saved there."""
    if isinstance(one, FoundFile):
        if one.path in taken:
            return replace(one, path=f"{OURS}/{part.folder.name}/{one.path}")
        taken.add(one.path)
    return one


def _replayed(parts: Sequence[Part]) -> tuple[Told, list[Problem]]:
    """What all parts say together, and what of them is lost."""
    told, lost = Told(), []
    for part in parts:
        damage = Damage()
        told.ended = None
        for record in part.records(damage):
            replay.take(told, record)
        if damage.spoilt:
            reason = f"{_count(damage.spoilt, 'record')} of its log cannot be read, and what was in them is lost"
            lost.append(Problem(kind="run", where="", name=part.log.name, reason=reason))
        if damage.torn:
            reason = "its log ends within a record: it was killed or goes on; what is whole was imported"
            lost.append(Problem(kind="run", where="", name=part.log.name, reason=reason))
    replay.settle(told)
    if told.cut:
        reason = f"it has more than {replay.MOST_POINTS:,} points; {told.cut:,} that came after them are left away"
        lost.append(Problem(kind="metric", where="", name="", reason=reason))
    for kind, count in told.unread.items():
        if count:
            reason = f"{_count(count, 'value')} of its {kind} cannot be read"
            lost.append(Problem(kind="run", where="", name=kind, reason=reason))
    return told, lost


def _tags(known: _Known, told: Told, meta: Message) -> Iterator[tuple[str, str]]:
    run = told.run
    yield NAME_TAG, run.get("name") or run.get("id", "")
    yield "wandb.run_id", run.get("id", "")
    yield PROJECT_TAG, known.parts[0].project
    read = {**known.before, **{part.folder.name: part.size for part in known.parts}}
    yield READ_TAG, json.dumps(read, ensure_ascii=False)
    for name, tag in _TAGS.items():
        if run.get(name):
            yield tag, run[name]
    if run.get("tags"):
        yield "wandb.tags", ", ".join(run["tags"])
    if told.ended:
        yield "wandb.exit_code", str(told.ended)
    if run.get("branch", {}).get("run"):
        yield "wandb.forked_from", run["branch"]["run"]
    said = meta.get("git")
    git: Mapping[str, Any] = {**(said if isinstance(said, dict) else {}), **run.get("git", {})}
    for tag, value in (
        ("mlflow.source.git.commit", git.get("commit")),
        ("mlflow.source.git.repoURL", git.get("remote")),
        ("mlflow.source.name", meta.get("program")),
    ):
        if value:
            yield tag, text_said(value)


def _named(told: Told, names: naming.Names) -> Iterator[Point]:
    for one in told.points:
        name = names.of(one.key)
        if name:
            yield one if name == one.key else one._replace(key=name)


def _summary(told: Told, names: naming.Names) -> Iterator[Latest]:
    """Numbers of the summary that no curve has: what was computed at the end."""
    there = {one.key for one in told.points}
    for key, value in _numbers(told.summary).items():
        name = names.of(key)
        if name and key not in there:
            yield Latest(key=name, value=value, at=max(told.last, told.start), step=told.step)


def _numbers(tree: Mapping[str, Any]) -> dict[str, float]:
    found = ((key, replay.number(value)) for key, value in replay.leaves(tree))
    return {key: value for key, value in found if value is not None}


def _renamed(kind: str, names: naming.Names, place: str) -> Iterator[Problem]:
    for key, name in names.renamed.items():
        yield Problem(
            kind=kind,
            where="",
            name=text_said(key[:200]),
            reason=f"it is called {name!r} here: not all signs may be in a name",
        )
    for key in names.unfit:
        yield Problem(kind=kind, where="", name=text_said(key[:200]), reason="it cannot be a name here")


def _used(said: Message) -> DatasetUse:
    name, identity = said.get("name", ""), said.get("id", "")
    digest = identity if len(identity) <= rules.MAX_DATASET["digest"] else sha256(identity.encode()).hexdigest()[:36]
    tags = {"wandb.type": said["type"]} if said.get("type") else {}
    return DatasetUse(name=name or identity, digest=digest, source_type="wandb", source=identity, tags=tags)


def _again(path: str, size: int, parts: Sequence[Part], kind: str) -> FoundFile:
    """A file that is made by reading the logs once more, so that it never is in memory as a whole."""

    def chunks() -> Iterator[bytes]:
        for part in parts:
            records = part.records(Damage(), kind)
            yield from (
                replay.lines_of_output(records) if kind == "output" else replay.lines_of_values(records, part.start)
            )

    return FoundFile(path=path, size=size, chunks=chunks)


def _status(ended: int | None) -> str:
    if ended is None or ended == _KILLED:
        return "KILLED"
    return "FAILED" if ended else "FINISHED"


def _metadata(folder: Path) -> Message:
    """What a client before 0.20 said of the machine, in a file."""
    data = text_of(folder / "files" / METADATA, most=MOST_METADATA)
    try:
        found = value_of(data.decode()) if data else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_before(tag: str) -> dict[str, int]:
    """What `READ_TAG` says; nothing where somebody changed it to something else."""
    try:
        found = value_of(tag)
    except ValueError:
        return {}
    said = found.items() if isinstance(found, dict) else ()
    return {name: size for name, size in said if isinstance(size, int)}


def _identity(project: str) -> str:
    return f"wandb:{project}"


def _size(file: Path) -> int:
    return 0 if file.is_symlink() or not file.is_file() else file.stat().st_size


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
