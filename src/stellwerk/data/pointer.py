"""The text that stands for a file or folder of a dataset in a code repository (`docs/formats/pointer.md`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.core.digest import parse as parse_digest
from stellwerk.core.errors import Invalid
from stellwerk.core.names import name as checked_name

SUFFIX = ".stw"
"""Stands behind the name of the file or folder that the pointer is about."""
FORMAT = "stellwerk-pointer/1"
LARGEST = 4096
_FIELDS = {"format", "dataset", "kind", "digest"}
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which version of which dataset belongs where the pointer stands.

    Attributes:
        kind: Whether the dataset is a folder, or one file.
        digest: The tree of the version: the one line that changes from version to version.
    """

    dataset: str
    kind: Literal["folder", "file"]
    digest: Digest


def text(pointer: Pointer) -> str:
    """The pointer as it is written; equal pointers have equal texts."""
    return (
        "# Stands for what lies beside it under this name without the ending. `stellwerk data checkout` brings it.\n"
        f'format = "{FORMAT}"\n'
        f'dataset = "{pointer.dataset}"\n'
        f'kind = "{pointer.kind}"\n'
        f'digest = "{pointer.digest}"\n'
    )


def parse(data: bytes, *, name: str) -> Pointer:
    """Read a pointer strictly; anything unknown, missing or wrong is `Invalid` and named.

    Args:
        name: What the file is called, for the error.
    """
    if len(data) > LARGEST:
        raise _invalid(name, f"it has {len(data):,} bytes (expected at most {LARGEST:,})")
    try:
        found = tomllib.loads(data.decode())
    except UnicodeDecodeError as cause:
        raise _invalid(name, "it is not UTF-8") from cause
    except tomllib.TOMLDecodeError as cause:
        if any(line.startswith(_CONFLICT) for line in data.decode().splitlines()):
            raise Invalid(
                f"{name} has a conflict of a merge in it",
                code="pointer-conflict",
                hint="keep the digest of one side, then `stellwerk data checkout`",
            ) from cause
        raise _invalid(name, f"it is not TOML: {cause}") from cause
    for problem, keys in (("unknown", found.keys() - _FIELDS), ("missing", _FIELDS - found.keys())):
        if keys:
            raise _invalid(name, f"{problem} {', '.join(repr(key[:40]) for key in sorted(keys))}")
    for key, value in found.items():
        if not isinstance(value, str):
            raise _invalid(name, f"{key} is no text")
    if found["format"] != FORMAT:
        raise _invalid(name, f"its format is {found['format'][:60]!r} (expected {FORMAT!r})")
    kind = found["kind"]
    if kind not in ("folder", "file"):
        raise _invalid(name, f"its kind is {kind[:40]!r} (expected 'folder' or 'file')")
    try:
        dataset, digest = checked_name(found["dataset"], what="dataset"), parse_digest(found["digest"])
    except Invalid as cause:
        raise _invalid(name, cause.message) from cause
    return Pointer(dataset=dataset, kind="folder" if kind == "folder" else "file", digest=digest)


def _invalid(name: str, problem: str) -> Invalid:
    return Invalid(
        f"{name} cannot be read: {problem}",
        code="invalid-pointer",
        hint="take it from the repository again, or write it anew with `stellwerk data add`",
    )
