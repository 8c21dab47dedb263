"""Conditions on columns, meaning the same on every database: what a filter compares, and how texts match."""

from __future__ import annotations

import string
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from stellwerk.core.search import Clause
from stellwerk.ledger.parameters import plain


def compared(column: Any, clause: Clause) -> Any:
    """What a clause asks of a column. A pattern that is a regular expression is for no database (`RLIKE`)."""
    wanted = [plain(text) for text in clause.value] if isinstance(clause.value, tuple) else plain(clause.value)
    match clause.comparator:
        case "=":
            return column == wanted
        case "!=":
            return column != wanted
        case ">":
            return column > wanted
        case ">=":
            return column >= wanted
        case "<":
            return column < wanted
        case "<=":
            return column <= wanted
        case "LIKE":
            return Like(column, sa.literal(wanted))
        case "ILIKE":
            # As both databases lower a column: letters of ASCII alone. They disagree about a text of their own.
            return Like(sa.func.lower(column), sa.literal(str(wanted).translate(_LOWER)))
        case "IN":
            return column.in_(wanted)
        case "NOT IN":
            return column.not_in(wanted)
        case "IS NULL":
            return column.is_(None)
        case "IS NOT NULL":
            return column.is_not(None)


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Like(FunctionElement[bool]):
    """`%` for any characters and `_` for one, in the case that is written, and nothing that escapes them."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(Like, "postgresql")
def _like_of_postgresql(element: Like, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"{text} LIKE {pattern} ESCAPE ''"


@compiles(Like, "sqlite")
def _like_of_sqlite(element: Like, compiler: Any, **options: Any) -> str:
    # SQLite's own LIKE takes upper and lower case for the same.
    text, pattern = (compiler.process(part, **options) for part in element.clauses)
    for written, meant in (("[", "[[]"), ("*", "[*]"), ("?", "[?]"), ("%", "*"), ("_", "?")):
        pattern = f"replace({pattern}, '{written}', '{meant}')"
    return f"{text} GLOB {pattern}"
