"""Which tables there are, and who makes them: known without loading what defines them, or what describes tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

OF_THE_BOOK = ("meta", "ledger_entries", "ledger_nodes", "ledger_checkpoints")
APPEND_ONLY = OF_THE_BOOK[1:]

_LATER: dict[str, str] = {}
_MAKERS: dict[str, Callable[[], Any]] = {}


def later(modules: Mapping[str, Iterable[str]]) -> None:
    """Say which module defines which tables, so that it is loaded when one of them is used, or all are looked at."""
    _LATER.update({table: module for module, tables in modules.items() for table in tables})


def made_by(name: str, make: Callable[[], Any]) -> None:
    """Say what makes the description of a table, once somebody needs it."""
    _MAKERS[name] = make


def names() -> set[str]:
    """Of all tables, loaded or not."""
    return {*OF_THE_BOOK, *_LATER, *_MAKERS}


def describe_all() -> None:
    """Describe all tables, also those of rooms that nobody has entered yet."""
    for module in dict.fromkeys(_LATER.values()):
        import_module(module)
    for make in list(_MAKERS.values()):
        make()
