"""Notebooks as steps: executed with papermill in a kernel of their own, in a folder with what they declare.

The same code is executed wherever it runs. Where the file is at hand and holds this code, it is the file that is
executed, with its comments and texts; elsewhere it is what the step key was made of.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines import notebooks as rules
from stellwerk.pipelines.authoring.notebooks import NOTEBOOK
from stellwerk.pipelines.model import Encoded
from stellwerk.pipelines.values import FILE_MEDIA
from stellwerk.workspace import exchange

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
MAX_TRACE = 6000


def notebook(
    *,
    path: str,
    cells: Sequence[str],
    modules: Mapping[str, str],
    params: Mapping[str, Any],
    outputs: Sequence[str],
    cell_timeout: float | None = None,
    paths: Sequence[str] = (),
    files: Sequence[Encoded] = (),
    **inputs: Any,
) -> dict[str, Encoded]:
    """Execute a notebook; give its outputs, and the executed copy as `notebook`.

    Raises:
        Invalid: `notebook-failed`, with the cell and the traceback; `missing-output`.
        Unavailable: `needs-extra`: papermill is not installed.
    """
    if find_spec("papermill") is None or find_spec("ipykernel") is None:
        raise Unavailable(
            "notebooks run as steps with papermill and ipykernel, which are not installed",
            code="needs-extra",
            hint="pip install 'stellwerk[notebook]'",
        )
    from stellwerk.workspace.adapters.papermill import Failed, execute

    with tempfile.TemporaryDirectory(prefix="stellwerk-notebook-", ignore_cleanup_errors=True) as name:
        folder, work = Path(name) / "exchange", Path(name) / "work"
        for one in (folder, work):
            one.mkdir()
        exchange.write_inputs(folder, inputs)
        _lay_out(work, path, modules, paths, files)
        source = json.loads(_source(path, list(cells)))
        ours = "from stellwerk.workspace import exchange as _stellwerk"
        first = (
            f"import os as _os\n_os.environ['STELLWERK_AUTO'] = 'off'\n{ours}\n"
            f"_stellwerk.begin({str(folder)!r}, {list(outputs)!r}, globals())"
        )
        ready = rules.prepared(source, params, first, f"{ours}\n_stellwerk.finish(globals())")
        place = work.joinpath(*Path(path).parts[:-1])
        try:
            done = execute(ready, Path(name), cwd=place, timeout=cell_timeout)
        except Failed as failed:
            sys.stdout.write(printed(failed.document))
            raise _told(failed, path) from None
        sys.stdout.write(printed(done))
        kept = rules.executed(done)
        found = {one: exchange.read_output(folder, one) for one in outputs}
    return {**found, NOTEBOOK: Encoded(media=f"{FILE_MEDIA}; name={Path(path).name}", data=kept)}


notebook.raw_inputs = True  # type: ignore[attr-defined]  # they are decoded in the kernel, and not here


def _lay_out(
    work: Path, path: str, modules: Mapping[str, str], paths: Sequence[str], files: Sequence[Encoded]
) -> None:
    """Modules and files beside where the notebook stands, under their own paths."""
    home = work.joinpath(*Path(path).parts[:-1])
    home.mkdir(parents=True, exist_ok=True)
    for module, text in modules.items():
        place = home / module
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_as_written(Path(path).parent / module, text), "utf-8")
    for name, content in zip(paths, files, strict=True):
        place = work / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.data)


def _source(path: str, cells: list[str]) -> bytes:
    """The notebook's own file where it holds these cells, or a notebook made of them."""
    file = Path(path)
    if file.is_file():
        found = rules.original(cells, file.read_bytes(), path)
        if found is not None:
            return found
    return json.dumps(rules.document(cells)).encode()


def _as_written(file: Path, text: str) -> str:
    """A module with its comments, where the file is at hand and holds this code."""
    try:
        written = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return text
    return written if rules.normal(written) == text else text


def printed(document: Mapping[str, Any]) -> str:
    """What the cells of an executed notebook printed."""
    outputs = (one for cell in document["cells"] for one in cell.get("outputs", ()))
    return "".join(rules.joined(one.get("text", "")) for one in outputs if one.get("output_type") == "stream")


def _told(failed: Any, path: str) -> Invalid:
    """Which cell failed, its text, and the traceback."""
    cells = [cell for cell in failed.document["cells"] if rules.own(cell)]
    at = next((number for number, cell in enumerate(cells) if _has_failed(cell)), None)
    error = f"{failed.name}: {failed.value}"
    if at is None:  # in a cell of ours: what it says is said by us
        return Invalid(f"{path}: {failed.value}", code="notebook-failed")
    text = "\n".join(f"    {line}" for line in rules.joined(cells[at]["source"]).splitlines()[:40])
    trace = _ANSI.sub("", "\n".join(failed.trace))[-MAX_TRACE:]
    injected = sum(rules.INJECTED in cell["metadata"].get("tags", ()) for cell in cells[:at])
    return Invalid(
        f"cell {at + 1 - injected} of {path} failed: {error[:500]}\n{text}\n{trace}",
        code="notebook-failed",
        hint="cells are counted from the top, those with text too",
    )


def _has_failed(cell: Mapping[str, Any]) -> bool:
    return any(one.get("output_type") == "error" for one in cell.get("outputs", ()))


def marimo(*, path: str, params: Mapping[str, Any], outputs: Sequence[str], file: Encoded, **inputs: Any) -> Any:
    """Run a marimo notebook with some of its variables given; give others.

    Raises:
        Invalid: `no-marimo-app`, `missing-output`.
        Unavailable: `missing-package`: marimo is not installed.
    """
    if find_spec("marimo") is None:
        raise Unavailable(
            f"{path} needs marimo, which is not installed", code="missing-package", hint="pip install marimo"
        )
    with tempfile.TemporaryDirectory(prefix="stellwerk-marimo-", ignore_cleanup_errors=True) as name:
        place = Path(name) / Path(path).name
        place.write_bytes(file.data)
        found: Any = _app(place, path)
        with tempfile.TemporaryDirectory(dir=name) as aside:
            exchange.write_inputs(Path(aside), inputs)
            given = dict(params)
            exchange.begin(aside, [], given)
            exchange.leave()
        _, made = found.run(defs=given)
    if not outputs:
        return {name: value for name, value in made.items() if _is_plain(value)}
    lacking = [one for one in outputs if one not in made]
    if lacking:
        raise Invalid(
            f"{path} defines no {', '.join(lacking)}", code="missing-output", hint="name variables of its cells"
        )
    return {one: made[one] for one in outputs}


marimo.raw_inputs = True  # type: ignore[attr-defined]


def _is_plain(value: object) -> bool:
    """Whether a value has a form in JSON."""
    try:
        canonical.dumps(value)
    except (Invalid, TypeError, ValueError, RecursionError):
        return False
    return True


def _app(place: Path, path: str) -> Any:
    spec = spec_from_file_location(f"_stellwerk_marimo_{place.stem}", place)
    if spec is None or spec.loader is None:
        raise Invalid(f"{path} is no Python file", code="no-marimo-app")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found = next(
        (
            one
            for one in vars(module).values()
            if type(one).__module__.partition(".")[0] == "marimo" and type(one).__name__ == "App"
        ),
        None,
    )
    if found is None:
        raise Invalid(f"{path} holds no marimo app", code="no-marimo-app", hint="a file that `marimo edit` writes")
    return found
