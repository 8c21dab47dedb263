"""Formats that hold nothing but data: safetensors, npy, Parquet and Arrow by their frames, JSON and text."""

from __future__ import annotations

import math
import struct
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Refused
from stellwerk.evidence.scan import pickles
from stellwerk.evidence.scan.report import Scanned, data, executable, refused
from stellwerk.models import npy

MAX_HEADER = 16 << 20
_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}
_CODE = (".py", ".pyc", ".pth", ".sh", ".bash", ".bat", ".ps1", ".js", ".rb", ".pl", ".lua", ".r", ".ipynb", ".jl")
_CODE_KEYS = ("auto_map", "custom_pipelines", "chat_template")


def scan_npy(content: bytes) -> Scanned:
    """An array without objects that fills its file exactly."""
    try:
        npy.header(content)
    except Refused as refusal:
        return refused("an npy array", refusal.message)
    return data("an npy array")


def looks_like_tensors(content: bytes) -> bool:
    """Whether content begins as safetensors: a length and then a JSON object."""
    return len(content) > 9 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def scan_tensors(content: bytes) -> Scanned:
    """safetensors whose header is read completely and whose tensors fill the rest without gap or overlap."""
    try:
        _check_tensors(content)
    except Invalid as reason:
        return refused("safetensors", reason.message)
    return data("safetensors")


def _check_tensors(content: bytes) -> None:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or length > MAX_HEADER or 8 + length > len(content):
        raise Invalid("the safetensors header is too long or cut off")
    header = canonical.loads(content[8 : 8 + length].rstrip(b" "))
    if content[8:9] != b"{" or not isinstance(header, dict):
        raise Invalid("the safetensors header is not an object")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise Invalid("the safetensors metadata is not a table of texts")
    at = 0
    for begin, end in sorted(_place(name, entry) for name, entry in header.items()):
        if begin != at:
            raise Invalid("safetensors tensors overlap or leave a gap")
        at = end
    if at != len(content) - 8 - length:
        raise Invalid("safetensors has bytes that belong to no tensor, or too few")


def _place(name: str, entry: Any) -> tuple[int, int]:
    """First and last offset of a tensor, which must be as long as its type and shape say."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Invalid(f"tensor {name[:60]!r} has other fields than dtype, shape and data_offsets")
    bits, shape, offsets = _BITS.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if bits is None or not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise Invalid(f"tensor {name[:60]!r} has a type, shape or place that cannot be read")
    if offsets[1] - offsets[0] != math.prod(shape) * bits // 8:
        raise Invalid(f"tensor {name[:60]!r} is longer or shorter than its shape says")
    return offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 32 and all(type(n) is int and n >= 0 for n in value)


def scan_parquet(content: bytes) -> Scanned:
    """A Parquet file by its frame. The pages are decoded by sandboxed readers only."""
    footer = struct.unpack_from("<I", content, len(content) - 8)[0] if len(content) >= 12 else len(content)
    if content[-4:] != b"PAR1" or footer > len(content) - 12:
        return refused("Parquet", "the Parquet file is cut off, encrypted, or followed by other bytes")
    return data("Parquet")


def scan_arrow(content: bytes) -> Scanned:
    """An Arrow IPC file by its frame. The batches are decoded by sandboxed readers only."""
    footer = struct.unpack_from("<i", content, len(content) - 10)[0] if len(content) >= 24 else -1
    if content[-6:] != b"ARROW1" or not 0 < footer <= len(content) - 18:
        return refused("Arrow", "the Arrow file is cut off or followed by other bytes")
    return data("Arrow")


def is_text(content: bytes) -> bool:
    """Whether content is UTF-8 without control characters other than tabs and line ends."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\n\r" for character in set(text)) and "\x7f" not in text


def scan_text(path: str, content: bytes) -> Scanned:
    """Text that is neither a pickle in disguise nor source code; JSON where it is called or begins like JSON."""
    if pickles.hides_in_text(content):
        return pickles.scan_pickle(content)
    if path.lower().endswith(_CODE) or content.startswith(b"#!"):
        return executable("source code")
    if b"!!python/" in content:
        return executable("YAML with Python tags")
    if path.lower().endswith(".json"):
        return _scan_json(content)
    if content.lstrip()[:1] in {b"{", b"["}:
        found = _scan_json(content)
        return found if found.format_class != "refused" else data("text")
    return data("text")


def _scan_json(content: bytes) -> Scanned:
    try:
        value = canonical.loads(content)
    except Invalid as reason:
        return refused("text", f"the file is not strict JSON: {reason.message}")
    for key in _CODE_KEYS:
        if isinstance(value, dict) and key in value:
            return executable("JSON", reason=f"the key {key!r} names code or a template that is run when loading")
    return data("JSON")
