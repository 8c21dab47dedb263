"""Paths of a DVC repository and names of datasets."""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata

from stellwerk.core.errors import Invalid
from stellwerk.core.names import MAX_NAME, path_part

SEPARATOR = "--"


def dataset_name(path: str, prefix: str = "") -> str:
    """The name of the dataset for a path: its parts joined by `--`.

    `data/raw/train.csv` is `data--raw--train.csv`. Where a part has to be changed to be part of a name, the first
    eight digits of the path's SHA-256 are added, so that two paths never share a name.
    """
    parts = [*([prefix] if prefix else []), *path.split("/")]
    name = SEPARATOR.join(parts)
    clean = all(re.fullmatch(r"[A-Za-z0-9._-]+", part) and SEPARATOR not in part for part in parts)
    if clean and len(name) <= MAX_NAME and name[0].isalnum() and not name.endswith("."):
        return name
    mark = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_plain(SEPARATOR.join(map(_plain, parts)))[: MAX_NAME - 9].rstrip('.-')}-{mark}"


def _plain(part: str) -> str:
    ascii_part = unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_part).strip("-._") or "unnamed"


def output_path(folder: str, wdir: str, path: str) -> str:
    """The path of an output from the repository's root.

    Args:
        folder: Of the file that tells of it, from the root; empty for the root itself.

    Raises:
        Invalid: `foreign-path`: it is an address, absolute, or outside of the repository.
    """
    joined = posixpath.normpath(posixpath.join(folder, wdir, path))
    outside = joined == "." or joined == ".." or joined.startswith(("../", "/"))
    if "://" in path or "://" in wdir or posixpath.isabs(path) or posixpath.isabs(wdir) or "\\" in path or outside:
        raise Invalid(
            f"{path[:120]!r} is not inside of the repository",
            code="foreign-path",
            hint="only files of it are imported",
        )
    if "\0" in joined:
        raise Invalid(f"{path[:120]!r} is no path", code="foreign-path")
    return joined


def inner_path(path: str) -> str:
    """Check the path of a file inside a tracked folder. Raises `Invalid` where a tree cannot hold it."""
    for part in path.split("/"):
        path_part(part)
    return path
