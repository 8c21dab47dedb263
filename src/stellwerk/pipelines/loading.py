"""Loading of pipeline files and finding of functions by reference, the same in every process.

A file that lies in a package is imported as that package's module; any other is imported by its stem with its folder
on the search path, as Python does with scripts. What a module's code means for step keys is in `closure`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from stellwerk.core.errors import Invalid, NotFound, StellwerkError
from stellwerk.pipelines import source
from stellwerk.pipelines.authoring import Pipeline, Step, label
from stellwerk.pipelines.tracebacks import place, user_traceback

_STATE = {"child": False}


def load(path: Path | str) -> ModuleType:
    """Import the module of a file, once per process.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no Python file, or importing it failed; the message holds the user's own traceback.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise NotFound(f"there is no pipeline file {file.name!r}", code="no-such-file")
    if file.suffix != ".py":
        raise Invalid(f"{file.name!r} is no Python file (expected a name ending in .py)", code="not-a-pipeline-file")
    for module in list(sys.modules.values()):
        if _is_from(module, file):
            return module
    folder, name = _place(file)
    plain = "." in name or _free(name, folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    before = set(sys.modules)
    try:
        module = import_module(name) if plain else _load_aside(name, file)
    except StellwerkError as refused:
        where = place(refused)
        refused.hint = f"{refused.hint} ({where})" if refused.hint and where else refused.hint or where
        raise
    except (Exception, SystemExit) as cause:  # importing runs the user's code, which may raise anything
        raise Invalid(
            f"{file.name} cannot be imported:\n{user_traceback(cause)}", code="pipeline-not-loadable"
        ) from cause
    for fresh in set(sys.modules) - before:
        found = sys.modules.get(fresh)
        if isinstance(found, ModuleType) and source.own(str(getattr(found, "__file__", None) or "<none>")):
            source.note(found)
    return module


def resolve(function: str, file: str = "") -> Callable[..., Any]:
    """The function of a reference `module:qualname`, importing its module if need be. `NotFound` if there is none."""
    name, _, qualname = function.partition(":")
    found: Any = _module(name, file)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Step):
        found = found.function
    if not callable(found):
        raise NotFound(
            f"there is no function {qualname!r} in module {name!r}",
            code="step-not-importable",
            hint="define steps with `def` at the top level of a file that another process can import",
        )
    return found  # type: ignore[no-any-return]


def find_pipelines(module: ModuleType) -> dict[str, Pipeline]:
    """The pipelines that a module defines, by name, in the order in which they are written."""
    found = {value.name: value for value in vars(module).values() if isinstance(value, Pipeline)}
    return {name: pipeline for name, pipeline in found.items() if pipeline.function.__module__ == module.__name__}


def enter_child() -> None:
    """Say that this process was started to run one step."""
    _STATE["child"] = True


def inside_child() -> bool:
    """Whether this process was started to run one step, and must not start executing plans."""
    return _STATE["child"]


def _module(name: str, file: str) -> ModuleType:
    module = sys.modules.get(name)
    if module is not None and (not file or _is_from(module, Path(file))):
        return module
    if file and Path(file).is_file():
        return load(file)
    main = sys.modules["__main__"]
    if label(vars(main)) == name:
        return main
    try:
        return import_module(name)
    except ImportError as cause:
        raise NotFound(f"there is no module {name!r}", code="step-not-importable") from cause


def _is_from(module: Any, file: Path) -> bool:
    where = getattr(module, "__file__", None)
    if not isinstance(where, str) or not where.endswith(file.name):
        return False
    return where == str(file) or Path(where).resolve() == file.resolve()


def _place(file: Path) -> tuple[Path, str]:
    """The folder to search, and the dotted name under it."""
    folder, parts = file.parent, [file.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return folder, ".".join(parts)


def _free(name: str, folder: Path) -> bool:
    """Whether no module outside of the folder has this name."""
    if not name.isidentifier() or name in sys.modules or name in sys.builtin_module_names:
        return False
    return (
        PathFinder.find_spec(name, [entry for entry in sys.path if Path(entry).resolve() != folder.resolve()]) is None
    )


def _load_aside(stem: str, file: Path) -> ModuleType:
    """Import under a name of its own, because the stem is another module's."""
    name = f"{stem}__{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Invalid(f"{file.name!r} is no Python file", code="not-a-pipeline-file")
    module = module_from_spec(spec)
    module.__dict__["__stellwerk_label__"] = stem
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
