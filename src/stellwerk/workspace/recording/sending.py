"""Records of the outbox that say more than numbers (`docs/formats/outbox.md`), and what each becomes in a workspace.

Files are read here, and not by who noted that they were used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.model import DatasetUse
from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.recording.cells import Cell, history

MAX_HASHED = 4 << 30
"""Bytes of a file that is read to know what it held."""
MAX_COPIED = 256 << 20
"""Bytes of a notebook that is kept."""
PIECE = 1 << 20
HERE = "mlflow-artifacts:/"
UNREAD = "unread"
"""Instead of a digest where nobody knows what a file held when it was used."""

Record = tuple[dict[str, object], bytes]


def send(caller: Caller, run: str, says: Mapping[str, Any], data: bytes) -> None:
    """Carry out one record. Doing it again changes nothing. Raises `Invalid` for what is none."""
    found = _KINDS.get(str(says.get("kind")))
    if found is None:
        raise Invalid(
            f"a record of the outbox is of the unknown kind {str(says.get('kind'))[:40]!r}", code="invalid-record"
        )
    found(caller, run, says, data)


def missing(records: Iterable[Record]) -> list[Record]:
    """What a run lacks whose process is gone: its end, and the history of its cells.

    A kernel that is ended between two cells was done with what it had begun.
    """
    cells: list[Cell] = []
    place: dict[object, int] = {}
    for says, data in records:
        kind, at = says.get("kind"), says.get("number")
        if kind == "end":
            return []
        if kind == "cell" and isinstance(at, int):
            place[at] = len(cells)
            cells.append(Cell(number=at, text=data.decode("utf-8", "replace")))
        elif kind == "ran" and at in place:
            known = cells[place[at]]
            shown = says.get("shown")
            cells[place[at]] = replace(
                known,
                status=str(says.get("status")),
                error=str(says.get("error", "")),
                shown=shown if isinstance(shown, int) else 0,
            )
    if not cells:
        return [({"kind": "end", "status": "interrupted"}, b"")]
    status = "interrupted" if cells[-1].status == "running" else cells[-1].status
    return [
        ({"kind": "file", "path": "notebook/cells.py"}, history(cells).encode()),
        ({"kind": "end", "status": status}, b""),
    ]


def _environment(caller: Caller, run: str, _says: Mapping[str, Any], data: bytes) -> None:
    caller.call(ops.describe_run, {"run": run, "environment": caller.blobs.put(data)})


def _file(caller: Caller, run: str, says: Mapping[str, Any], data: bytes) -> None:
    _keep(caller, run, str(says["path"]), caller.blobs.put(data))


def _copy(caller: Caller, run: str, says: Mapping[str, Any], _data: bytes) -> None:
    source = Path(str(says["from"]))
    try:
        if source.stat().st_size > MAX_COPIED:
            return
        data = source.read_bytes()
    except OSError:  # it was moved or deleted: there is nothing to keep
        return
    _keep(caller, run, str(says["path"]), caller.blobs.put(data))


def _keep(caller: Caller, run: str, path: str, digest: Digest) -> None:
    home = artifacts_of(caller.call(ops.get_run, {"run": run}))
    if home.startswith(HERE):
        caller.call(ops.log_artifact, {"path": f"{home.removeprefix(HERE)}/{path}", "digest": digest})


def _read(caller: Caller, run: str, says: Mapping[str, Any], _data: bytes) -> None:
    path = Path(str(says["path"]))
    digest, size = _digest(path, before=int(says["at"]))
    if not size and not digest:
        return  # it was not there, or is no file
    name = _name(path, caller.home)
    use = DatasetUse(
        name=name[-rules.MAX_DATASET["name"] :],
        digest=digest[: rules.MAX_DATASET["digest"]] or UNREAD,
        source_type="local",
        source=str(path)[: rules.MAX_DATASET["source"]],
        profile=json.dumps({"bytes": size, **({"sha256": digest} if digest else {})}),
    )
    arguments: dict[str, Any] = {"run": run, "datasets": (use,)}
    if digest and caller.blobs.has(Digest(f"sha256:{digest}")):
        arguments["inputs"] = {name: Digest(f"sha256:{digest}")}
    caller.call(ops.describe_run, arguments)


def _digest(path: Path, *, before: int) -> tuple[str, int]:
    """SHA-256 and size of a file as it was at a time in milliseconds; no digest where it has changed or is huge."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mtime_ns // 1_000_000 > before or found.st_size > MAX_HASHED:
                return "", found.st_size
            hasher = hashlib.sha256()
            while piece := file.read(PIECE):
                hasher.update(piece)
            after = os.fstat(file.fileno())
    except OSError:
        return "", 0
    same = (after.st_mtime_ns, after.st_size) == (found.st_mtime_ns, found.st_size)
    return hasher.hexdigest() if same else "", found.st_size


def _name(path: Path, home: Path) -> str:
    try:
        return path.relative_to(home).as_posix()
    except ValueError:
        return path.name


def _address(caller: Caller, run: str, says: Mapping[str, Any], _data: bytes) -> None:
    address = str(says["address"])
    use = DatasetUse(
        name=address[-rules.MAX_DATASET["name"] :],
        digest=UNREAD,
        source_type=address.partition("://")[0] or "address",
        source=address[: rules.MAX_DATASET["source"]],
    )
    caller.call(ops.describe_run, {"run": run, "datasets": (use,)})


def _dataset(caller: Caller, run: str, says: Mapping[str, Any], _data: bytes) -> None:
    caller.call(ops.describe_run, {"run": run, "inputs": {str(says["name"]): Digest(str(says["digest"]))}})


def _failed(caller: Caller, run: str, says: Mapping[str, Any], _data: bytes) -> None:
    caller.call(ops.describe_run, {"run": run, "error": str(says["error"])})


def _nothing(_caller: Caller, _run: str, _says: Mapping[str, Any], _data: bytes) -> None:
    """Only needed where the process is gone: `missing` reads it."""


_KINDS: dict[str, Callable[[Caller, str, Mapping[str, Any], bytes], None]] = {
    "environment": _environment,
    "file": _file,
    "copy": _copy,
    "read": _read,
    "address": _address,
    "dataset": _dataset,
    "failed": _failed,
    "cell": _nothing,
    "ran": _nothing,
}
