"""A DVC repository as values, and the states its outputs went through."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.data.adapters.git import Change, GitHistory
from stellwerk.data.dvc import pointers, turns
from stellwerk.data.dvc.naming import dataset_name
from stellwerk.data.dvc.pipelines import pipeline
from stellwerk.workspace.dvc.model import Problem, Repository, Tracked
from stellwerk.workspace.dvc.outputs import Found, Unusable, told
from stellwerk.workspace.dvc.repository import Folder

POINTERS = ("*.dvc", "dvc.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An output at one moment."""

    found: Found
    source: str


def present(folder: Folder) -> Iterator[State | Problem]:
    """What the files say as they lie there, committed or not."""
    history = folder.git()
    committed = {change.path: change for change in history.files(POINTERS)} if history else {}
    head = history.head() if history else ""
    names = list(folder.files(".dvc", "dvc.lock"))
    old = dict(zip(names, _contents(history, [committed.get(name) for name in names]), strict=True))
    for name in names:
        if (problem := _unspeakable(name, name)) is not None:
            yield problem
            continue
        try:
            data = folder.read(name)
        except Invalid as refused:
            yield Problem(kind="unreadable", path=name, source=name, message=refused.message)
            continue
        change = committed.get(name)
        same = change is not None and old[name] == data
        commit = change.commit if change is not None and same else head
        yaml = folder.find(posixpath.join(posixpath.dirname(name), "dvc.yaml")) if _is_lock(name) else None
        yield from _states(told(name, data, yaml), commit=commit, changed=bool(commit) and not same)


def past(history: GitHistory) -> Iterator[State | Problem]:
    """What every commit of every branch and tag left, parents before children."""
    changes = [change for change in history.changes(POINTERS, everything=True) if not change.removed]
    wanted: list[str] = []
    for change in changes:
        wanted.append(change.blob)
        wanted += [_yaml_of(change)] if _is_lock(change.path) else []
    contents = history.contents(wanted)
    for change in changes:
        data = next(contents)
        yaml = next(contents) if _is_lock(change.path) else None
        if (problem := _unspeakable(change.path, f"git {change.commit}")) is not None:
            yield problem
            continue
        if data is None:
            message = f"git has no content of {change.path} at {change.commit[:12]}"
            yield Problem(kind="unreadable", path=change.path, source=f"git {change.commit}", message=message)
            continue
        yield from _states(told(change.path, data, yaml), commit=change.commit, changed=False)


def describe(folder: Folder, prefix: str = "") -> Repository:
    """Everything that the files of a repository say."""
    problems: list[Problem] = []
    tracked: list[Tracked] = []
    for state in present(folder):
        if isinstance(state, Problem):
            problems.append(state)
            continue
        one = state.found
        tracked.append(
            Tracked(
                path=one.path,
                file=one.file,
                stage=one.stage,
                dataset=dataset_name(one.path, prefix),
                output=one.output,
            )
        )
    files = [(name, folder.read(name)) for name in folder.files(".dvc", "dvc.lock", "dvc.yaml")]
    loose = [
        found for name, data in files if name.endswith(".dvc") for found in _try(name, data, pointers.pointer, [])
    ]
    locks = [found for name, data in files if _is_lock(name) for found in _try(name, data, pointers.lock, [])]
    pipelines = [found for name, data in files if _is_yaml(name) for found in _try(name, data, pipeline, problems)]
    return Repository(
        config=folder.config,
        tracked=tuple(tracked),
        pointers=tuple(loose),
        pipelines=tuple(pipelines),
        locks=tuple(locks),
        params=tuple(_params(folder, pipelines)),
        metrics=tuple(_metrics(pipelines)),
        problems=tuple(problems),
        unknown=tuple(_unknown((*loose, *locks, *pipelines))),
    )


def pipelines_of(folder: Folder) -> tuple[str, ...]:
    """Paths of all `dvc.yaml` files."""
    return tuple(folder.files("dvc.yaml"))


def _states(found: Iterator[Found | Unusable], *, commit: str, changed: bool) -> Iterator[State | Problem]:
    for one in found:
        directory = isinstance(one, Found) and one.output.directory
        source = turns.source(one.path, directory=directory, commit=commit, changed=changed)
        if isinstance(one, Unusable):
            yield Problem(kind=one.kind, path=one.path, source=source, message=one.message)
        else:
            yield State(found=one, source=source)


def _unspeakable(path: str, source: str) -> Problem | None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        shown = ascii(path)[1:-1]
        return Problem(kind="name", path=shown, source=ascii(source)[1:-1], message=f"the name {shown} is not UTF-8")
    return None


def _contents(history: GitHistory | None, changes: list[Change | None]) -> list[bytes | None]:
    if history is None:
        return [None] * len(changes)
    found = history.contents([change.blob for change in changes if change is not None])
    return [next(found) if change is not None else None for change in changes]


def _yaml_of(change: Change) -> str:
    return f"{change.commit}:./{posixpath.join(posixpath.dirname(change.path), 'dvc.yaml')}"


def _is_lock(path: str) -> bool:
    return posixpath.basename(path) == "dvc.lock"


def _is_yaml(path: str) -> bool:
    return posixpath.basename(path) == "dvc.yaml"


def _try(name: str, data: bytes, reader: Any, problems: list[Problem]) -> list[tuple[str, Any]]:
    try:
        return [(name, reader(data, name))]
    except Invalid as refused:
        problems.append(Problem(kind="unreadable", path=name, source=name, message=refused.message))
        return []


def _params(folder: Folder, pipelines: list[tuple[str, Any]]) -> list[str]:
    named: set[str] = set()
    for name, found in pipelines:
        home = posixpath.dirname(name)
        named.add(posixpath.join(home, "params.yaml"))
        named |= {posixpath.join(home, one) for one in (*found.params, *found.vars) if isinstance(one, str)}
        for stage in found.stages:
            place = posixpath.join(home, stage.wdir)
            named |= {posixpath.join(place, file) for one in stage.params if isinstance(one, dict) for file in one}
    clean = {posixpath.normpath(one.partition(":")[0]) for one in named if "${" not in one}
    return sorted(one for one in clean if not one.startswith(("..", "/")) and (folder.root / one).is_file())


def _metrics(pipelines: list[tuple[str, Any]]) -> list[str]:
    named: list[str] = []
    for name, found in pipelines:
        home = posixpath.dirname(name)
        named += [posixpath.join(home, one) for one in found.metrics]
        for stage in found.stages:
            place = posixpath.join(home, stage.wdir)
            named += [posixpath.join(place, output.path) for output in stage.outputs if output.kind == "metric"]
    return sorted({posixpath.normpath(one) for one in named})


def _unknown(files: tuple[tuple[str, Any], ...]) -> Iterator[str]:
    for name, found in files:
        inner = [
            *getattr(found, "outputs", ()),
            *getattr(found, "dependencies", ()),
            *(stage for stage in getattr(found, "stages", ())),
        ]
        inner += [output for stage in getattr(found, "stages", ()) for output in getattr(stage, "outputs", ())]
        for value in (found, *inner):
            for field, _ in getattr(value, "further", ()):
                yield f"{name}: {field}"
