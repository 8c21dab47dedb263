"""Being told when a module is imported, without importing it and without standing in its way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Told = Callable[[ModuleType], None]


class _Finder:
    """Finds nothing itself: gives what the others find, with a loader that tells when it is done."""

    def __init__(self, waiting: dict[str, Told]) -> None:
        self._waiting = waiting

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        told = self._waiting.get(name)
        if told is None:
            return None
        spec = next(
            (
                found
                for finder in sys.meta_path
                if finder is not self
                and hasattr(finder, "find_spec")
                and (found := finder.find_spec(name, path, target)) is not None
            ),
            None,
        )
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            self._waiting.pop(name, None)
            _tell_after(spec.loader, told)
        return spec


def _tell_after(loader: Any, told: Told) -> None:
    """Have a loader tell once, and be as it was."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        execute(module)
        _quietly(told, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader that is what it is: then nobody is told
        pass


def when_imported(told: Mapping[str, Told]) -> Callable[[], None]:
    """Call each function with its module, at once where it is there already. Returns what ends the waiting."""
    waiting = dict(told)
    for name in [name for name in waiting if _ready(name)]:
        _quietly(waiting.pop(name), sys.modules[name])
    finder = _Finder(waiting)
    sys.meta_path.insert(0, finder)

    def stop() -> None:
        waiting.clear()
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)

    return stop


def _ready(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _quietly(told: Told, module: ModuleType) -> None:
    try:
        told(module)
    except Exception:  # noqa: BLE001, S110 - the user's import has worked, and that is what counts
        pass
