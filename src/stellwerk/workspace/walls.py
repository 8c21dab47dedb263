"""Walls around a step: what the child of a sandboxed pool gives up before it loads any code of the project.

The system calls are those of the place where models are examined; here is decided what a step may still do.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from stellwerk.core.errors import Unavailable
from stellwerk.evidence.adapters import confinement
from stellwerk.evidence.ports import Limits
from stellwerk.pipelines.model import Attempt

REFERENCE = f"{__name__}:enclose"
"""How the process that forks the children is told of these walls."""

KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONHASHSEED", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")
"""The environment variables that a step still sees."""

_TABLES = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache")
_UNLIMITED_SECONDS = 7 * 86_400
_MOST_MEMORY = 1 << 46
_MOST_OUTPUT = 1 << 33


def demand() -> None:
    """`Unavailable` with code `no-sandbox` where a wall would be missing."""
    layers = confinement.probe()
    if not layers.landlock_abi or not layers.seccomp:
        raise Unavailable(
            "this kernel does not offer both Landlock and seccomp, so steps cannot be sandboxed",
            code="no-sandbox",
            hint="run on Linux 5.13 or later, or use `pool`, which has no walls",
        )


def enclose(attempt: Attempt, folder: Path) -> None:
    """Give up everything but Python, the project's visible files for reading, and plain files in a private folder.

    No network, no other programs or processes, no hidden files of the project, which is where keys and ledgers are.
    """
    demand()
    for name in set(os.environ) - set(KEPT):
        del os.environ[name]
    os.environ["TMPDIR"] = os.environ["HOME"] = str(folder)
    limits = Limits(
        cpu_seconds=_UNLIMITED_SECONDS,
        memory_bytes=attempt.memory or _MOST_MEMORY,
        output_bytes=_MOST_OUTPUT,
    )
    python = _python()
    project = [place for place in _places(attempt) if not any(place.is_relative_to(base) for base in python)]
    visible = [child for place in project for child in place.iterdir() if not child.name.startswith(".")]
    confinement.confine(
        confinement.probe(),
        limits,
        read=[Path(path) for path in _TABLES],
        run=[*python, *visible],
        see=project,
        write=folder,
    )


def _python() -> set[Path]:
    """Where Python, what is installed, and Stellwerk are."""
    paths = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {*paths, Path(__file__).resolve().parents[1], *confinement.loaded_library_folders()}


def _places(attempt: Attempt) -> set[Path]:
    """Where the modules of the project are looked for: the search path, and where the step's file is."""
    found = {Path(entry).resolve() for entry in sys.path if entry}
    if attempt.file:
        folder = Path(attempt.file).resolve().parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        found.add(folder)
    return {place for place in found if place.is_dir()}
