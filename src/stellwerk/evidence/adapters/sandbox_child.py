"""The sandboxed process: imports a task, confines itself, runs the task, answers. Started by `sandbox`.

Only the parent's own words are read before the walls are up: the task, its request, and which files it may read.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Refused, StellwerkError, Unavailable
from stellwerk.evidence.adapters import confinement
from stellwerk.evidence.ports import Layers, Limits

ARRAY = "$array"
JOB = "job.json"
OUT = "out"


def main(arguments: list[str]) -> None:
    """Run the job described in a private folder and write one JSON document to a pipe, then end without clean-up."""
    room, channel = Path(arguments[0]), int(arguments[1])
    try:
        answer = canonical.dumps({"answer": _run(canonical.loads((room / JOB).read_bytes()), room / OUT)})
    except StellwerkError as error:
        answer = _described(error, type(error).__name__, error.code, error.hint)
    except MemoryError as error:
        answer = _described(error, "MemoryError", "sandbox-memory")
    except BaseException as error:  # noqa: BLE001 - whatever the task raises is told to the parent
        answer = _described(error, type(error).__name__, "task-failed")
    _write(channel, answer)
    os._exit(0)


def _run(job: dict[str, Any], out: Path) -> Any:
    files = {name: Path(path) for name, path in job["files"].items()}
    limits, layers = Limits(**job["limits"]), Layers(**job["layers"])
    task = _prepare(job["entry"])
    _demand_one_thread(layers)
    confinement.confine(layers, limits, read=files.values(), run=_code_places(), write=out)
    return _pack(task(job["request"], files, out), out, limits)


def _prepare(entry: str) -> Callable[..., Any]:
    """The function of a `module:function` entry, with the modules it names in `PRELOAD` already imported."""
    module_name, _, name = entry.partition(":")
    module = importlib.import_module(module_name)
    for heavy in getattr(module, "PRELOAD", {}).get(name, ()):
        importlib.import_module(heavy)
    task: Callable[..., Any] = getattr(module, name)
    return task


def _demand_one_thread(layers: Layers) -> None:
    """Landlock confines one thread and what it starts later, so nothing else may be running yet."""
    if not layers.landlock_abi:
        return
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are enough
    if threads != 1:
        raise Unavailable(
            f"{threads - 1} threads were started before the sandbox was closed",
            code="no-sandbox",
            hint="import what starts threads inside the task",
        )


def _code_places() -> set[Path]:
    """Where Python finds modules and the loader finds shared libraries."""
    places = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {Path(entry).resolve() for entry in sys.path if entry}
    places |= confinement.loaded_library_folders()
    return {*places, Path("/etc/ld.so.cache")}


def _pack(value: Any, out: Path, limits: Limits) -> Any:
    """JSON with arrays moved into npy files, which the parent reads without unpickling."""
    if isinstance(value, dict):
        return {str(key): _pack(item, out, limits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, out, limits) for item in value]
    if type(value).__module__ != "numpy":
        return value
    import numpy as np

    if not isinstance(value, np.ndarray):
        return value.item()
    if value.nbytes > limits.output_bytes:
        raise Refused(f"the task answers more than {limits.output_bytes} bytes", code="sandbox-output")
    name = f"{len(list(out.iterdir()))}.npy"
    np.save(out / name, value, allow_pickle=False)
    return {ARRAY: name}


def _described(error: BaseException, kind: str, code: str, hint: str = "") -> bytes:
    message = error.message if isinstance(error, StellwerkError) else str(error)
    plain = message[:2000].encode("utf-8", "replace").decode("utf-8")
    return canonical.dumps({"error": {"class": kind, "code": code, "message": plain, "hint": hint[:500]}})


def _write(channel: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
