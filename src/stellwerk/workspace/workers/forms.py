"""What passes between an engine and its workers, through the store: attempts and outcomes as JSON, values by digest.

The forms are described in `docs/formats/attempt.md`. Nothing in them is executable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.adapters import exchange
from stellwerk.pipelines.model import BUILTIN, Attempt, Encoded, Failure, Outcome
from stellwerk.pipelines.sources import module_file

FORMAT = "stellwerk-attempt/1"
Get = Callable[[Digest], bytes]
Put = Callable[[bytes], Digest]


def written(attempt: Attempt, sources: str) -> bytes:
    """The document of an attempt.

    Args:
        sources: The tree of the project's files, in the store; empty if the step needs none.
    """
    described = exchange.described(attempt)
    return canonical.dumps(
        {
            "format": FORMAT,
            "attempt": {**described, "file": ""},
            "inputs": {name: [digest_of(value) for value in values] for name, values in attempt.inputs.items()},
            "sources": sources,
        }
    )


def digest_of(value: Encoded) -> Digest:
    """Names the bytes of a value, wherever they are from."""
    return Digest(value.digest) if value.digest else of_bytes(value.data)


def sources_of(document: bytes) -> str:
    """The tree of the project's files that a document names; empty for none."""
    return str(_body(document)["sources"])


def read(document: bytes, get: Get, folder: Path) -> Attempt:
    """The attempt of a document, with its inputs and, in this folder, its code. `Invalid` for anything else."""
    body = _body(document)
    described = dict(body["attempt"])
    module = str(described["function"]).partition(":")[0]
    portable = str(described["function"]).startswith((BUILTIN, "stellwerk."))
    file = None if portable else module_file(folder, module)
    if not portable and file is None:
        raise Invalid(f"the sources of this attempt do not have the module {module!r}", code="step-not-importable")
    described["file"] = str(file or "")
    inputs = {name: [get(Digest(one)) for one in digests] for name, digests in body["inputs"].items()}
    return exchange.from_description(described, inputs)


def told(outcome: Outcome | Failure, put: Put) -> bytes:
    """The document of an outcome, with its values in the store."""
    if isinstance(outcome, Failure):
        return canonical.dumps({"format": FORMAT, "failure": asdict(outcome)})
    outputs = {name: [put(value.data), value.media] for name, value in outcome.outputs.items()}
    facts = {"log": outcome.log, "seconds": outcome.seconds, "cpu_seconds": outcome.cpu_seconds}
    return canonical.dumps({"format": FORMAT, "outputs": outputs, **facts, "peak_memory": outcome.peak_memory})


def heard(document: bytes, get: Get) -> Outcome | Failure:
    """The outcome of a document. `Invalid` for anything else."""
    body = _body(document)
    try:
        if "failure" in body:
            return Failure(**body["failure"])
        outputs = {
            name: Encoded(media=media, data=get(Digest(digest)), digest=digest)
            for name, (digest, media) in body["outputs"].items()
        }
        return Outcome(
            outputs=outputs,
            log=body["log"],
            seconds=float(body["seconds"]),
            cpu_seconds=float(body["cpu_seconds"]),
            peak_memory=int(body["peak_memory"]),
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise Invalid(f"not the outcome of an attempt: {cause}", code="invalid-attempt") from cause


def _body(document: bytes) -> dict[str, Any]:
    body = canonical.loads(document)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise Invalid(f"not the document of an attempt (expected {FORMAT})", code="invalid-attempt")
    return body
