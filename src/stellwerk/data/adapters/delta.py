"""Versions of Delta tables on this machine as sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable
from stellwerk.data.adapters.places import Places, path_of
from stellwerk.data.sources.model import Content, Source

PART = "table"


class DeltaReader:
    """Reads `delta:PATH@VERSION`, by default the newest version, below some folders or below any."""

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._places = Places(folders)
        self._admit = self._places.admit

    def list(self, source: Source) -> Sequence[str]:
        self._admit(path_of(source))
        return (PART,)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        if part != PART:
            raise Invalid(f"{part[:60]!r} is no part of a Delta table", code="invalid-source")
        path, wanted = self._admit(path_of(source)), version or source.pin
        if wanted and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
            raise Invalid(f"{wanted[:40]!r} is no version of a Delta table", code="invalid-source", hint="…@12")
        try:
            table = DeltaTable(path)
            if wanted and int(wanted) > table.version():
                raise _missing(path, wanted)
            if wanted:
                table.load_as_version(int(wanted))
            self._check(path, table)
            found = pl.DataFrame(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())
        except TableNotFoundError as cause:
            raise NotFound(f"there is no Delta table {path.name!r}", code="file-not-found") from cause
        except DeltaError as cause:
            if wanted:
                raise _missing(path, wanted) from cause
            raise Unavailable(f"the Delta table {path.name!r} cannot be read", code="unreadable-file") from cause
        except (pl.exceptions.PolarsError, OSError, ValueError) as cause:
            if isinstance(cause, Invalid):
                raise
            raise Unavailable(f"the Delta table {path.name!r} cannot be read", code="unreadable-file") from cause
        return Content(data=found, version=str(table.version()), ordered=False)

    def _check(self, path: Path, table: DeltaTable) -> None:
        """A table's book may name any file: each must lie where we may look, and be there."""
        features = table.protocol().reader_features or []
        if "deletionVectors" in features and not self._places.everywhere:
            # Vectors lie in files of their own, of which this client does not say where.
            raise Refused(
                f"the Delta table {path.name!r} keeps deletion vectors, whose files cannot be checked",
                code="local-source",
                hint="rewrite the table without them, or refer to it from the machine where it lies",
            )
        for uri in table.file_uris():
            parts = urlsplit(uri)
            if parts.scheme not in ("", "file"):
                raise Invalid("a Delta table with files elsewhere cannot be read", code="invalid-source")
            file = Path(unquote(parts.path) if parts.scheme else uri)
            if not self._admit(file).is_file():
                raise _missing(path, str(table.version()))


def _missing(path: Path, version: str) -> NotFound:
    return NotFound(
        f"the Delta table {path.name!r} has no version {version}, or files of it are gone", code="no-such-version"
    )
