"""A step in a folder: its inputs as ordinary files, its code, and a script that runs it. Read with any tool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.errors import Conflict, NotFound
from stellwerk.pipelines.model import BUILTIN, Encoded, Stored
from stellwerk.pipelines.values import FILE_MEDIA, STANDARD
from stellwerk.workspace import codecs
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.steps import plans
from stellwerk.workspace.steps.past import Account

SUFFIXES = {
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.stellwerk.npy": ".npy",
    "application/json": ".json",
    "application/octet-stream": ".bin",
    codecs.MEDIA: ".model",
}
_READERS = {
    ".parquet": ("polars", "polars.read_parquet(HERE / {})"),
    ".npy": ("numpy", "numpy.load(HERE / {}, allow_pickle=False)"),
    ".json": ("json", "json.loads((HERE / {}).read_bytes())"),
    ".bin": ("", "(HERE / {}).read_bytes()"),
    ".model": ("", "codecs.MODEL.decode((HERE / {}).read_bytes())"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was written where.

    Args:
        inputs: Argument, path below the folder, media type.
    """

    folder: str
    files: tuple[str, ...]
    inputs: tuple[tuple[str, str, str], ...]


def fetch(caller: Caller, found: Account, folder: Path) -> Fetched:
    """Write a step into a new folder. Raises `Conflict` if something is there already."""
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise Conflict(
            f"{folder.name!r} is there already", code="already-exists", hint="name another folder with --into"
        )
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    inputs = tuple(_inputs(caller, found, folder))
    if found.sources:
        plans.unpack(caller.blobs, found.sources, folder / "code")
    (folder / "params.json").write_text(_json(found.said.params), "utf-8")
    (folder / "environment.txt").write_text("".join(f"{one}\n" for one in found.packages), "utf-8")
    (folder / "step.json").write_text(_json(json.loads(found.said.bytes)), "utf-8")
    last = found.failed or (found.runs[0] if found.runs else None)
    if last is not None and last.log is not None:
        (folder / "log.txt").write_bytes(caller.blobs.get(last.log))
    if found.function and not found.function.startswith(BUILTIN):
        (folder / "rerun.py").write_text(_script(found, inputs), "utf-8")
    (folder / "README.md").write_text(_index(found, inputs, folder), "utf-8")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Fetched(folder=str(folder), files=tuple(files), inputs=inputs)


def name_of(found: Account) -> str:
    """What the folder of a step is called by default."""
    task = re.sub(r"[^A-Za-z0-9._-]+", "-", found.task or found.said.kind).strip("-.") or "step"
    return f"{task}-{found.key.removeprefix('sha256:')[:8]}"


def _inputs(caller: Caller, found: Account, folder: Path) -> Iterator[tuple[str, str, str]]:
    for argument, value in found.said.given.items():
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", argument).strip("_.") or "input"
        for number, stored in enumerate((value,) if isinstance(value, Stored) else value):
            name = stem if isinstance(value, Stored) else f"{stem}/{number:04}"
            yield argument, _write(caller, stored, folder, f"inputs/{name}"), stored.media


def _write(caller: Caller, stored: Stored, folder: Path, name: str) -> str:
    try:
        data = caller.blobs.get(stored.digest)
    except NotFound as cause:
        raise NotFound(
            f"the bytes of {name!r} are gone: {stored.digest}", hint="`stellwerk repair` looks for them elsewhere"
        ) from cause
    if stored.media.partition(";")[0] == FILE_MEDIA:
        (folder / name).mkdir(parents=True)
        path = STANDARD.decode(Encoded(media=stored.media, data=data), folder=folder / name)
        return str(Path(path).relative_to(folder))
    file = folder / f"{name}{SUFFIXES.get(stored.media, '.bin')}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return str(file.relative_to(folder))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _index(found: Account, inputs: tuple[tuple[str, str, str], ...], folder: Path) -> str:
    lines = [f"# {found.task or 'a step'} of {found.experiment or 'a pipeline'}", ""]
    lines += [f"Step key `{found.key}`, of the kind `{found.said.kind}`.", ""]
    last = found.failed
    if last is not None:
        quoted = last.error.replace("\n", "\n> ")
        lines += [f"It failed in run `{last.id}`:", "", f"> {quoted}", ""]
    lines += ["| What | Where |", "|---|---|"]
    lines += [f"| input `{argument}` ({media}) | `{path}` |" for argument, path, media in inputs]
    lines += ["| parameters | `params.json` |", "| packages it ran with | `environment.txt` |"]
    lines += ["| what the key is made of | `step.json` |"]
    lines += ["| what it printed | `log.txt` |"] if (folder / "log.txt").is_file() else []
    lines += ["| the code it ran | `code/` |"] if found.sources else []
    if (folder / "rerun.py").is_file():
        lines += ["", "`python rerun.py` calls the step with these inputs, `python rerun.py FOLDER` with other code."]
    return "\n".join(lines) + "\n"


def _script(found: Account, inputs: tuple[tuple[str, str, str], ...]) -> str:
    """A script that calls the step's function. Names in it are identifiers, everything else is quoted."""
    module, _, qualname = found.function.partition(":")
    readers = [_reader(path) for _, path, _ in inputs]
    packages = sorted({package for package, _ in readers if package} | {"json", "pprint", "random", "sys"})
    listed = {name for name, value in found.said.given.items() if not isinstance(value, Stored)}
    gathered = [
        f"given.setdefault({argument!r}, []).append({reader})"
        if argument in listed
        else f"given[{argument!r}] = {reader}"
        for (argument, _, _), (_, reader) in zip(inputs, readers, strict=True)
    ]
    lines = [f'"""Calls `{module}:{qualname}` with the inputs that it had under {found.key}."""', ""]
    lines += [f"import {package}" for package in packages]
    lines += ["from importlib import import_module", "from pathlib import Path", ""]
    models = any(path.endswith(".model") for _, path, _ in inputs)
    lines += ["from stellwerk.pipelines.parameters import gather"]
    lines += ["from stellwerk.workspace import codecs"] if models else []
    lines += ["", "HERE = Path(__file__).resolve().parent"]
    lines += ["sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else str(HERE / 'code'))"]
    lines += ["given = {}", *(f"given.setdefault({name!r}, [])" for name in sorted(listed)), *gathered]
    lines += ["given = {**json.loads((HERE / 'params.json').read_bytes()), **gather(given)}"]
    if found.said.seed is not None:
        lines += [f"random.seed({found.said.seed})"]
        lines += [f"import numpy; numpy.random.seed({found.said.seed})" if "numpy" in packages else ""]
    lines += [f"function = import_module({module!r})", f"for name in {qualname!r}.split('.'):"]
    lines += ["    function = getattr(function, name)", "function = getattr(function, 'function', function)"]
    if found.said.seed is not None:
        lines += ["if 'seed' in function.__code__.co_varnames[: function.__code__.co_argcount]:"]
        lines += [f"    given['seed'] = {found.said.seed}"]
    return "\n".join([*lines, "pprint.pprint(function(**given))"]) + "\n"


def _reader(path: str) -> tuple[str, str]:
    package, expression = _READERS.get(Path(path).suffix, ("", "HERE / {}"))
    return package, expression.format(repr(path))
