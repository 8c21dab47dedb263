"""What a step key stands for, put together again from a run that had it.

A run names the digests of its inputs but not how they were read. Whatever is tried is compared with the key itself,
which is the digest of the right answer, so that nothing is guessed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from stellwerk.core.digest import Digest
from stellwerk.pipelines.keys import KeyDocument
from stellwerk.pipelines.model import Node, Stored
from stellwerk.pipelines.values import JSON_MEDIA, PARQUET, file_media
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller

MOST = 4096
"""Answers that are tried."""
_SEVERAL = re.compile(r"(?P<argument>.+)#(?P<index>\d+)")


def retold(caller: Caller, key: Digest, runs: Sequence[Run], node: Node | None) -> KeyDocument | None:
    """The document of a key; None if what is known does not lead to it."""
    if node is None:
        return None
    for run in runs:
        for number, tried in enumerate(_answers(caller, run, node)):
            if tried.key == key:
                return tried
            if number >= MOST:
                break
    return None


def _answers(caller: Caller, run: Run, node: Node) -> Iterator[KeyDocument]:
    if run.code is None or run.environment is None:
        return
    params = dict(run.params)
    seed = params.pop("seed", None) if node.seeds else None
    counted = {name: digest for name, digest in run.inputs.items() if name not in node.aside}
    media = {digest: _media(caller, digest) for digest in set(counted.values())}
    digests = list(media)
    for chosen in itertools.product(*(media[digest] for digest in digests)):
        how = dict(zip(digests, chosen, strict=True))
        for inputs in _shapes(counted, node, how):
            yield KeyDocument(
                code=run.code,
                params=params,
                inputs=inputs,
                environment=run.environment,
                kind=node.kind,
                outputs=node.outputs,
                seed=seed,
                aside=aside([run], node),
            )


def aside(runs: Sequence[Run], node: Node | None) -> dict[str, Stored]:
    """The files that the newest of the runs found though its key does not cover them."""
    if node is None or not runs:
        return {}
    return {
        name: Stored(digest=runs[0].inputs[name], media=file_media(node.params["places"][name]))
        for name in node.aside
        if name in runs[0].inputs
    }


def _shapes(
    given: Mapping[str, Digest], node: Node, how: dict[Digest, str]
) -> Iterator[dict[str, Stored | tuple[Stored, ...]]]:
    """The inputs by argument. One value may be a value, or a list of one; no value is a list of none."""
    found: dict[str, list[Stored]] = {argument: [] for argument in node.inputs if argument not in node.aside}
    for name, digest in given.items():
        match = None if name in node.inputs else _SEVERAL.fullmatch(name)
        found.setdefault(match["argument"] if match else name, []).append(Stored(digest=digest, media=how[digest]))
    choices: list[list[Stored | tuple[Stored, ...]]] = [
        [values[0], (values[0],)] if len(values) == 1 else [tuple(values)] for values in found.values()
    ]
    for chosen in itertools.product(*choices):
        yield dict(zip(found, chosen, strict=True))


def _media(caller: Caller, digest: Digest) -> list[str]:
    """How the bytes of a digest may be read: as whoever made them said, as a table, or as JSON."""
    said: tuple[str, ...] = caller.call(ops.media_of_value, {"digest": digest})
    return list(dict.fromkeys((*said, PARQUET, JSON_MEDIA)))
