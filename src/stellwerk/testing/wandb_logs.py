"""Folders as clients of Weights & Biases write them, for tests: logs by the published format, whole or damaged."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BLOCK = 32_768
HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_RECORDS = {
    "history": 2, "summary": 3, "config": 5, "stats": 7, "artifact": 8, "tbrecord": 9, "alert": 10, "telemetry": 11,
    "metric": 12, "output_raw": 13, "run": 17, "exit": 18, "use_artifact": 25, "environment": 26,
}  # fmt: skip
Fields = Mapping[int, Any]
"""A message by the numbers of its fields: texts, integers, messages, or lists of them."""


def message(fields: Fields) -> bytes:
    """A message in protobuf."""
    data = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                data += _varint(number << 3) + _varint(one & 0xFFFFFFFFFFFFFFFF)
                continue
            inner = one.encode("utf-8", "surrogatepass") if isinstance(one, str) else one
            inner = inner if isinstance(inner, bytes) else message(inner)
            data += _varint(number << 3 | 2) + _varint(len(inner)) + inner
    return data


def record(kind: str, fields: Fields) -> bytes:
    """One record of a log."""
    return message({_RECORDS[kind]: fields})


def items(values: Mapping[str, Any]) -> list[Fields]:
    """Values as clients spell them: dictionaries in dictionaries by the keys to them."""
    return [{2: list(place), 16: json.dumps(value)} for place, value in _places(values, ())]


def history(step: int, values: Mapping[str, Any], *, at: float) -> bytes:
    """What was logged in one step."""
    return record("history", {1: items({**values, "_step": step, "_timestamp": at}), 2: {1: step}})


def run(identity: str, *, project: str = "flights", start: int = 1000, config: Any = None, **more: Any) -> bytes:
    """Which run it is. `more` are fields by their numbers, such as `_8` for its name."""
    fields = {1: identity, 3: project, 17: {1: start}, 4: {1: items(config or {})}}
    return record("run", {**fields, **{int(name[1:]): value for name, value in more.items()}})


def log(records: Sequence[bytes]) -> bytes:
    """A log of records, in blocks."""
    data = HEADER
    for one in records:
        kind = 0
        while True:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data, room = data + bytes(room), BLOCK
            piece, one = one[: room - 7], one[room - 7 :]
            kind = (1 if not kind else 4) if not one else (2 if not kind else 3)
            check = zlib.crc32(bytes([kind]) + piece)
            data += struct.pack("<IHB", check, len(piece), kind) + piece
            if not one:
                break
    return data


def folder(home: Path, identity: str, data: bytes, files: Mapping[str, bytes] | None = None, *, day: int = 1) -> Path:
    """A folder of a run with its log and the files that it saved."""
    place = home / "wandb" / f"offline-run-202601{day:02}_030405-{identity}"
    (place / "files").mkdir(parents=True)
    (place / f"run-{identity}.wandb").write_bytes(data)
    for path, content in (files or {}).items():
        (place / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "files" / path).write_bytes(content)
    return place


def _places(values: Mapping[str, Any], above: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in values.items():
        place = (*above, key)
        found += _places(value, place) if isinstance(value, dict) and value else [(place, value)]
    return found


def _varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])
