"""The steps that come with Stellwerk: contract, evaluate, gate. They run where the pipeline runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.model import Builtin
from stellwerk.workspace.evaluating import evaluate

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.data.model import Contract, Part
    from stellwerk.evidence.model import GateSet

BUILTINS = (
    Builtin(name="automl", version=1),
    Builtin(name="automl-task", version=1),
    Builtin(name="contract", version=1),
    Builtin(name="evaluate", version=1),
    Builtin(name="gate", version=1),
    Builtin(name="split", version=1),
    Builtin(name="tune", version=1),
)


def table(contracts: Callable[[str], Contract], seal: Callable[..., GateSet]) -> Mapping[str, Callable[..., Any]]:
    """The built-in steps, given how to find a contract and how to seal a gate set."""

    def contract(*, table: pl.DataFrame, name: str, **_pinned: Any) -> pl.DataFrame:
        """Pass on a table that fulfils the contract of a name; refuse any other, with rows and reasons."""
        from stellwerk.data import contract as rules

        report = rules.check(contracts(name), table)
        if not report.ok:
            raise Refused(
                f"the table breaks the contract {name!r} in {report.bad_rows:,} of {report.rows:,} rows:\n"
                + "\n".join(f"  {line}" for line in rules.describe(report)),
                code="contract-broken",
                hint="correct the rows, or confirm a changed contract",
            )
        return table

    def gate(*, table: pl.DataFrame, name: str, target: str, task: str = "") -> dict[str, Any]:
        """Seal a table as a gate set: features readable, labels encrypted."""
        from stellwerk.data.target import task_of

        if target not in table.columns:
            raise Invalid(f"the gate table has no column {target!r}", code="unknown-column")
        features, labels = table.drop(target), table.select(target)
        sealed = seal(
            name=name,
            features=_parquet(features),
            labels=_parquet(labels),
            rows=table.height,
            target=target,
            task=task or task_of(labels.get_column(target)),
        )
        return {"gate": sealed.name, "version": sealed.version, "rows": sealed.rows, "features": sealed.features}

    def judged(**given: Any) -> Any:
        from stellwerk.workspace import automl

        return automl.judged(**given)

    def task_of_table(**given: Any) -> Any:
        from stellwerk.workspace import automl

        return automl.task_of_table(**given)

    return {
        "automl": judged,
        "automl-task": task_of_table,
        "contract": contract,
        "evaluate": evaluate,
        "gate": gate,
        "split": split,
    }


SMALL = 2000
FRACTIONS: dict[bool, dict[Part, float]] = {
    True: {"train": 0.5, "select": 0.2, "gate": 0.3},
    False: {"train": 0.6, "select": 0.15, "gate": 0.25},
}
"""Of small tables more goes to the gate, because proof is what they lack most."""


def split(*, table: pl.DataFrame, target: str, time: str, entity: list[str], exclude: list[str]) -> dict[str, Any]:
    """Cut a table into train, select and gate, look for leaks (`methods` 2.4), and refuse where one is certain."""
    from stellwerk.data.leakage import leaks
    from stellwerk.data.splits import hashed_split, summary, time_split
    from stellwerk.data.target import target_of, task_of

    task = task_of(target_of(table, target))
    fractions = FRACTIONS[table.height < SMALL]
    if time:
        parts = time_split(target_of(table, time), fractions=fractions)
    else:
        parts = hashed_split(
            table.drop(target) if not entity else table, fractions=fractions, salt=target, keys=entity
        )
    # A part without rows could judge nothing.
    summary(parts, keys=entity, salt=target, needed=("train", "select", "gate"))
    features = [name for name in table.columns if name not in {target, time, *exclude, *entity}]
    found = leaks(table, target=target, task=task, features=features, labels=parts, entity=tuple(entity), time=time)
    certain = [finding.message for finding in found if finding.severity == "refuse"]
    if certain:
        raise Refused(
            "the table leaks the answer:\n" + "\n".join(f"  {message}" for message in certain),
            code="leakage",
            hint="exclude these columns (--exclude), or name the entity or time that keeps rows apart",
        )
    report = {
        "task": task,
        "rows": {part: int((parts == part).sum()) for part in ("train", "select", "gate")},
        "method": "time" if time else "hashed",
        "findings": [finding.message for finding in found],
    }
    return {**{part: table.filter(parts == part) for part in ("train", "select", "gate")}, "report": report}


def _parquet(frame: pl.DataFrame) -> bytes:
    from stellwerk.data.reading import frame_to_parquet

    return frame_to_parquet(frame)


def read_parquet(data: bytes) -> pl.DataFrame:
    """A table from Parquet bytes."""
    import polars as pl

    return pl.read_parquet(io.BytesIO(data))


def encode_bytes(data: bytes) -> str:
    """Bytes as text for a JSON argument."""
    return base64.b64encode(data).decode()
