"""Models and versions by what is said of them: conditions compiled to looks into their indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order
from stellwerk.ledger.parameters import plain
from stellwerk.ledger.ports import Reader
from stellwerk.ledger.searches import Search
from stellwerk.models import naming
from stellwerk.models.shelves import MODELS, VERSIONS

_AT_ONCE = 500
_TIMES = ("creation_timestamp", "last_updated_timestamp")


class SqlModels:
    """The index in the one database, on SQLite and PostgreSQL alike."""

    def __init__(self) -> None:
        self._models = Search(MODELS, then=("name",), always=_TIMES)
        self._versions = Search(VERSIONS, then=("name", "-version"), always=("run_id", "source_path", *_TIMES))

    def models(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        prompts: bool,
        limit: int,
        offset: int,
    ) -> list[str]:
        conditions = [self._models.condition(reader, clause) for clause in where]
        conditions += [] if prompts else [MODELS.table.c.name.not_in(_prompts(reader))]
        return [str(name) for (name,) in self._models.find(reader, conditions, order, limit, offset)]

    def versions(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        prompts: bool,
        limit: int,
        offset: int,
    ) -> list[tuple[str, int]]:
        conditions = [self._versions.condition(reader, clause) for clause in where]
        conditions += [] if prompts else [VERSIONS.table.c.name.not_in(_prompts(reader))]
        found = self._versions.find(reader, conditions, order, limit, offset)
        return [(str(name), int(number)) for name, number in found]

    def newest(self, reader: Reader, names: Collection[str]) -> Mapping[str, Sequence[int]]:
        values = VERSIONS.values.c
        found: dict[str, list[int]] = defaultdict(list)
        for some in _pieces(names):
            query = (
                sa.select(values.name, sa.func.max(values.version))
                .where(
                    values.workspace == reader.workspace,
                    values.name.in_(some),
                    values.entity == "attribute",
                    values.key == "stage",
                )
                .group_by(values.name, values.head)
            )
            for name, number in reader.execute(query).all():
                found[name].append(number)
        return {name: sorted(numbers) for name, numbers in found.items()}

    def counts(self, reader: Reader, names: Collection[str]) -> Mapping[str, int]:
        versions = VERSIONS.table.c
        found: dict[str, int] = {}
        for some in _pieces(names):
            query = (
                sa.select(versions.name, sa.func.count())
                .where(versions.workspace == reader.workspace, versions.name.in_(some))
                .group_by(versions.name)
            )
            found |= dict(tuple(row) for row in reader.execute(query).all())
        return found


def _pieces(names: Collection[str]) -> Iterator[list[str]]:
    listed = [plain(name) for name in names]
    return (listed[start : start + _AT_ONCE] for start in range(0, len(listed), _AT_ONCE))


def _prompts(reader: Reader) -> Any:
    """The names of prompts: they say so themselves, or one of their versions does."""
    said = (
        sa.select(values.c.name).where(
            values.c.workspace == reader.workspace,
            values.c.entity == "tag",
            values.c.key == naming.IS_PROMPT,
            values.c.head.is_not(None),  # says that the index has it
            sa.func.lower(values.c.head) == "true",
        )
        for values in (MODELS.values, VERSIONS.values)
    )
    return sa.union_all(*said)
