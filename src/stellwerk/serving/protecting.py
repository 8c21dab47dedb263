"""Rows of the prediction log under the keys of the people they are about (law 12, `docs/formats/predictions.md`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.ledger.vault import Opened, Vault
from stellwerk.serving.model import PredictionBatch, SealedBatch
from stellwerk.serving.ports import Log


class ProtectedLog:
    """A log that keeps inputs and references only encrypted. A row whose person is not named is refused.

    Args:
        column: Names the person each row is about.
    """

    def __init__(self, log: Log, vault: Vault, column: str) -> None:
        self._log, self._vault, self._column = log, vault, column

    def append(self, record: PredictionBatch) -> None:
        self._log.append(seal(record, self._column, self._vault))

    def check(self) -> None:
        self._log.check()


def seal(batch: PredictionBatch, column: str, vault: Vault) -> SealedBatch:
    """A batch whose inputs and references are encrypted row by row; what the model said stays readable."""
    subjects = [_subject(column, row, value) for row, value in enumerate(batch.columns.get(column, ()))]
    if len(subjects) != batch.count:
        raise Invalid(
            f"column {column!r}, which says whom each row is about, is missing",
            code="missing-subject",
            hint=f"send {column!r}; without it nothing could be erased on request",
        )
    keys = vault.keys_for(set(subjects))
    sealed = {}
    for row, subject in enumerate(subjects):
        personal = {
            "columns": {name: values[row] for name, values in batch.columns.items()},
            "key": batch.keys[row] if batch.keys else None,
        }
        key = keys[subject]
        sealed[row] = f"{key.id}.{vault.cipher.seal(key.key, _dump(personal), f'{batch.id}-{row}')}"
    facts = {field.name: getattr(batch, field.name) for field in fields(PredictionBatch)}
    nothing = dict.fromkeys(batch.columns, (None,) * batch.count)
    return SealedBatch(
        **facts | {"columns": nothing, "keys": (), "sealed": sealed, "format": "stellwerk-prediction/2"}
    )


def opened(batches: Iterable[PredictionBatch], vault: Vault) -> Iterator[PredictionBatch]:
    """Batches as they were asked. Rows of people who were erased stay empty, and stay named in `sealed`."""
    keys: dict[str, Opened | None] = {}
    for batch in batches:
        if isinstance(batch, SealedBatch):
            wanted = {_key_id(batch, row) for row in batch.sealed} - keys.keys()
            known = vault.opened(wanted) if wanted else {}
            keys |= {name: known.get(name) for name in wanted}
            batch = _open(batch, keys, vault)
        yield batch


def _open(batch: SealedBatch, keys: dict[str, Opened | None], vault: Vault) -> SealedBatch:
    columns = {name: list(values) for name, values in batch.columns.items()}
    references: list[str | None] = [None] * batch.count
    erased = {}
    for row, text in batch.sealed.items():
        key = keys[_key_id(batch, row)]
        if key is None:
            erased[row] = text
            continue
        personal = _load(vault.cipher.open(key.key, text.partition(".")[2], f"{batch.id}-{row}"))
        for name, value in personal["columns"].items():
            columns[name][row] = value
        references[row] = personal["key"]
    return replace(
        batch,
        columns={name: tuple(values) for name, values in columns.items()},
        keys=tuple(references) if any(reference is not None for reference in references) else (),
        sealed=erased,
    )


def subject_rows(batches: Iterable[PredictionBatch], ids: Iterable[str]) -> int:
    """How many rows are encrypted under these keys."""
    wanted = set(ids)
    found = (batch for batch in batches if isinstance(batch, SealedBatch))
    return sum(_key_id(batch, row) in wanted for batch in found for row in batch.sealed)


def _subject(column: str, row: int, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Invalid(
        f"column {column!r} says whom a row is about; in row {row} it is {value!r:.60}",
        code="missing-subject",
        hint="expected text or a whole number",
    )


def _key_id(batch: SealedBatch, row: int) -> str:
    return batch.sealed[row].partition(".")[0]


def _dump(personal: dict[str, Any]) -> bytes:
    try:
        return json.dumps(personal, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-json") from cause


def _load(data: bytes) -> dict[str, Any]:
    try:
        personal = json.loads(data)
        if not isinstance(personal["columns"], dict) or "key" not in personal:
            raise ValueError("other fields")
    except (ValueError, KeyError, TypeError) as cause:
        raise Corrupt("a sealed prediction cannot be read", code="corrupt-prediction") from cause
    return dict(personal)
