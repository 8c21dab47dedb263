"""Zip archives that carry models: skops is read completely; PyTorch and Keras are recognised as executable."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib

from stellwerk.core.errors import Refused
from stellwerk.evidence.scan import pickles
from stellwerk.evidence.scan.report import Scanned, Severity, data, executable, refused
from stellwerk.models import archive, npy, schema

MAX_PICKLE_BYTES = 256 << 20

UNREADABLE = (
    zipfile.BadZipFile,
    ValueError,  # names and offsets that are none
    NotImplementedError,  # a compression or a version that zipfile does not know
    OSError,
    EOFError,
    RuntimeError,  # encrypted
    zlib.error,
    lzma.LZMAError,
)
"""What `zipfile` raises on archives that are damaged, hostile or of a kind it does not know."""


def scan_zip(content: bytes) -> Scanned:
    """Classify an archive by its members. What is neither skops nor a known executable container is refused."""
    names = _names(content)
    if any(name.rsplit("/", 1)[-1].endswith((".pkl", ".pickle")) for name in names):
        return _torch(content)
    if "config.json" in names and {"metadata.json", "model.weights.h5"} & set(names):
        return executable("a Keras archive")
    try:
        members = archive.read(content)
        if schema.SCHEMA not in members:
            return refused("an archive", "the archive is of no known kind (no skops schema in it)")
        return _skops(members)
    except Refused as refusal:
        return refused("an archive", refusal.message)


def _skops(members: dict[str, bytes]) -> Scanned:
    """Every member parsed, every node of the schema on the list, every array without objects and referenced."""
    arrays: dict[str, npy.Header] = {}
    for name, content in members.items():
        if name == schema.SCHEMA:
            continue
        if not name.endswith(".npy"):
            return refused("a skops archive", f"member {name!r} is not an npy array")
        try:
            arrays[name] = npy.header(content)
        except Refused as refusal:
            return refused("a skops archive", f"member {name!r}: {refusal.message}")
    found = schema.examine(schema.read_schema(members[schema.SCHEMA]), arrays)
    if found.untrusted:
        return refused("a skops archive", f"types that are not on the list: {', '.join(found.untrusted[:20])}")
    if found.problems:
        return refused("a skops archive", "; ".join(found.problems[:5]))
    return data("a skops archive")


def _names(content: bytes) -> tuple[str, ...]:
    """Member names as a lenient reader sees them: only to recognise what is refused or executable anyway."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source:
            return tuple(source.namelist())
    except UNREADABLE:
        return ()


def _torch(content: bytes) -> Scanned:
    """A PyTorch-style archive: its pickles are scanned, whatever comes out it is executable."""
    against: list[tuple[Severity, str]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source:
            for info in source.infolist():
                if not info.filename.endswith((".pkl", ".pickle")):
                    continue
                if (
                    info.file_size > MAX_PICKLE_BYTES
                    or info.file_size > archive.MAX_RATIO * info.compress_size + 65536
                ):
                    return refused(
                        "a PyTorch archive", f"member {info.filename[:80]!r} would unpack to too many bytes"
                    )
                against += pickles.verdict(source.read(info))
    except UNREADABLE as cause:
        return refused("a PyTorch archive", f"the archive cannot be read: {cause}")
    return executable("a PyTorch archive", *against)
