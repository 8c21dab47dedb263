"""The private folder through which an attempt and its answer pass between processes: JSON, and values as files.

Nothing in it is executable; what comes back is read as data, never more than allowed and never through a link.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from stellwerk.core import canonical
from stellwerk.core.errors import Refused
from stellwerk.pipelines.model import Attempt, Closure, Encoded, Failure, FailureCode, Outcome, Resources

REQUEST, ANSWER = "request.json", "answer.json"
MAX_ANSWER = 1 << 22
MAX_VALUE = 1 << 34
_FACTS = ("node", "id", "task", "function", "file", "params", "seed", "outputs", "timeout", "memory")
_TEXTS = ("code", "message", "hint", "cause", "traceback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An attempt, and where it runs: search path and codecs of the process that asks, and that process."""

    attempt: Attempt
    path: tuple[str, ...]
    codecs: tuple[str, ...]
    parent: int
    foreign: bool = False
    """Whether the step declares an environment: then the path has only the project's folders."""


def described(attempt: Attempt) -> dict[str, Any]:
    """An attempt as JSON, without the bytes of its inputs."""
    return {
        **{name: getattr(attempt, name) for name in _FACTS},
        "code": [attempt.code.digest, attempt.code.parts] if attempt.code else None,
        "inputs": {name: [value.media for value in values] for name, values in attempt.inputs.items()},
        "listed": sorted(attempt.listed),
        "resources": {**asdict(attempt.resources), "custom": dict(attempt.resources.custom)},
    }


def from_description(document: Mapping[str, Any], inputs: Mapping[str, list[bytes]]) -> Attempt:
    """The attempt of a description, with the bytes of its inputs in the same order."""
    facts = {name: document[name] for name in _FACTS}
    code = document["code"]
    return Attempt(
        **{**facts, "outputs": tuple(document["outputs"])},
        code=Closure(digest=code[0], parts=tuple((name, digest) for name, digest in code[1])) if code else None,
        inputs={
            name: tuple(Encoded(media=media, data=data) for media, data in zip(kinds, inputs[name], strict=True))
            for name, kinds in document["inputs"].items()
        },
        listed=frozenset(document["listed"]),
        resources=Resources(**document["resources"]),
    )


def send(attempt: Attempt, folder: Path, *, codecs: tuple[str, ...], parent: int) -> None:
    """Write a request into an empty folder."""
    for name, values in enumerate(attempt.inputs.values()):
        for index, value in enumerate(values):
            (folder / f"in-{name}-{index}").write_bytes(value.data)
    foreign = attempt.environment is not None
    document = {
        "attempt": described(attempt),
        "order": list(attempt.inputs),
        "path": [entry for entry in sys.path if isinstance(entry, str) and (not foreign or _projects(entry))],
        "foreign": foreign,
        "version": list(sys.version_info[:2]),
        "codecs": codecs,
        "parent": parent,
    }
    (folder / REQUEST).write_bytes(canonical.dumps(document))


def receive(folder: Path) -> Request:
    """Read a request."""
    document = canonical.loads((folder / REQUEST).read_bytes())
    kinds = document["attempt"]["inputs"]
    inputs = {
        name: [(folder / f"in-{number}-{index}").read_bytes() for index in range(len(kinds[name]))]
        for number, name in enumerate(document["order"])
    }
    attempt = from_description(document["attempt"], inputs)
    if document["version"] != list(sys.version_info[:2]):
        attempt = replace(attempt, code=None)  # another Python writes a syntax tree in other words
    return Request(
        attempt=attempt,
        path=tuple(document["path"]),
        codecs=tuple(document["codecs"]),
        parent=document["parent"],
        foreign=document["foreign"],
    )


def _projects(entry: str) -> bool:
    """Whether a folder of the search path is the project's, and not the standard library's or an installed one."""
    paths = sysconfig.get_paths()
    roots = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    path = Path(entry)
    outside = {"site-packages", "dist-packages"} & set(path.parts) or path.suffix == ".zip"
    return not outside and not any(path.is_relative_to(root) for root in roots)


def answer(outcome: Outcome | Failure, folder: Path) -> None:
    """Write what came of the attempt; the name of the answer appears last."""
    document: dict[str, Any]
    if isinstance(outcome, Failure):
        document = {"failure": texts(outcome)}
    else:
        for number, value in enumerate(outcome.outputs.values()):
            (folder / f"out-{number}").write_bytes(value.data)
        document = {"outputs": [[name, value.media] for name, value in outcome.outputs.items()]}
    (folder / "answer.part").write_bytes(canonical.dumps(document))
    (folder / "answer.part").rename(folder / ANSWER)


def answered(folder: Path) -> Outcome | Failure | None:
    """Read what came of the attempt; None if nothing was answered."""
    try:
        document = canonical.loads(_read(folder / ANSWER, MAX_ANSWER))
    except FileNotFoundError:
        return None
    if "failure" in document:
        return failed_from(document["failure"])
    return Outcome(
        outputs={
            str(name): Encoded(media=str(media), data=_read(folder / f"out-{number}", MAX_VALUE))
            for number, (name, media) in enumerate(document["outputs"])
        }
    )


def failed_from(texts: Mapping[str, Any]) -> Failure:
    """The failure that another process described. `ValueError` if there is no such failure."""
    code = str(texts["code"])
    if code not in get_args(FailureCode):
        raise ValueError(f"{code[:40]!r} is no code of a failure")
    message, hint, cause, traceback = (str(texts[name]) for name in _TEXTS[1:])
    return Failure(code=cast("FailureCode", code), message=message, hint=hint, cause=cause, traceback=traceback)


def _read(path: Path, most: int) -> bytes:
    """A regular file, not through a link, and never more than allowed."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise Refused("the answer of a step's process is larger than allowed, or no file", code="answer-refused")
        return opened.read(most)


def texts(failed: Failure) -> dict[str, str]:
    """A failure as JSON, without what the step printed."""
    return {name: getattr(failed, name).encode("utf-8", "replace").decode() for name in _TEXTS}
