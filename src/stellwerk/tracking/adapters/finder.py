"""Runs by what they logged: a row per metric, parameter and tag. Who searches does so with `finding`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from stellwerk.ledger import documents, roster
from stellwerk.ledger.parameters import plain
from stellwerk.tracking import rules
from stellwerk.tracking.model import CONTEXT_TAG, Run

if TYPE_CHECKING:
    from stellwerk.core.search import Clause, Order
    from stellwerk.ledger.ports import Reader, Transaction

LONGEST_KEY = 500
"""In bytes of UTF-8. What has a longer name is shown with its run, and cannot be sought."""

roster.later({"stellwerk.tracking.adapters.schema": ("run_values",)})

_LEAVE = 'DELETE FROM run_values WHERE workspace = ? AND run = ? AND entity = ? AND "key" = ?'
_LEAVE_ALL = "DELETE FROM run_values WHERE workspace = ? AND run = ? AND entity <> 'metric'"
_ENTER = (
    'INSERT INTO run_values (workspace, run, entity, "key", number, head, text) VALUES (?, ?, ?, ?, ?, ?, ?) '
    'ON CONFLICT (workspace, run, entity, "key") '
    "DO UPDATE SET number = excluded.number, head = excluded.head, text = excluded.text"
)


class SqlFinder:
    """The index in the one database, on SQLite and PostgreSQL alike."""

    def enter(self, tx: Transaction, run: Run, before: Run | None = None) -> None:
        wanted = _sought(run, before)
        known = {} if before is None else _sought(before, run)
        mine = (tx.workspace, plain(run.id))
        if before is None:
            tx.write_many(_LEAVE_ALL, [mine])
        tx.write_many(_LEAVE, [(*mine, *place) for place in known if place not in wanted])
        changed = [(place, value) for place, value in wanted.items() if place not in known or known[place] != value]
        tx.write_many(_ENTER, [(*mine, *place, *_columns_of(value)) for place, value in changed])

    def enter_new(self, tx: Transaction, runs: Sequence[Run]) -> None:
        rows = [
            (tx.workspace, plain(run.id), *place, *_columns_of(value))
            for run in runs
            for place, value in _sought(run, None).items()
        ]
        tx.write_many(_ENTER, rows)

    def leave(self, tx: Transaction, run: str) -> None:
        tx.run("DELETE FROM run_values WHERE workspace = ? AND run = ?", (tx.workspace, plain(run)))

    def find(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        limit: int,
        offset: int,
        deleted: bool | None = False,
        without: Collection[str] = (),
    ) -> list[str]:
        from stellwerk.tracking.adapters.finding import find

        return find(reader, where=where, order=order, limit=limit, offset=offset, deleted=deleted, without=without)


def can_be_sought(key: str) -> bool:
    """Whether something of this name can be in the index."""
    try:
        return "\x00" not in key and len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:  # a lone surrogate, which no database takes
        return False


def _sought(run: Run, other: Run | None) -> dict[tuple[str, str], float | str]:
    """What a run is found by, less parameters and tags that another one has just so: there may be thousands."""
    return {place: value for place, value in _values_of(run, other) if can_be_sought(place[1])}


def _values_of(run: Run, other: Run | None) -> Iterator[tuple[tuple[str, str], float | str]]:
    params, tags = ({}, {}) if other is None else (other.params, other.tags)
    for key, value in run.params.items():
        if type(value) is not str:
            yield ("param", key), rules.spelled(documents.dump(value))
        elif params.get(key) != value:
            yield ("param", key), value
    for key, text in run.tags.items():
        if tags.get(key) != text:
            yield ("tag", key), text
    yield ("attribute", "run_name"), run.name
    yield ("attribute", "user_id"), run.user or run.started_by
    yield ("attribute", "kind"), run.kind
    yield ("attribute", "artifact_uri"), rules.artifacts_of(run)
    yield ("attribute", "start_time"), float(rules.milliseconds(run.started_at))
    if run.ended_at is not None:
        yield ("attribute", "end_time"), float(rules.milliseconds(run.ended_at))
    for index, dataset in enumerate(run.datasets):
        yield ("dataset.name", str(index)), dataset.name
        yield ("dataset.digest", str(index)), dataset.digest
        if CONTEXT_TAG in dataset.tags:
            yield ("dataset.context", str(index)), dataset.tags[CONTEXT_TAG]
    if run.deleted_at is not None:
        yield ("state", "deleted"), "yes"


def _columns_of(value: float | str) -> tuple[float | None, str | None, str | None]:
    """Number, head and text."""
    if isinstance(value, str):
        text = value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        return None, text[: rules.INDEXED], text
    # What no number is found by, and the largest number there is, for infinity: no database keeps those alike.
    return rules.bounded(value), None, None
