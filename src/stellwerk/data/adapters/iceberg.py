"""Snapshots of Iceberg tables as sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import polars as pl
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.data.sources.model import Content, Source

PART = "table"
_TABLE = re.compile(r"(?P<catalogue>[A-Za-z0-9_-]+)/(?P<table>[^/\s.]+(?:\.[^/\s.]+)+)")


class IcebergReader:
    """Reads `iceberg:CATALOGUE/NAMESPACE.TABLE@SNAPSHOT`, by default the current snapshot.

    Args:
        catalogues: Name to properties of the catalogue as `key=value&key=value`, which may hold secrets.
    """

    def __init__(self, catalogues: Mapping[str, str]) -> None:
        self._catalogues = dict(catalogues)

    def list(self, source: Source) -> Sequence[str]:
        self._split(source)
        return (PART,)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        if part != PART:
            raise Invalid(f"{part[:60]!r} is no part of an Iceberg table", code="invalid-source")
        name, properties = self._split(source)
        wanted = version or source.pin
        if wanted and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 20):
            raise Invalid(f"{wanted[:40]!r} is no snapshot of an Iceberg table", code="invalid-source")
        try:
            table = load_catalog("stellwerk", **properties).load_table(name)
            current = table.current_snapshot()
            if current is None:
                raise Invalid(f"the Iceberg table {name!r} has no rows", code="empty-table")
            snapshot = int(wanted) if wanted else current.snapshot_id
            if table.snapshot_by_id(snapshot) is None:
                raise NotFound(f"the Iceberg table {name!r} has no snapshot {snapshot}", code="no-such-version")
            found = pl.DataFrame(table.scan(snapshot_id=snapshot).to_arrow())
        except (NoSuchTableError, NoSuchNamespaceError) as cause:
            raise NotFound(f"the catalogue has no Iceberg table {name!r}", code="no-such-table") from cause
        except FileNotFoundError as cause:
            raise NotFound(f"files of the Iceberg table {name!r} are gone", code="no-such-version") from cause
        except StellwerkError:
            raise
        except Exception as cause:  # catalogues are of many kinds, and each raises what it likes
            raise Unavailable(f"the Iceberg table {name!r} cannot be read now", code="unreadable-table") from cause
        return Content(data=found, version=str(snapshot), ordered=False)

    def _split(self, source: Source) -> tuple[str, dict[str, str]]:
        found = _TABLE.fullmatch(source.location)
        if not found:
            raise Invalid(
                "an Iceberg source names a catalogue and a table",
                code="invalid-source",
                hint="iceberg:lake/air.flights",
            )
        text = self._catalogues.get(found["catalogue"].lower())
        if text is None:
            raise Invalid(
                f"no catalogue is called {found['catalogue'][:40]!r} here",
                code="unknown-catalogue",
                hint=f"STELLWERK_ICEBERG_{found['catalogue'][:40].upper()} gives its properties: type=rest&uri=…",
            )
        return found["table"], dict(parse_qsl(text, keep_blank_values=True))
