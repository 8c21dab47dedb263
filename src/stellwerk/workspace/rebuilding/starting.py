"""Starting the process that repeats a run: its folder, its interpreter, its environment, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Refused, Unavailable
from stellwerk.evidence.reproduction import PROBES
from stellwerk.pipelines import locks
from stellwerk.pipelines.adapters import bridge, machine
from stellwerk.pipelines.adapters.environments import Environments, Recipe, Say
from stellwerk.pipelines.adapters.installing import find_python
from stellwerk.pipelines.locks import Lock
from stellwerk.pipelines.machine import VARIABLES
from stellwerk.pipelines.model import document
from stellwerk.pipelines.stock import Stock
from stellwerk.store import service as trees
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.ports import Blobs
from stellwerk.workspace.rebuilding.model import Original
from stellwerk.workspace.rebuilding.repeating import CODE, REPORT, REQUEST, STORE

Heard = Callable[[str, str], None]
"""Told the kind of what happened to a task, and the task."""
GRACE_SECONDS = 5.0
_TAIL = 2000
_OURS = "stellwerk"


def interpreter(caller_blobs: Blobs, original: Original, *, offline: bool, say: Say) -> tuple[Path, tuple[str, ...]]:
    """The interpreter of a fresh environment with the packages of the run, and what could not be made the same."""
    notes: list[str] = []
    python = str(original.environment["python"])
    try:
        find_python(python)
    except Unavailable:
        short = ".".join(python.split(".")[:2])
        found = find_python(short)
        notes.append(f"there is no Python {python} here, so {found.version} is used")
        python = short
    local = {_OURS, *(original.machine.local if original.machine else machine.local())}
    lock = locks.exactly(original.environment["distributions"]).without(local)
    lock = lock.with_hashes(locks.known_hashes(_locks(caller_blobs, original)))
    skipped = sorted(local - {_OURS})
    if skipped:
        notes.append(f"not installed, because they are in no index: {', '.join(skipped)}")
    # What was installed together then need not be consistent; it was what ran.
    path = Environments(offline=offline, say=say).interpreter(Recipe(lock=lock, python=python, complete=False))
    return path, tuple(notes)


def _locks(blobs: Blobs, original: Original) -> Iterator[Lock]:
    for name, digest in trees.files(blobs, original.locks).items() if original.locks else ():
        try:
            yield locks.read(name, blobs.get(digest))
        except (Invalid, Refused):  # a file that is no lock, such as pyproject.toml
            continue


@contextmanager
def prepared(blobs: Blobs, original: Original, *, offline: bool, stock: Stock) -> Iterator[Path]:
    """A private folder with everything that repeating needs: code, data and the request."""
    with tempfile.TemporaryDirectory(prefix="stellwerk-rebuild-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        store = LocalFolder(folder / STORE)
        code = folder / CODE
        code.mkdir()
        for tree in (original.locks, original.sources):
            for path, digest in trees.files(blobs, tree).items() if tree else ():
                target = code / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(blobs.get(digest))
        for digest in {original.archive, original.judged, *(one.digest for one in original.inputs.values())}:
            store.put(blobs.get(digest))
        (folder / REQUEST).write_bytes(
            canonical.dumps({**_request(original), "offline": offline, "stock": asdict(stock)})
        )
        yield folder


def _request(original: Original) -> dict[str, Any]:
    return {
        "plan": document(original.plan),
        "inputs": {name: [one.digest, one.media] for name, one in original.inputs.items()},
        "contracts": dict(original.contracts),
        "gates": dict(original.gates),
        "decided": dict(original.decided),
        "archive": original.archive,
        "judged": original.judged,
        "chosen": original.evaluation.get("chosen", 0),
        "probes": PROBES,
    }


def repeat(folder: Path, python: Path | None, original: Original, heard: Heard) -> Mapping[str, Any]:
    """Run the process to its end and read its report.

    Args:
        python: The interpreter; that of this process by default.

    Raises:
        StellwerkError: What the process itself reported, such as a plan that cannot be loaded.
        Unavailable: `rebuild-died`: it ended without a report.
    """
    command = [str(python or sys.executable), "-P", "-m", "stellwerk.workspace.rebuilding.repeating", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(original, fresh=python is not None),
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        try:
            for line in process.stdout or ():
                said = json.loads(line)
                heard(said["kind"], said["task"])
            process.wait()
        finally:
            _end(process)
    if not (folder / REPORT).is_file():
        lines = (folder / "log").read_bytes()[-_TAIL:].decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else "silently"
        raise Unavailable(
            f"the process that repeats the run ended with status {process.returncode}: {last}",
            code="rebuild-died",
        )
    report: Mapping[str, Any] = canonical.loads((folder / REPORT).read_bytes())
    if "error" in report:
        error = report["error"]
        raise Refused(f"the plan cannot be repeated: {error['message']}", code="not-rebuildable", hint=error["hint"])
    return report


def _end(process: subprocess.Popen[str]) -> None:
    """Leave nothing running, whatever happens."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _environment(original: Original, *, fresh: bool) -> dict[str, str]:
    """Ours, with the variables that decide about results as they were then."""
    found = bridge.environment(fresh=fresh)
    if original.machine is not None:
        for name in VARIABLES:
            found.pop(name, None)
        found |= original.machine.variables
    return found
