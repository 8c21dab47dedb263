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
    aside = _aside()
    reached = sorted({part.partition(":")[0] for one in closures for part, _ in one.parts})
    waiting += [(name, file) for name in reached if (file := _loaded(name, aside))]
    found: dict[str, Path] = {}
    while waiting:
        name, file = waiting.pop(0)
        place = _place(name, file)
        if place in found:
            continue
        found[place] = Path(file)
        waiting += list(_imported(name, file, tops, aside))
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


def _aside() -> Mapping[str, ModuleType]:
    """Modules that are called otherwise than they were loaded: scripts, and files whose name was another's."""
    main = sys.modules["__main__"]
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    named = {label(vars(one)): one for one in modules if "__stellwerk_label__" in vars(one)}
    return {label(vars(main)): main, **named}


def _loaded(name: str, aside: Mapping[str, ModuleType]) -> str:
    """The file of a loaded module of the project; empty for any other."""
    module = aside.get(name) or sys.modules.get(name)
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and source.own(file) and Path(file).is_file() else ""


def _imported(name: str, file: str, tops: set[str], aside: Mapping[str, ModuleType]) -> Iterator[tuple[str, str]]:
    text = source.read(file)
    if text is None:
        return
    package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
    above = {name.rpartition(".")[0]} - {""}  # a module of a package needs the package
    for other in sorted(source.imports(text.tree, package) | above):
        there = _loaded(other, aside) or source.locate(other)
        if there and there.endswith(".py") and _inside(other, there, tops):
            yield other, there


def _inside(name: str, file: str, tops: set[str]) -> bool:
    top = name.partition(".")[0]
    return top != "stellwerk" and (top in tops or source.own(file))
