"""Pointer files written: a new one as `dvc add` writes it, or one output changed in a file that people may edit."""

from __future__ import annotations

import json
import re
from typing import Any

from stellwerk.data.dvc import pointers, yamltext
from stellwerk.data.dvc.model import MD5, Output


def new(output: Output) -> bytes:
    """A `.dvc` file with one output."""
    lines = [f"{key}: {_scalar(value)}" for key, value in _fields(output).items() if value is not None]
    return ("outs:\n- " + "\n  ".join([*lines, f"path: {yamltext.text(output.path)}"]) + "\n").encode()


def changed(data: bytes, where: str, position: int, output: Output) -> bytes:
    """A `.dvc` file whose output at a position has another content. Everything else stays, comments too.

    Raises `Invalid` for a file that cannot be read.
    """
    spliced = _spliced(data, where, position, output)
    if spliced is not None and _says(spliced, where, position, output):
        return spliced
    # Written in one line, or otherwise not as DVC writes: the values are kept, the form is not. JSON is YAML.
    document = yamltext.read(data, where)
    entry = document["outs"][position]
    for key, value in _fields(output).items():
        if value is None:
            entry.pop(key, None)
        else:
            entry[key] = value
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def ignore_line(name: str) -> str:
    """The line of a `.gitignore` that means exactly this name in its folder."""
    return "/" + re.sub(r"([\\\[\]*?!#])", r"\\\1", name)


def _fields(output: Output) -> dict[str, Any]:
    """What names the content, in DVC's order; None is left out."""
    return {
        "md5": output.value + (".dir" if output.directory else ""),
        "size": output.size,
        "nfiles": output.files if output.directory else None,
        "isexec": True if output.executable and not output.directory else None,
        "hash": MD5,
    }


def _scalar(value: Any) -> str:
    if value is True:
        return "true"
    return yamltext.text(value) if isinstance(value, str) and value != MD5 else str(value)


def _spliced(data: bytes, where: str, position: int, output: Output) -> bytes | None:
    text = data.decode("utf-8-sig")
    places = yamltext.spans(data, where)
    edits: list[tuple[int, int, str]] = []
    anchor = places.get(("outs", position, "path"))
    if anchor is None:
        return None
    added: list[str] = []
    for key, value in _fields(output).items():
        place = places.get(("outs", position, key))
        if place is None and value is not None:
            added.append(f"{key}: {_scalar(value)}")
        elif place is not None and value is not None:
            edits.append((place[1].start, place[1].stop, _scalar(value)))
        elif place is not None:
            begin = text.rfind("\n", 0, place[0].start) + 1
            end = text.find("\n", place[1].stop)
            if text[begin : place[0].start].strip() or end < 0:
                return None
            edits.append((begin, end + 1, ""))
    if added:
        end = text.find("\n", anchor[1].stop)
        end = len(text) if end < 0 else end
        edits.append((end, end, "".join("\n" + " " * anchor[0].column + line for line in added)))
    for begin, end, fresh in sorted(edits, reverse=True):
        text = text[:begin] + fresh + text[end:]
    return text.encode()


def _says(data: bytes, where: str, position: int, output: Output) -> bool:
    """Whether a file says of an output what it should, and is still one that can be read."""
    try:
        found = pointers.pointer(data, where).outputs[position]
    except (ValueError, IndexError):
        return False
    names = ("path", "algorithm", "value", "directory", "size")
    more = (found.files if found.directory else None, found.executable)
    wanted = (output.files if output.directory else None, output.executable and not output.directory)
    return all(getattr(found, name) == getattr(output, name) for name in names) and more == wanted
