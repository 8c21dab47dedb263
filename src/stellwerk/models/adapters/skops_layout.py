"""One layout for equal estimators: no memory addresses, random names or set order. Reading is in `models.schema`."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from stellwerk.core.digest import hex_of, of_bytes
from stellwerk.models import npy, schema

_IMMUTABLE = frozenset({"JsonNode", "TypeNode", "FunctionNode", "TupleNode", "SliceNode", "DTypeNode"})


def normalise(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Name arrays by content, number shared objects by first appearance, drop ids that say nothing, order sets."""
    root = schema.read_schema(members[schema.SCHEMA])
    arrays = {name: _without_padding(data) for name, data in members.items() if name != schema.SCHEMA}
    names = {name: f"{hex_of(of_bytes(data))[:32]}.npy" for name, data in arrays.items()}
    counts: Counter[int] = Counter()
    _count(root, counts)
    numbers: dict[int, int] = {}
    root = _rewrite(root, names, {identity for identity, n in counts.items() if n > 1}, numbers)
    text = json.dumps(root, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return {schema.SCHEMA: text.encode("ascii"), **{names[name]: data for name, data in arrays.items()}}


def _without_padding(data: bytes) -> bytes:
    """Records of compiled code carry uninitialised bytes between their fields; make them zero."""
    if not data.startswith(npy.MAGIC) or npy.header(data).kind != "V":
        return data
    records = np.load(io.BytesIO(data), allow_pickle=False)
    if records.dtype.names is None:
        return data
    clean = np.zeros(records.shape, dtype=records.dtype)
    for name in records.dtype.names:
        clean[name] = records[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


def _count(node: Any, counts: Counter[int]) -> None:
    if isinstance(node, dict):
        if "__loader__" in node and node["__loader__"] not in _IMMUTABLE and "__id__" in node:
            counts[node["__id__"]] += 1
        for value in node.values():
            _count(value, counts)
    elif isinstance(node, list):
        for value in node:
            _count(value, counts)


def _rewrite(node: Any, names: Mapping[str, str], shared: set[int], numbers: dict[int, int]) -> Any:
    if isinstance(node, list):
        return [_rewrite(item, names, shared, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    if "__loader__" not in node:
        return {key: _rewrite(value, names, shared, numbers) for key, value in node.items()}
    result: dict[str, Any] = {}
    identity = node.get("__id__")
    if identity in shared and node["__loader__"] not in _IMMUTABLE:
        # From 1: the loader takes 0 for "no id".
        result["__id__"] = numbers.setdefault(identity, len(numbers) + 1)
    for key, value in node.items():
        if key == "file":
            result[key] = names[value]
        elif key != "__id__":
            result[key] = _rewrite(value, names, shared, numbers)
    if node["__loader__"] == "SetNode":
        result["content"] = sorted(result["content"], key=lambda item: json.dumps(item, sort_keys=True))
    return result
