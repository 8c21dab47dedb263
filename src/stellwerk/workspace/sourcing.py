"""Which reader reads which kind of source, and references as datasets. Readers are imported when they are first asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.core.outbound import Allowance
from stellwerk.data.model import DatasetVersion
from stellwerk.data.sources import rules
from stellwerk.data.sources.model import SourceReport
from stellwerk.workspace import credentials
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.data.sources.ports import Reader

SECONDS = 600.0
"""How long one object may take."""

GROUP = "stellwerk.sources"
"""Entry points of third parties: the name is the kind, the object makes a reader."""


class Readers:
    """The readers of a process.

    Args:
        local: Whether they read for somebody who sits at this machine. For others, files are read only below the
            folders that the settings name.
    """

    def __init__(self, settings: Settings, *, local: bool) -> None:
        self._settings, self._local = settings, local
        self._made: dict[str, Reader] = {}
        self._makers: dict[str, Callable[[], Reader]] = {
            "file": self._file,
            "http": self._web,
            "https": self._web,
            "s3": self._bucket,
            "sql": self._sql,
            "sqlite": self._sqlite,
            "delta": self._delta,
            "iceberg": self._iceberg,
        }

    def __call__(self, kind: str) -> Reader:
        """The reader of a kind. Raises `Invalid` for a kind that nobody reads."""
        if kind not in self._made:
            self._made[kind] = (self._makers.get(kind) or self._foreign(kind))()
        return self._made[kind]

    @property
    def _folders(self) -> list[Path] | None:
        return None if self._local else [Path(folder) for folder in self._settings.source_folders]

    def _file(self) -> Reader:
        from stellwerk.data.adapters.files import FileReader

        return FileReader(self._folders)

    def _web(self) -> Reader:
        from stellwerk.data.adapters.web import WebReader

        return WebReader(Allowance.of(self._settings.source_hosts))

    def _bucket(self) -> Reader:
        with _extra("s3", "S3"):
            from stellwerk.data.adapters.buckets import BucketReader
            from stellwerk.store.adapters.objects import Location, Patience, open_s3

        access = credentials.access(self._settings)
        return BucketReader(
            lambda bucket: open_s3(Location(bucket=bucket, prefix=""), access, Patience(request=SECONDS)),
            None if self._local else self._settings.source_buckets,
        )

    def _sql(self) -> Reader:
        from stellwerk.data.adapters.sql import SqlReader

        return SqlReader(self._settings.sql)

    def _sqlite(self) -> Reader:
        from stellwerk.data.adapters.sql import SqliteReader

        return SqliteReader(self._folders)

    def _delta(self) -> Reader:
        with _extra("delta", "Delta tables"):
            from stellwerk.data.adapters.delta import DeltaReader

        return DeltaReader(self._folders)

    def _iceberg(self) -> Reader:
        with _extra("iceberg", "Iceberg tables"):
            from stellwerk.data.adapters.iceberg import IcebergReader

        return IcebergReader(self._settings.iceberg)

    def _foreign(self, kind: str) -> Callable[[], Reader]:
        found = metadata.entry_points(group=GROUP)
        if kind not in found.names:
            known = ", ".join(sorted({*self._makers, *found.names}))
            raise Invalid(
                f"nobody here reads sources of kind {kind[:40]!r} (known: {known})",
                code="unknown-source-kind",
                hint=f"install a package that brings a reader in the entry-point group {GROUP!r}",
            )
        maker: Callable[[], Reader] = found[kind].load()
        return maker


@contextmanager
def _extra(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as cause:
        raise Unavailable(
            f"this installation cannot read {what}", code="needs-extra", hint=f"pip install 'stellwerk[{name}]'"
        ) from cause


PATHS = ("file", "sqlite", "delta")
"""Kinds whose location is a path."""


def placed(source: str, folder: Path) -> str:
    """A source with its path begun at a folder where it begins nowhere; a bare path is a file."""
    kind, colon, location = source.partition(":")
    if not colon or len(kind) == 1:
        kind, location = "file", source
    if kind.lower() not in PATHS or location.startswith("/") or not location:
        return source if colon else f"{kind}:{location}"
    return f"{kind}:{folder / location.removeprefix('./')}"


def refer(rooms: Rooms, name: str, source: str, *, local: bool) -> DatasetVersion:
    """Pin what a source holds now, as the next version of a dataset; one without a contract gets a draft of it."""
    from stellwerk.data.sources.service import pin

    pinned, rows = pin(rules.parse(source), Readers(rooms.settings, local=local))
    version = rooms.datasets.refer(name, pinned=pinned, rows=rows)
    known = rooms.datasets.contract(name)
    if known is None or {rule.name for rule in known.columns} != set(rows.columns):
        rooms.datasets.infer(name, rows)
    return version


def rows(rooms: Rooms, version: DatasetVersion, *, local: bool) -> pl.DataFrame:
    """All rows of a version, wherever they live, proven."""
    if version.kind != "reference":
        return rooms.datasets.frame(version)
    from stellwerk.data.sources.service import frame

    return frame(rooms.datasets.pinned(version), Readers(rooms.settings, local=local))


def verify(rooms: Rooms, version: DatasetVersion, *, local: bool) -> SourceReport:
    """Compare a reference with what is there now."""
    _needs_reference(version)
    from stellwerk.data.sources.service import verify as compare

    return compare(rooms.datasets.pinned(version), Readers(rooms.settings, local=local))


def copy(rooms: Rooms, version: DatasetVersion, *, local: bool) -> DatasetVersion:
    """Keep a copy of the rows of a reference, as the next version."""
    _needs_reference(version)
    from stellwerk.data.sources.service import batches

    found = batches(rooms.datasets.pinned(version), Readers(rooms.settings, local=local))
    return rooms.datasets.copy(version, ((part.name, table) for part, table in found))


def _needs_reference(version: DatasetVersion) -> None:
    if version.kind != "reference":
        raise Invalid(
            f"{version.name}@{version.version} is kept here, it refers to nothing",
            code="not-a-reference",
            hint="`stellwerk fsck` checks what is kept here",
        )
