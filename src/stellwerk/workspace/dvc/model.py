"""What an import or an export of a DVC repository did, and what it could not do."""

from __future__ import annotations

from dataclasses import dataclass

from stellwerk.core.digest import Digest
from stellwerk.data.dvc.model import Config, Lock, Output, Pipeline, Pointer
from stellwerk.data.model import DatasetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that could not be imported, while the rest was.

    Attributes:
        kind: `missing`, `damaged`, `unreadable`, `foreign-path`, `not-hashed`, `template`, `name` or `conflict`.
        path: Of the output, or of the file that tells of it.
        source: The state it is about, such as `git <commit> <path>`.
    """

    kind: str
    path: str
    source: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DvcImport:
    """What an import did.

    Attributes:
        versions: The dataset versions that were made, in order.
        same: Paths whose newest version is what the repository has.
        behind: Paths where we have newer versions, which were not exported yet.
        read: How many objects were read from the cache, and their bytes.
        known: How many objects were known already and not read.
        late: Older states that cannot become versions any more, because later ones are.
        pipelines: Paths of `dvc.yaml` files. They are read, not executed.
    """

    versions: tuple[DatasetVersion, ...] = ()
    same: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    read: int = 0
    bytes: int = 0
    known: int = 0
    late: int = 0
    pipelines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DvcExport:
    """What an export wrote.

    Attributes:
        path: Of the data, from the repository's root.
        pointer: Path of the `.dvc` file.
        md5: DVC's name of the data; ends in `.dir` for a folder.
        objects: How many objects were written into the cache; others were there.
        linked: How many of them are links to the store's own files.
        checked_out: Whether the data lies in the working folder too.
        lost: Files whose executable bit DVC cannot keep, because they lie in a folder.
    """

    dataset: str
    version: int
    digest: Digest
    path: str
    pointer: str
    md5: str
    files: int
    bytes: int
    objects: int
    linked: int
    checked_out: bool
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A path that a DVC repository tracks."""

    path: str
    file: str
    """The `.dvc` or `dvc.lock` file that tells of it."""
    stage: str
    """Of a pipeline, which stage makes it; empty for files added by hand."""
    dataset: str
    """Name of the dataset that it becomes."""
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A DVC repository as its files describe it."""

    config: Config
    tracked: tuple[Tracked, ...]
    pointers: tuple[tuple[str, Pointer], ...]
    pipelines: tuple[tuple[str, Pipeline], ...]
    locks: tuple[tuple[str, Lock], ...]
    params: tuple[str, ...]
    """Parameter files that the pipelines name, as far as they exist."""
    metrics: tuple[str, ...]
    problems: tuple[Problem, ...]
    unknown: tuple[str, ...]
    """Fields that this version does not know, as `file: field`. They are kept when a file is written."""
