"""Scanning model files as bytes: parsed completely or refused. Nothing is loaded, imported or run here.

Content decides what a file is; its name may only make things worse. Whether a class is acceptable is for policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stellwerk.evidence.scan import containers, pickles, plain
from stellwerk.evidence.scan.report import (
    DATA,
    EXECUTABLE,
    REFUSED,
    Finding,
    FormatClass,
    Scanned,
    ScanReport,
    refused,
)

__all__ = ["Finding", "FormatClass", "ScanReport", "scan_file", "scan_files"]

_BY_MAGIC: tuple[tuple[bytes, Callable[[bytes], Scanned]], ...] = (
    (b"\x93NUMPY", plain.scan_npy),
    (b"PK\x03\x04", containers.scan_zip),
    (b"PAR1", plain.scan_parquet),
    (b"ARROW1\0\0", plain.scan_arrow),
)
_UNREAD: tuple[tuple[bytes, str], ...] = (
    (b"PK", "a broken or empty archive"),
    (b"PARE", "an encrypted Parquet file"),
    (b"\x89HDF", "HDF5 (Keras weights); store the model as skops or safetensors"),
    (b"GGUF", "GGUF, whose templates are code"),
    (b"\x1f\x8b", "a gzip stream (joblib?)"),
    (b"BZh", "a bzip2 stream (joblib?)"),
    (b"\xfd7zXZ", "an xz stream (joblib?)"),
    (b"\x04\x22\x4d\x18", "an lz4 stream (joblib?)"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x78\x01", "a zlib stream (joblib?)"),
    (b"\x78\x5e", "a zlib stream (joblib?)"),
    (b"\x78\x9c", "a zlib stream (joblib?)"),
    (b"\x78\xda", "a zlib stream (joblib?)"),
)
_KINDS_BY_NAME = {
    ".npy": {"an npy array"},
    ".safetensors": {"safetensors"},
    ".skops": {"a skops archive"},
    ".parquet": {"Parquet"},
    ".arrow": {"Arrow"},
    ".feather": {"Arrow"},
    ".json": {"JSON"},
    ".txt": {"text", "JSON"},
    ".md": {"text", "JSON"},
    ".csv": {"text", "JSON"},
    ".toml": {"text"},
    ".yaml": {"text", "JSON"},
    ".yml": {"text", "JSON"},
    ".onnx": {"ONNX"},
}


def scan_files(files: Mapping[str, bytes]) -> ScanReport:
    """Classify the files of a model. No files, one unreadable file or one executable file: not clean."""
    if not files:
        nothing = Finding(path="", severity="critical", reason="there are no files to scan")
        return ScanReport(format_class=REFUSED, findings=(nothing,), clean=False)
    classes: set[FormatClass] = set()
    findings: list[Finding] = []
    for path in sorted(files):
        found = scan_file(path, files[path])
        classes.add(found.format_class)
        findings += [Finding(path=path, severity=severity, reason=reason) for severity, reason in found.against]
    worst = REFUSED if REFUSED in classes else EXECUTABLE if EXECUTABLE in classes else DATA
    return ScanReport(format_class=worst, findings=tuple(findings), clean=worst == DATA and not findings)


def scan_file(path: str, content: bytes) -> Scanned:
    """Classify one file by its content, then refuse it if its name promises something else."""
    found = _by_content(path, content)
    for ending, kinds in _KINDS_BY_NAME.items():
        if path.lower().endswith(ending) and found.kind not in kinds:
            reason = f"the file is called {ending} but its content is {found.kind}"
            return Scanned(format_class=REFUSED, kind=found.kind, against=(("critical", reason), *found.against))
    return found


def _by_content(path: str, content: bytes) -> Scanned:
    if plain.looks_like_tensors(content) and content[2:3] == b"\0":
        # A header of 1,152 bytes begins like a pickle of protocol 4; no pickle goes on with a zero byte.
        return plain.scan_tensors(content)
    if pickles.is_pickle(content):
        return pickles.scan_pickle(content)
    for magic, scan in _BY_MAGIC:
        if content.startswith(magic):
            return scan(content)
    if plain.looks_like_tensors(content) or path.lower().endswith(".safetensors"):
        return plain.scan_tensors(content)
    if plain.is_text(content):
        return plain.scan_text(path, content)
    for magic, kind in _UNREAD:
        if content.startswith(magic):
            return refused(kind, f"{kind} is not read here, so nothing is known about it")
    if path.lower().endswith(".onnx"):
        return refused("ONNX", "ONNX is not read yet, so nothing is known about it")
    return refused("unknown content", "the content is of no known kind")
