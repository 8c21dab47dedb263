"""States of a DVC repository become dataset versions: every object is read once and kept once."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.data.dvc import manifests, turns
from stellwerk.data.dvc.hashing import CHUNK
from stellwerk.data.dvc.naming import dataset_name, inner_path
from stellwerk.data.model import DatasetVersion, ForeignDigest
from stellwerk.workspace import operations as ops
from stellwerk.workspace.dvc import foreign, reading, repository
from stellwerk.workspace.dvc.building import File, build
from stellwerk.workspace.dvc.model import DvcImport, Problem
from stellwerk.workspace.dvc.objects import Damaged, Key, Object, Objects
from stellwerk.workspace.dvc.reading import State
from stellwerk.workspace.ports import Caller

BATCH_BYTES = 64 << 20
BATCH_FILES = 10_000
Say = Callable[[str], None]


def import_repository(
    caller: Caller,
    place: Path,
    *,
    every: bool = False,
    objects: str = "",
    prefix: str = "",
    paths: Sequence[str] = (),
    verify: bool = False,
    adopt: bool = False,
    say: Say | None = None,
) -> DvcImport:
    """Import what a repository tracks now, or with `every` all that its history tracked.

    Args:
        objects: Name of a remote or a folder to take objects from instead of the cache.
        paths: Only these outputs and what lies below these folders.
        verify: Read objects too whose MD5 is known, and refuse those that are other bytes than we know by it.
        adopt: Keep large objects by linking DVC's own file, where the store can.
    """
    folder = repository.find(place)
    say = say or _silent
    say("reading the repository")
    here = [one for one in reading.present(folder) if _wanted(_path(one), paths)]
    history = folder.git() if every else None
    before = [one for one in reading.past(history) if _wanted(_path(one), paths)] if history else []
    transfer = Transfer(caller, Objects(folder.places(objects)), verify=verify, adopt=adopt, say=say)
    states = [one for one in (*before, *here) if isinstance(one, State)]
    transfer.run(states)
    problems = [one for one in (*before, *here) if isinstance(one, Problem)]
    say("making versions")
    publishing = _Publishing(caller, transfer, prefix)
    past: dict[str, list[State]] = {}
    for state in before:
        if isinstance(state, State):
            past.setdefault(state.found.path, []).append(state)
    now = {state.found.path: state for state in here if isinstance(state, State)}
    for path in dict.fromkeys(chain(past, now)):
        publishing.add(path, past.get(path, []), now.get(path))
    return DvcImport(
        versions=tuple(publishing.versions),
        same=tuple(publishing.same),
        behind=tuple(publishing.behind),
        problems=tuple(_once((*problems, *transfer.problems, *publishing.problems))),
        read=transfer.read,
        bytes=transfer.bytes,
        known=transfer.known,
        late=publishing.late,
        pipelines=reading.pipelines_of(folder),
    )


class Transfer:
    """Brings the objects of states into the store, each once.

    Attributes:
        trees: By state's source, the tree in the store; states that could not be completed are missing.
    """

    def __init__(self, caller: Caller, objects: Objects, *, verify: bool, adopt: bool, say: Say) -> None:
        self._caller, self._objects, self._say = caller, objects, say
        self._verify, self._adopt = verify, adopt
        self._known: dict[Key, ForeignDigest] = {}
        self._failed: dict[Key, Problem] = {}
        self._batch: list[tuple[Key, bytes]] = []
        self._batch_bytes = 0
        self.trees: dict[str, Digest] = {}
        self.problems: list[Problem] = []
        self.read = self.bytes = self.known = 0

    def run(self, states: Sequence[State]) -> None:
        """Do it all. What fails is in `problems`; everything else is done."""
        self._look_up(_key(state) for state in states if state.found.output.manifest is None)
        lists: dict[str, list[tuple[str, Key, bool]]] = {}
        for state in states:
            files = self._files(state)
            if files is not None:
                lists[state.source] = files
        self._look_up(key for files in lists.values() for _, key, _ in files)
        wanted = dict.fromkeys(key for files in lists.values() for _, key, _ in files)
        unknown = len(wanted) if self._verify else sum(key not in self._known for key in wanted)
        if unknown:
            self._say(f"reading {unknown:,} objects")
        for key in wanted:
            if key in self._known and not self._verify:
                self.known += 1
            else:
                self._fetch(key)
        self._flush()
        self._build(states, lists)

    def _look_up(self, keys: Iterable[Key]) -> None:
        by_algorithm: dict[str, set[str]] = {}
        for key in keys:
            if key not in self._known:
                by_algorithm.setdefault(key.algorithm, set()).add(key.value)
        for algorithm, values in by_algorithm.items():
            listed = sorted(values)
            for start in range(0, len(listed), BATCH_FILES):
                asked = {"algorithm": algorithm, "values": tuple(listed[start : start + BATCH_FILES])}
                for one in self._caller.call(ops.find_foreign, asked):
                    self._known[Key(one.algorithm, one.value)] = one

    def _files(self, state: State) -> list[tuple[str, Key, bool]] | None:
        """Path in the tree, key and executable bit of each file; None where the tree is known, or cannot be."""
        output = state.found.output
        if output.manifest is not None:
            return [
                (entry.path, Key(output.algorithm or "md5", entry.value), entry.executable)
                for entry in output.manifest
            ]
        key = _key(state)
        if not output.directory:
            return [(posixpath.basename(state.found.path), key, output.executable)]
        if key in self._known and not self._verify:
            self.known += 1
            self.trees[state.source] = self._known[key].digest
            return None
        data = self._list(key, state)
        if data is None:
            return None
        try:
            entries = manifests.read(data, key.value)
        except Invalid as refused:
            self._fail(key, "damaged", state, refused.message)
            return None
        return [(entry.path, Key(key.algorithm, entry.value), entry.executable) for entry in entries]

    def _list(self, key: Key, state: State) -> bytes | None:
        damaged = False
        for copy in self._objects.copies(key):
            try:
                return copy.read()
            except Damaged:
                damaged = True
        self._fail(key, "damaged" if damaged else "missing", state, _told(key, damaged))
        return None

    def _fetch(self, key: Key) -> None:
        """Read one object into the store; what fails is remembered for the states that need it."""
        damaged = False
        for copy in self._objects.copies(key):
            try:
                self._take(copy)
            except (Damaged, OSError):
                damaged = True
            else:
                self.read += 1
                self.bytes += copy.size
                return
        message = _told(key, damaged)
        self._failed[key] = Problem(kind="damaged" if damaged else "missing", path="", source="", message=message)

    def _take(self, copy: Object) -> None:
        if copy.size <= CHUNK:
            data = copy.read()
            self._batch.append((copy.key, data))
            self._batch_bytes += len(data)
            if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_FILES:
                self._flush()
            return
        digest = foreign.adopted(self._caller, copy) if self._adopt else None
        if digest is None:
            digest = self._caller.blobs.put_stream(copy.chunks())
        self._enter([(copy.key, digest, copy.size)])

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            digests = self._caller.blobs.put_many([data for _, data in batch])
            self._enter([(key, digest, len(data)) for (key, data), digest in zip(batch, digests, strict=True)])

    def _enter(self, kept: list[tuple[Key, Digest, int]]) -> None:
        found = [
            ForeignDigest(algorithm=key.algorithm, value=key.value, digest=digest, size=size)
            for key, digest, size in kept
        ]
        foreign.remember(self._caller, found)
        for one in found:
            self._known[Key(one.algorithm, one.value)] = one

    def _build(self, states: Sequence[State], lists: dict[str, list[tuple[str, Key, bool]]]) -> None:
        trees: list[bytes] = []
        fresh: dict[Key, ForeignDigest] = {}
        for state in states:
            files = lists.get(state.source)
            if files is None or state.source in self.trees or not self._complete(state, files):
                continue
            try:
                listed = {
                    inner_path(path): File(self._known[key].digest, self._known[key].size, executable)
                    for path, key, executable in files
                }
                tree, made = build(listed)
            except Invalid as refused:
                problem = Problem(kind="name", path=state.found.path, source=state.source, message=refused.message)
                self.problems.append(problem)
                continue
            trees += made
            self.trees[state.source] = tree
            if state.found.output.directory and state.found.output.value:
                key = _key(state)
                size = sum(file.size for file in listed.values())
                fresh[key] = ForeignDigest(algorithm=key.algorithm, value=key.value, digest=tree, size=size)
        for some in _portions(trees):
            self._caller.blobs.put_many(some)
        foreign.remember(self._caller, list(fresh.values()))

    def _complete(self, state: State, files: list[tuple[str, Key, bool]]) -> bool:
        lacking = [(path, self._failed[key]) for path, key, _ in files if key in self._failed]
        for path, problem in lacking:
            whole = posixpath.join(state.found.path, path) if state.found.output.directory else state.found.path
            self.problems.append(Problem(kind=problem.kind, path=whole, source=state.source, message=problem.message))
        return not lacking

    def _fail(self, key: Key, kind: str, state: State, message: str) -> None:
        self.problems.append(Problem(kind=kind, path=state.found.path, source=state.source, message=message))


@dataclass
class _Publishing:
    caller: Caller
    transfer: Transfer
    prefix: str
    versions: list[DatasetVersion] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    late: int = 0
    _datasets: dict[str, list[DatasetVersion]] | None = None

    def add(self, path: str, past: Sequence[State], now: State | None) -> None:
        """Make the versions of one path."""
        name = dataset_name(path, self.prefix)
        known = [turns.State(version.digest, version.source) for version in self._known(name)]
        try:
            fresh, late = turns.history([one for state in past for one in self._state(state)], known)
            self.late += late
            for state in fresh:
                self._record(name, state)
                known.append(state)
            for state in self._state(now) if now else ():
                self._present(name, path, state, known)
        except (Invalid, Conflict, NotFound, Refused) as refused:
            self.problems.append(Problem(kind="conflict", path=path, source=name, message=refused.message))

    def _present(self, name: str, path: str, state: turns.State, known: Sequence[turns.State]) -> None:
        match turns.present(state, known):
            case "new":
                self._record(name, state)
            case "same":
                self.same.append(path)
            case "behind":
                self.behind.append(path)

    def _state(self, state: State) -> list[turns.State]:
        tree = self.transfer.trees.get(state.source)
        return [turns.State(tree, state.source)] if tree is not None else []

    def _record(self, name: str, state: turns.State) -> None:
        arguments = {"name": name, "tree": state.tree, "source": state.source}
        self.versions.append(self.caller.call(ops.record_data, arguments))

    def _known(self, name: str) -> list[DatasetVersion]:
        if self._datasets is None:
            self._datasets = {}
            for version in self.caller.call(ops.list_data, {}):
                self._datasets.setdefault(version.name, []).append(version)
        return self._datasets.get(name, [])


def _silent(text: str) -> None:
    """Say nothing."""


def _key(state: State) -> Key:
    output = state.found.output
    return Key(output.algorithm, output.value + (".dir" if output.directory else ""))


def _path(one: State | Problem) -> str:
    return one.found.path if isinstance(one, State) else one.path


def _wanted(path: str, paths: Sequence[str]) -> bool:
    return not paths or any(path == one or path.startswith(one.rstrip("/") + "/") for one in paths)


def _told(key: Key, damaged: bool) -> str:
    name = f"{key.value[:2]}/{key.value[2:]}"
    if damaged:
        return f"the object {name} has other bytes than its {key.algorithm} says"
    return f"the object {name} is in no place that was searched (`dvc fetch --all-commits` may bring it)"


def _once(problems: Iterable[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _portions(items: list[bytes]) -> Iterable[list[bytes]]:
    for start in range(0, len(items), BATCH_FILES):
        yield items[start : start + BATCH_FILES]
