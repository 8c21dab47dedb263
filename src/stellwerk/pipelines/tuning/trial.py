"""What an executor calls for a trial: the tuned step, with a line to whoever searches.

The line is a socket of the file system, so it reaches any process of the machine; one question and one answer per report,
each a line of JSON.
"""

from __future__ import annotations

import inspect
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines import loading
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.parameters import as_declared
from stellwerk.pipelines.tuning.ports import Report
from stellwerk.pipelines.tuning.reporting import TELL

CALL = f"{__name__}:call"
"""How executors find `call`."""


def shipped(function: str) -> bool:
    """Whether a step comes with Stellwerk: then an argument of it says which version it is."""
    return function.startswith("stellwerk.")


def digest_of(function: str, file: str) -> Digest:
    """What stands for the code of a tuned step."""
    if shipped(function):
        return canonical.digest({"shipped": function})
    return closure(loading.resolve(function, file)).digest


SHIM = """\
# Written for one search: what a warm process loads before it is forked for each trial.
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.tuning.trial import call

resolve({function!r}, {file!r})
"""


def shim(folder: Path, function: str, file: str) -> tuple[str, str]:
    """A file that loads the tuned step when it is loaded; how executors find `call` in it."""
    path = folder / f"trial_{folder.name.replace('-', '_')}.py"
    path.write_text(SHIM.format(function=function, file=file), "utf-8")
    return f"{path.stem}:call", str(path)


def call(*, trial: Mapping[str, Any], **inputs: Any) -> Any:
    """Call the step of a trial.

    Args:
        trial: `function` and `file` of the step, the digest of its `code`, its `params`, the `line` to report on and
            the `number` to report as.
        inputs: The step's inputs.
    """
    function = loading.resolve(trial["function"], trial["file"])
    if loading.inside_child() and digest_of(trial["function"], trial["file"]) != trial["code"]:
        raise Invalid(
            f"the tuned step {trial['function']!r} is other code in its own process",
            code="source-changed",
            hint="its file was edited meanwhile, or a global was set after import",
        )
    declared = inspect.signature(function).parameters
    params = {name: as_declared(declared[name].annotation, value) for name, value in trial["params"].items()}
    token = TELL.set(line_to(trial["line"], trial["number"]))
    try:
        return function(**params, **inputs)
    finally:
        TELL.reset(token)


def line_to(address: str, number: str) -> Report:
    """A report that asks over a socket, which is opened by the first one."""
    opened: list[Any] = []

    def tell(step: int, value: float) -> bool:
        try:
            if not opened:
                line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                line.connect(address)
                opened.append(line.makefile("rw", encoding="utf-8", newline="\n"))
            stream = opened[0]
            stream.write(json.dumps({"trial": number, "step": step, "value": value}) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
        except (OSError, ValueError) as cause:
            raise Unavailable(
                "whoever searches does not answer what a trial reports",
                code="no-search",
                hint="run the trials on the machine of the search, or without sw.report",
            ) from cause
        return bool(answer["prune"])

    return tell
