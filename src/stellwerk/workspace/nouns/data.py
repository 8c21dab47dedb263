"""Datasets, in Python: tables, and what lies elsewhere. Files are in `files`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.store.working.model import CheckedOut, Progress, silent
from stellwerk.workspace import noticing
from stellwerk.workspace import operations as ops
from stellwerk.workspace.files import FileData
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.data.model import Contract, DatasetVersion, TableDiff
    from stellwerk.data.sources.model import SourceReport
    from stellwerk.store.working.model import Link
    from stellwerk.workspace.dvc.model import DvcExport, DvcImport
    from stellwerk.workspace.ports import Caller


class Data(FileData):
    """Datasets of a workspace: tables here, files in `FileData`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def add(
        self,
        name: str,
        table: pl.DataFrame | str | Path,
        *,
        partition: str = "all",
        source: str = "",
        replace: bool = False,
    ) -> DatasetVersion:
        """Add a table (or a CSV, Parquet or JSON-lines file) as a partition, and so make the next version.

        The first table of a name gets a drafted contract; once that is confirmed, tables that break it are refused.

        Raises:
            Refused: `contract-broken`, with the rows and the reasons.
            Invalid: the file cannot be read as a table, or has other columns than the versions before.
        """
        from stellwerk.data.reading import frame_to_parquet, read_table

        if isinstance(table, (str, Path)):
            source = source or Path(table).name
            table = read_table(Path(table))
        blob = self._caller.blobs.put(frame_to_parquet(table))
        return call(
            self._caller, ops.add_data, name=name, blob=blob, partition=partition, source=source, replace=replace
        )

    def refer(self, name: str, source: str) -> DatasetVersion:
        """Make the rows that a source holds now the next version, without copying them: `file:`, `https:`, `s3:`, ….

        What is there is pinned by digest; reading compares with the pin and never gives other rows.

        Raises:
            Invalid: the source cannot be read as a table, or its name holds credentials.
            Refused: `contract-broken`; `local-source` or `private-address`: the reader must not look there.
        """
        return call(self._caller, ops.refer_data, name=name, source=_placed(self._caller, source))

    def verify(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> SourceReport:
        """Compare a dataset that refers to a source with what is there now, part by part."""
        return call(self._caller, ops.verify_data, name=name, version=version, as_of=as_of)

    def copy(self, name: str) -> DatasetVersion:
        """Copy the rows that a dataset refers to into the store, as its next version."""
        return call(self._caller, ops.import_data, name=name)

    def export(self, dataset: str, to: str | Path, *, progress: Progress = silent) -> CheckedOut:
        """Write `name` or `name@version` as a plain folder, or, for a table, as one Parquet or CSV file."""
        from stellwerk.workspace.browsing import parse_reference
        from stellwerk.workspace.files import write_table

        found = self.get(*parse_reference(dataset))
        if found.kind == "reference":
            return write_table(Path(to), self.frame(found.name, found.version))
        return super().export(dataset, to, progress=progress)

    def list(self, *, as_of: datetime | None = None) -> tuple[DatasetVersion, ...]:
        """All versions, or those made by a time, by name."""
        return call(self._caller, ops.list_data, as_of=as_of)

    def get(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> DatasetVersion:
        """A version: this one, or the newest at a time, or the newest of all."""
        return call(self._caller, ops.get_data, name=name, version=version, as_of=as_of)

    def frame(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> pl.DataFrame:
        """All rows of a version. Those that live elsewhere are read there and compared with the pin.

        Raises:
            NotFound: `source-gone`: rows that live elsewhere are not there any more.
            Conflict: `source-changed`: they are others now.
        """
        import polars as pl

        found = self.get(name, version, as_of=as_of)
        if found.kind == "reference" and self._caller.local:
            return self._frame_elsewhere(found)  # nothing is copied
        blob = call(self._caller, ops.table_of_data, name=name, version=found.version)
        noticing.tell(f"{found.name}@{found.version}", blob)
        return pl.read_parquet(io.BytesIO(self._caller.blobs.get(blob)))

    def _frame_elsewhere(self, found: DatasetVersion) -> pl.DataFrame:
        from stellwerk.data.sources import rules
        from stellwerk.data.sources.service import frame
        from stellwerk.workspace.settings import read
        from stellwerk.workspace.sourcing import Readers

        return frame(rules.read(self._caller.blobs.get(found.digest)), Readers(read(), local=True))

    def diff(
        self, name: str, old: int | None = None, new: int | None = None, *, as_of: datetime | None = None
    ) -> TableDiff:
        """What changed between two versions, or since a version or a time: the second one is by default the newest."""
        return call(self._caller, ops.diff_data, name=name, old=old, new=new, as_of=as_of)

    def import_dvc(
        self,
        repository: str | Path = ".",
        *,
        all_history: bool = False,
        objects: str = "",
        prefix: str = "",
        paths: Iterable[str] = (),
        verify: bool = False,
        adopt: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> DvcImport:
        """Make dataset versions of what a DVC repository tracks; each object is read and kept once.

        Importing again reads nothing that is known. What cannot be imported is in `problems`; the rest is imported.

        Args:
            all_history: Every state that a commit of any branch or tag tells of, oldest first, and not only the present.
            objects: Name of a remote, or a folder, to take objects from; by default the cache and local remotes.
            prefix: Put before the names of the datasets, so that two repositories can share a workspace.
            paths: Only these outputs and what lies below these folders.
            verify: Read objects too whose MD5 is known, and refuse those that hold other bytes than are known by it.
            adopt: Keep large objects by linking DVC's own files instead of copying them.
            say: Told what is being done.

        Raises:
            NotFound: `no-dvc`: there is no DVC repository.
        """
        from stellwerk.workspace.dvc.importing import import_repository

        return import_repository(
            self._caller,
            Path(repository),
            every=all_history,
            objects=objects,
            prefix=prefix,
            paths=tuple(paths),
            verify=verify,
            adopt=adopt,
            say=say,
        )

    def forget(self, name: str, version: int | None = None, *, why: str) -> tuple[DatasetVersion, ...]:
        """Forget a version, or a dataset with all its versions. The ledger keeps that it was there, and why it went.

        Its bytes go with the next garbage collections, unless a run, a model or another version still needs them.

        Raises:
            Conflict: `newest-version`: only the dataset as a whole can lose its newest version.
        """
        return call(self._caller, ops.forget_data, name=name, version=version, why=why)

    def export_dvc(
        self,
        name: str,
        version: int | None = None,
        repository: str | Path = ".",
        *,
        path: str = "",
        link: Link = "auto",
        checkout: bool = True,
        init: bool = False,
        force: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> DvcExport:
        """Write a version into a DVC repository: objects into its cache, a pointer, and the working files.

        Afterwards `dvc status` is clean. A pointer that exists is changed in place, and the rest of it stays.

        Args:
            version: The newest by default.
            path: From the repository's root; by default where the dataset came from, or its name.
            link: How large objects come into the cache: `auto` (`reflink` or `copy`), `reflink`, `hardlink`, `copy`.
            checkout: Put the working files in place too; otherwise `dvc checkout` does.
            init: Make a DVC repository where there is none.
            force: Overwrite and delete working files that are kept nowhere else.
            say: Told what is being done.

        Raises:
            Refused: `dvc-unsaved`: working files would be lost. `dvc-owned`: a pipeline or an import says what is there.
            Conflict: `dvc-overlap`: another tracked path is above or below.
        """
        from stellwerk.workspace.dvc.exporting import export_dataset

        return export_dataset(
            self._caller,
            name,
            version,
            Path(repository),
            path=path,
            link=link,
            checkout=checkout,
            init=init,
            force=force,
            say=say,
        )

    def contract(self, name: str) -> Contract | None:
        """The newest contract of a dataset, if any."""
        return call(self._caller, ops.get_contract, name=name)

    def confirm(self, name: str, changes: Mapping[str, Mapping[str, Any]] | None = None, **table: Any) -> Contract:
        """Confirm the drafted contract, with changes by column: `{"origin": {"vocabulary": ["EWR"]}}`.

        Args:
            table: Changes to the table as a whole: `min_rows`, `extra_columns` (`refuse` or `allow`), `unique`.
        """
        plain = {column: dict(rule) for column, rule in (changes or {}).items()}
        return call(self._caller, ops.confirm_contract, name=name, changes=plain, table=table)


def _placed(caller: Caller, source: str) -> str:
    """A source whose path begins at the current folder, for a workspace on this machine."""
    from stellwerk.workspace.sourcing import placed

    return placed(source, Path.cwd()) if caller.local else source
