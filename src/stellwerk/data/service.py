"""Adding dataset versions under their contract, and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Bug, Conflict, Invalid, NotFound, Refused
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import path_part
from stellwerk.data.history import columns_differ, made_by
from stellwerk.data.model import Contract, ContractReport, DatasetVersion, Partition
from stellwerk.data.shelves import CONTRACTS, DATASETS
from stellwerk.data.sources import rules as pins
from stellwerk.data.sources.model import Pinned
from stellwerk.ledger import documents
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store import many
from stellwerk.store import service as trees
from stellwerk.store.comparing import differences, of_store
from stellwerk.store.ports import Blobs

if TYPE_CHECKING:
    import polars as pl


_LOOKED_UP_AT_ONCE = 20_000


class Datasets:
    """Versioned tables of one workspace: each version is a tree of Parquet partitions."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock) -> None:
        self._book, self._blobs, self._clock = book, blobs, clock

    def add(
        self, name: str, frame: pl.DataFrame, *, partition: str = "all", source: str = "", replace: bool = False
    ) -> DatasetVersion:
        """Add rows as a partition and so make the next version; the other partitions stay and cost nothing.

        Args:
            partition: Name of the part, such as `2013-01`; a part that exists is replaced.
            source: Where the rows came from, for people.
            replace: Start the version from this partition alone.

        Raises:
            Refused: `contract-broken`: the rows break the confirmed contract; nothing is added, but the refusal is.
        """
        from stellwerk.data.reading import frame_to_parquet

        checked_name(name, what="dataset")
        path_part(partition)
        if not (replace and self._differs(name, frame)):
            self._check(name, frame, partition)
        data = frame_to_parquet(frame)
        digest = self._blobs.put(data)
        part = Partition(name=partition, digest=digest, rows=frame.height, bytes=len(data))
        columns = tuple((column, str(kind)) for column, kind in frame.schema.items())
        while (version := self._publish(name, part, columns, source, replace)) is None:
            pass  # somebody else added a version meanwhile: join that one
        return version

    def record(self, name: str, *, tree: Digest, source: str = "") -> DatasetVersion:
        """Make a tree of files that is in the store the next version of a dataset; an equal one stays as it is.

        Raises:
            Invalid: `not-files`: the dataset holds a table.
        """
        checked_name(name, what="dataset")
        while (version := self._publish_files(name, tree, source)) is None:
            pass  # somebody else added a version meanwhile: compare with that one
        return version

    def _publish_files(self, name: str, tree: Digest, source: str) -> DatasetVersion | None:
        """Make the next version of the newest one; None if that is no longer the newest."""
        with self._book.read() as reader:
            newest = DATASETS.select(reader, name=name, order="-version", limit=1)
        latest = newest[0] if newest else None
        if latest is not None and latest.kind != "files":
            raise Invalid(
                f"the dataset {name!r} holds a table, not files", code="not-files", hint="choose another name"
            )
        files, size = self._measure(latest, tree)
        with self._book.write() as tx:
            if DATASETS.select(tx, name=name, order="-version", limit=1) != newest:
                return None
            if latest is not None and latest.digest == tree:
                return latest
            return self._next(
                tx,
                name,
                latest,
                {"files": files, "bytes": size},
                digest=tree,
                source=source,
                kind="files",
                files=files,
                bytes=size,
            )

    def _measure(self, latest: DatasetVersion | None, tree: Digest) -> tuple[int, int]:
        """Files and bytes of a tree; makes sure that the store holds what the version before had not."""
        if latest is None:
            return self._count(tree)
        side = of_store(self._blobs)
        fresh: set[Digest] = set()
        try:
            files, size = latest.files, latest.bytes
            for found in differences(side, latest.digest, side, tree):
                for entry, sign in ((found.new, 1), (found.old, -1)):
                    files, size = (files + sign, size + sign * entry.size) if entry is not None else (files, size)
                if found.new is not None:
                    fresh.add(found.new.digest)
                if len(fresh) >= _LOOKED_UP_AT_ONCE:
                    self._demand(fresh)
                    fresh.clear()
            self._demand(fresh)
        except NotFound:
            if self._blobs.has(latest.digest):
                raise
            return self._count(tree)  # the version before is no longer in the store, or not yet
        return files, size

    def _count(self, tree: Digest) -> tuple[int, int]:
        """Files and bytes of a tree; makes sure that the store holds them all."""
        files, fresh, folders = 0, set[Digest](), [tree]
        top = trees.read_tree(self._blobs, tree)
        while folders:
            folder = folders.pop()
            for entry in (top if folder == tree else trees.read_tree(self._blobs, folder)).entries:
                if entry.kind == "tree":
                    folders.append(entry.digest)
                else:
                    files += 1
                    fresh.add(entry.digest)
            if len(fresh) >= _LOOKED_UP_AT_ONCE or not folders:
                self._demand(fresh)
                fresh.clear()
        return files, top.size

    def _demand(self, digests: set[Digest]) -> None:
        lost = digests - many.lengths(self._blobs, digests).keys()
        if lost:
            raise NotFound(
                f"the store holds no {min(lost)}",
                code="missing-blob",
                hint="put the files before the tree that names them",
            )

    def refer(self, name: str, *, pinned: Pinned, rows: pl.DataFrame) -> DatasetVersion:
        """Make rows that live elsewhere the next version: the pin is kept, the rows are not. An equal pin stays as it is.

        Raises:
            Refused: `contract-broken`: the rows break the confirmed contract; nothing is added, but the refusal is.
            Invalid: `not-a-table`: the dataset holds files.
        """
        checked_name(name, what="dataset")
        if not self._differs(name, rows):
            self._check(name, rows, "all")
        digest = self._blobs.put(pins.write(pinned))
        with self._book.write() as tx:
            newest = DATASETS.select(tx, name=name, order="-version", limit=1)
            latest = newest[0] if newest else None
            if latest is not None and latest.kind == "files":
                raise _not_a_table(name)
            if latest is not None and latest.digest == digest:
                return latest
            return self._next(
                tx,
                name,
                latest,
                {"rows": pinned.rows, "partition": "elsewhere"},
                digest=digest,
                source=pinned.source,
                rows=pinned.rows,
                columns=pinned.columns,
                kind="reference",
                files=len(pinned.parts),
                bytes=sum(part.size for part in pinned.parts),
            )

    def pinned(self, version: DatasetVersion) -> Pinned:
        """What a reference was pinned to."""
        return pins.read(self._blobs.get(version.digest))

    def copy(self, version: DatasetVersion, parts: Iterable[tuple[str, pl.DataFrame]]) -> DatasetVersion:
        """Make the rows of a reference, part by part, the next version of its dataset, kept here.

        Raises `Conflict` where the reference is no longer the newest version.
        """
        from stellwerk.data.reading import frame_to_parquet

        kept = []
        for at, (_, table) in enumerate(parts, 1):
            data = frame_to_parquet(table)
            label = "all" if version.files == 1 else f"part-{at:05}"
            kept.append(Partition(name=label, digest=self._blobs.put(data), rows=table.height, bytes=len(data)))
        tree = trees.put_files(self._blobs, {f"{part.name}.parquet": part.digest for part in kept})
        with self._book.write() as tx:
            newest = DATASETS.select(tx, name=version.name, order="-version", limit=1)
            if newest != [version]:
                raise Conflict(
                    f"{version.name}@{version.version} is not the newest version any more",
                    code="not-newest",
                    hint="look at the newest one, then decide",
                )
            made = evolve(
                version,
                version=version.version + 1,
                digest=tree,
                partitions=tuple(kept),
                parent=version.digest,
                created_at=self._clock.now(),
                created_by=tx.actor,
                kind="table",
                files=0,
                bytes=0,
            )
            DATASETS.insert(tx, made)
            tx.record(
                "data.added",
                f"dataset:{made.name}@{made.version}",
                {"digest": tree, "rows": made.rows, "partition": "copied", "source": made.source},
            )
        return made

    def get(self, name: str, version: int | None = None, as_of: datetime | None = None) -> DatasetVersion:
        """A version of a dataset: this one, or the newest at a time, or the newest of all. Raises `NotFound`.

        Order comes from the ledger, times are labels: of the versions made by `as_of`, it is the last in the book.
        """
        if version is not None and as_of is not None:
            raise Invalid("give a version or a time, not both", code="version-and-time")
        with self._book.read() as reader:
            if version is not None:
                return DATASETS.get(reader, name, version)
            limit = None if as_of else 1
            found = made_by(DATASETS.select(reader, name=name, order="-version", limit=limit), as_of)
        if not found:
            then = f" at {format_instant(as_of)}" if as_of else ""
            raise NotFound(f"no dataset {name!r}{then}", hint=f"`stellwerk data add {name} FILE` adds one")
        return found[0]

    def history(self, name: str) -> tuple[DatasetVersion, ...]:
        """All versions of one dataset, oldest first. Raises `NotFound`."""
        with self._book.read() as reader:
            found = DATASETS.select(reader, name=name, order="version")
        if not found:
            raise NotFound(f"no dataset {name!r}", hint="`stellwerk data ls` lists them")
        return tuple(found)

    def forget(self, name: str, version: int | None, *, why: str) -> tuple[DatasetVersion, ...]:
        """Take a version, or a dataset with all its versions, off the shelf; the ledger keeps that it was there.

        Bytes are freed by the garbage collection, unless something else refers to them: a run, a model, a gate set.

        Raises:
            Invalid: `no-reason`: nobody said why.
            Conflict: `newest-version`: the number of the newest version would be given to another one.
        """
        if not why.strip():
            raise Invalid(
                "a version is forgotten for a reason",
                code="no-reason",
                hint="say it, for example --why 'wrong labels'",
            )
        with self._book.write() as tx:
            known = DATASETS.select(tx, name=name, order="version")
            gone = [found for found in known if version in (None, found.version)]
            if not gone:
                what = name if version is None else f"{name}@{version}"
                raise NotFound(f"no dataset {what!r}", hint="`stellwerk data ls --all` lists all versions")
            if version == known[-1].version and len(known) > 1:
                raise Conflict(
                    f"{name}@{version} is the newest version",
                    code="newest-version",
                    hint="add a newer one first, or forget the dataset as a whole",
                )
            for found in gone:
                DATASETS.remove(tx, name, found.version)
                tx.record(
                    "data.removed", f"dataset:{name}@{found.version}", {"digest": found.digest, "why": why[:1000]}
                )
        return tuple(gone)

    def untrack(self, name: str, *, digest: Digest, place: str) -> None:
        """Write down that a place stopped following a dataset. Its versions stay."""
        checked_name(name, what="dataset")
        with self._book.write() as tx:
            tx.record("data.untracked", f"dataset:{name}", {"digest": digest, "place": place[:1000]})

    def by_digest(self, digest: Digest) -> DatasetVersion | None:
        """The dataset version whose tree this is, if any."""
        with self._book.read() as reader:
            found = DATASETS.select(reader, digest=digest, limit=1)
        return found[0] if found else None

    def list(self, as_of: datetime | None = None) -> list[DatasetVersion]:
        """All versions, or those made by a time, by name."""
        with self._book.read() as reader:
            return made_by(DATASETS.select(reader), as_of)

    def frame(self, version: DatasetVersion) -> pl.DataFrame:
        """All rows of a version, partitions in order of their names."""
        if version.kind == "reference":
            raise Bug("the rows of a reference are read by whoever has its readers")
        if version.kind != "table":
            raise _not_a_table(version.name)
        return frame_of_tree(self._blobs, version.digest)

    def contract(self, name: str, version: int | None = None) -> Contract | None:
        """The newest contract of a dataset, or one of its versions, if any."""
        asked = {} if version is None else {"version": version}
        with self._book.read() as reader:
            found = CONTRACTS.select(reader, name=name, **asked, order="-version", limit=1)
        return found[0] if found else None

    def infer(self, name: str, frame: pl.DataFrame) -> Contract:
        """Draft a contract from rows, to be confirmed by a person."""
        from stellwerk.data import contract as contracts

        return self._keep(contracts.infer(name, frame), "contract.drafted")

    def confirm(
        self,
        name: str,
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        table: Mapping[str, Any] | None = None,
    ) -> Contract:
        """Confirm the newest contract with changes. An equal one that is confirmed already stays as it is.

        Args:
            changes: By column.
            table: Of the table as a whole: `min_rows`, `extra_columns` (refuse or allow), `unique`.
        """
        from stellwerk.data import contract as contracts

        known = self.contract(name)
        if known is None:
            raise NotFound(f"no contract for {name!r}", code="no-contract", hint="infer one from a first table")
        return self._keep(
            contracts.confirm(contracts.refine(known, changes or {}, **(table or {}))), "contract.confirmed"
        )

    def check(self, name: str, frame: pl.DataFrame) -> ContractReport:
        """Check rows against the newest contract. Raises `NotFound` without one."""
        from stellwerk.data import contract as contracts

        known = self.contract(name)
        if known is None:
            raise NotFound(f"no contract for {name!r}", code="no-contract", hint="infer one from a first table")
        return contracts.check(known, frame)

    def _keep(self, contract: Contract, kind: str) -> Contract:
        with self._book.write() as tx:
            known = CONTRACTS.select(tx, name=contract.name, order="-version", limit=1)
            version = known[0].version if known else 0
            if known and evolve(contract, version=version) == known[0]:
                return known[0]
            contract = evolve(contract, version=version + 1)
            CONTRACTS.insert(tx, contract)
            tx.record(
                kind,
                f"contract:{contract.name}@{contract.version}",
                {"status": contract.status, "columns": len(contract.columns), "contract": documents.text(contract)},
            )
        return contract

    def _publish(
        self, name: str, part: Partition, columns: tuple[tuple[str, str], ...], source: str, replace: bool
    ) -> DatasetVersion | None:
        """Make the next version of the newest one and this part; None if that is no longer the newest."""
        with self._book.read() as reader:
            newest = DATASETS.select(reader, name=name, order="-version", limit=1)
        latest = newest[0] if newest else None
        if latest is not None and latest.kind == "files":
            raise _not_a_table(name)
        if latest is not None and latest.kind == "reference" and not replace:
            raise Invalid(
                f"the rows of {name!r} live elsewhere, so none can be added here",
                code="is-reference",
                hint=f"`stellwerk data import {name}` copies them first; --replace begins anew",
            )
        kept = () if replace or latest is None else tuple(p for p in latest.partitions if p.name != part.name)
        if kept and latest is not None and latest.columns != columns:
            raise Invalid(
                f"partition {part.name!r} has other columns than {name!r}: {columns_differ(latest.columns, columns)}",
                code="schema-changed",
                hint="make the columns equal, or start anew with replace",
            )
        partitions = tuple(sorted((*kept, part), key=lambda p: p.name))
        tree = trees.put_files(self._blobs, {f"{p.name}.parquet": p.digest for p in partitions})
        with self._book.write() as tx:
            if DATASETS.select(tx, name=name, order="-version", limit=1) != newest:
                return None
            if latest is not None and latest.digest == tree:
                return latest
            rows = sum(p.rows for p in partitions)
            return self._next(
                tx,
                name,
                latest,
                {"rows": rows, "partition": part.name},
                digest=tree,
                source=source,
                rows=rows,
                columns=columns,
                partitions=partitions,
            )

    def _next(
        self,
        tx: Transaction,
        name: str,
        latest: DatasetVersion | None,
        said: Mapping[str, Any],
        *,
        digest: Digest,
        source: str,
        rows: int = 0,
        columns: tuple[tuple[str, str], ...] = (),
        partitions: tuple[Partition, ...] = (),
        kind: Literal["table", "files", "reference"] = "table",
        files: int = 0,
        bytes: int = 0,  # noqa: A002 - as in `DatasetVersion`
    ) -> DatasetVersion:
        """Make the version that follows the latest; `said` is what else the ledger is told of it."""
        version = DatasetVersion(
            workspace=tx.workspace,
            name=name,
            version=latest.version + 1 if latest else 1,
            digest=digest,
            partitions=partitions,
            columns=columns,
            rows=rows,
            source=source,
            parent=latest.digest if latest else None,
            created_at=self._clock.now(),
            created_by=tx.actor,
            kind=kind,
            files=files,
            bytes=bytes,
        )
        DATASETS.insert(tx, version)
        tx.record("data.added", f"dataset:{name}@{version.version}", {"digest": digest, "source": source, **said})
        return version

    def _differs(self, name: str, frame: pl.DataFrame) -> bool:
        """Whether a table has other columns than the contract knows: a dataset that starts anew gets a new draft."""
        known = self.contract(name)
        return known is not None and {rule.name for rule in known.columns} != set(frame.columns)

    def _check(self, name: str, frame: pl.DataFrame, partition: str) -> None:
        from stellwerk.data import contract as contracts

        known = self.contract(name)
        if known is None or known.status != "confirmed":
            return
        # A part may be small; how many rows there must be is asked of the whole.
        report = contracts.check(evolve(known, min_rows=min(known.min_rows, 1)), frame)
        if report.ok:
            return
        lines = contracts.describe(report)
        with self._book.write() as tx:
            tx.record(
                "data.refused",
                f"dataset:{name}",
                {
                    "partition": partition,
                    "rows": report.rows,
                    "bad_rows": report.bad_rows,
                    "contract": known.version,
                    "rules": [f"{v.column}: {v.rule}" for v in report.violations],
                },
            )
        raise Refused(
            f"{partition!r} breaks the contract of {name!r} in {report.bad_rows:,} of {report.rows:,} rows:\n"
            + "\n".join(f"  {line}" for line in lines),
            code="contract-broken",
            hint="correct the rows, or confirm a changed contract (`workspace.data.confirm`); nothing was added",
        )


def _not_a_table(name: str) -> Invalid:
    return Invalid(f"the dataset {name!r} holds files, not a table", code="not-a-table", hint="choose another name")


def frame_of_tree(blobs: Blobs, digest: Digest) -> pl.DataFrame:
    """The rows of a tree of Parquet files."""
    import polars as pl

    from stellwerk.data.reading import frame_from_parquet

    frames = [frame_from_parquet(blobs.get(part)) for _, part in trees.files(blobs, digest).items()]
    return pl.concat(frames) if len(frames) > 1 else frames[0]
