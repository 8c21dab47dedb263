"""The values of the data room. How they are computed is in the modules named after them; keeping is the service's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stellwerk.core.digest import Digest

Kind = Literal["number", "category", "boolean", "time", "text", "identifier", "constant", "empty"]
Task = Literal["binary", "multiclass", "regression"]
Part = Literal["train", "select", "gate"]

PARTS: tuple[Part, ...] = ("train", "select", "gate")
QUANTILES: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """What one column holds.

    Numbers and times (as seconds since 1970, UTC) have `minimum` to `quantiles`, computed over finite values;
    `quantiles` are at `QUANTILES`. `distinct` counts values that are neither null nor NaN nor infinite.
    `top` is complete for columns of at most `profile.MAX_LISTED` distinct values.
    """

    name: str
    dtype: str
    kind: Kind
    rows: int
    nulls: int
    distinct: int
    not_finite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one table holds, column by column in table order."""

    rows: int
    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """What a contract promises about one column.

    Args:
        min_fraction: Smallest share of rows that must have a value.
        minimum: Smallest allowed number; for times, seconds since 1970 in UTC.
        maximum: Largest allowed number, as `minimum`.
        vocabulary: The allowed values as text; None allows any.
        min_domain_mass: Smallest share of values that must be in the vocabulary.
        unique: No value may repeat; nulls do not count.
        required: Whether the column must exist.
        nan: Whether NaN is allowed.
        infinite: Whether infinities are allowed.
    """

    name: str
    kind: Kind
    dtype: str
    min_fraction: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    vocabulary: tuple[str, ...] | None = None
    min_domain_mass: float = 1.0
    unique: bool = False
    required: bool = True
    nan: Literal["refuse", "allow"] = "refuse"
    infinite: Literal["refuse", "allow"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a data set promises to everybody who reads it. A draft is inferred; a person confirms it."""

    name: str
    version: int = 1
    columns: tuple[ColumnRule, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    min_rows: int = 1
    extra_columns: Literal["refuse", "allow"] = "refuse"
    status: Literal["draft", "confirmed"] = "draft"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule of a contract. `column` is empty when the rule is about the whole table.

    `examples` are up to five pairs of row number and value; row 1 is the first row of data, below the header.
    """

    column: str
    rule: str
    got: str
    expected: str
    rows_affected: int
    examples: tuple[tuple[int, str | None], ...] = ()
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractReport:
    """What a check found. `bad_rows` counts the rows touched by at least one violation."""

    contract: str
    rows: int
    violations: tuple[Violation, ...]
    ok: bool
    bad_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One file of a data set version, for example one month."""

    name: str
    digest: Digest
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A data set at one moment.

    Of a table, `digest` names the tree of its Parquet partitions, and `columns` are names and dtypes. Of files,
    `digest` names the tree of the files as they were, and partitions, columns and rows stay empty. Of a reference,
    `digest` names the pin (`docs/formats/source.md`) of a table that lives elsewhere, in `files` parts of `bytes`.
    """

    workspace: str
    name: str
    version: int
    digest: Digest
    partitions: tuple[Partition, ...]
    columns: tuple[tuple[str, str], ...]
    rows: int
    source: str
    parent: Digest | None
    created_at: datetime
    created_by: str
    kind: Literal["table", "files", "reference"] = "table"
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDigest:
    """What another tool calls some bytes, or a folder. Only an index: whoever needs to be sure asks for `digest`.

    Attributes:
        algorithm: Such as `md5`, or `md5-dos2unix` as DVC 2 hashed.
        value: Hexadecimal; ends in `.dir` for a folder of DVC, whose `digest` is then that of a tree.
        size: Bytes of the file, or of all files of the folder.
    """

    algorithm: str
    value: str
    digest: Digest
    size: int

    @property
    def directory(self) -> bool:
        """Whether it names a folder."""
        return self.value.endswith(".dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How rows were divided, so that a dossier can say it and a later run can repeat it.

    `starts` are, for a split by time, the first instant of each part that has rows, as text.
    """

    method: Literal["hashed", "time"]
    train: int
    select: int
    gate: int
    keys: tuple[str, ...] = ()
    salt: str = ""
    starts: tuple[tuple[Part, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageFinding:
    """A sign that training may know what it could not know when predicting."""

    check: str
    column: str
    value: float
    limit: float
    message: str
    severity: Literal["refuse", "warn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellChange:
    """One value that differs between two tables, found by its key."""

    key: tuple[str, ...]
    column: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """The difference between two tables.

    With a key, rows are matched by it and `rows_changed` counts matched rows with another value in a shared
    column. Without one, rows are compared as a whole, and a changed row is one removed and one added.
    """

    key: tuple[str, ...]
    rows_old: int
    rows_new: int
    rows_added: int
    rows_removed: int
    rows_changed: int
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    columns_retyped: tuple[tuple[str, str, str], ...] = ()
    changed: tuple[tuple[str, int], ...] = ()
    examples: tuple[CellChange, ...] = ()
