"""Which files of a project a plan needs to be executed again elsewhere: its modules, and all they may import.

This is more than the code closure, which decides about step keys: a module is imported as a whole, so whatever its
top level imports must be there, too. What is outside of the project is in the environment lock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from stellwerk.pipelines import source
from stellwerk.pipelines.authoring import label
from stellwerk.pipelines.model import BUILTIN, Closure, Plan


def files(plan: Plan, closures: Iterable[Closure] = ()) -> dict[str, Path]:
    """The project's files by where they belong below one folder of imports: `features/time.py` is `features.time`.

    Modules are followed by their imports, wherever in a module they stand, and by what closures reached. Functions
    of a session without a file have none.
    """
    waiting = [
        (node.function.partition(":")[0], node.file)
        for node in plan.nodes
        if node.file and not node.function.startswith(BUILTIN)
    ]
    tops = {name.partition(".")[0] for name, _ in waiting}
    loaded = _loaded()
    reached = {part.partition(":")[0] for one in closures for part, _ in one.parts}
    waiting += [(name, loaded[name]) for name in sorted(reached) if name in loaded]
    found: dict[str, Path] = {}
    while waiting:
        name, file = waiting.pop(0)
        place = _place(name, file)
        if place in found:
            continue
        found[place] = Path(file)
        waiting += list(_imported(name, file, tops, loaded))
    return dict(sorted(found.items()))


def module_file(folder: Path, name: str) -> Path | None:
    """Where a module lies in a folder that `files` describes."""
    base = folder.joinpath(*name.split("."))
    return next((file for file in (base.with_name(base.name + ".py"), base / "__init__.py") if file.is_file()), None)


def _place(name: str, file: str) -> str:
    path = name.replace(".", "/")
    return (
        f"{path}/__init__.py" if Path(file).name == "__init__.py" and not path.endswith("__init__") else f"{path}.py"
    )


def _loaded() -> Mapping[str, str]:
    """Files of loaded modules of a project by label; those of a session have none."""
    found: dict[str, str] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if isinstance(file, str) and source.own(file) and Path(file).is_file():
            found.setdefault(label(vars(module)), file)
    return found


def _imported(name: str, file: str, tops: set[str], loaded: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    text = source.read(file)
    if text is None:
        return
    package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
    above = {name.rpartition(".")[0]} - {""}  # a module of a package needs the package
    for other in sorted(source.imports(text.tree, package) | above):
        there = loaded.get(other) or source.locate(other)
        if there and there.endswith(".py") and _inside(other, there, tops):
            yield other, there


def _inside(name: str, file: str, tops: set[str]) -> bool:
    top = name.partition(".")[0]
    return top != "stellwerk" and (top in tops or source.own(file))
