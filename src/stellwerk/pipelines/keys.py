"""Step keys: one digest that names what a step would do, so that every machine shares one cache.

A key covers the code closure of the step, its parameters, its inputs (bytes and how they are read), the environment
lock, the seed, the kind and the outputs. It covers no time, no machine and no retries. It is the digest of a document
that says all of this (`KeyDocument`); kept in a store, the key itself names the bytes that explain it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Corrupt, Invalid
from stellwerk.pipelines.environment import ground
from stellwerk.pipelines.model import Environment, Node, Stored

FORMAT = "stellwerk-step/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDocument:
    """What a step key stands for.

    Args:
        inputs: By argument; a tuple where the argument is a list because its maker ran several times.
        execution: The one execution whose result this is; empty where every execution may use it.
        aside: Inputs that the step finds though the key does not cover them.
    """

    code: Digest
    params: dict[str, Any]
    inputs: dict[str, Stored | tuple[Stored, ...]]
    environment: Digest
    kind: str
    outputs: tuple[str, ...]
    seed: int | None = None
    execution: str = ""
    aside: dict[str, Stored] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Stored | tuple[Stored, ...]]:
        """All that goes into the step, by argument."""
        return {**self.inputs, **self.aside}

    @property
    def bytes(self) -> bytes:
        """The canonical bytes, which the key names."""
        return canonical.dumps(
            {
                **({"execution": self.execution} if self.execution else {}),
                "format": FORMAT,
                "code": self.code,
                "params": self.params,
                "inputs": {
                    name: _stored(value) if isinstance(value, Stored) else [_stored(item) for item in value]
                    for name, value in self.inputs.items()
                },
                "environment": self.environment,
                "seed": self.seed,
                "kind": self.kind,
                "outputs": list(self.outputs),
            }
        )

    @property
    def key(self) -> Digest:
        return of_bytes(self.bytes)


def parse(data: bytes) -> KeyDocument:
    """The document of a key. Raises `Corrupt` for anything else."""
    try:
        body = canonical.loads(data)
        if body["format"] != FORMAT:
            raise Corrupt(f"a step of the format {body['format']!r} (expected {FORMAT})", code="invalid-step")
        return KeyDocument(
            code=Digest(body["code"]),
            params=body["params"],
            inputs={name: _read(value) for name, value in body["inputs"].items()},
            environment=Digest(body["environment"]),
            kind=body["kind"],
            outputs=tuple(body["outputs"]),
            seed=body["seed"],
            execution=body.get("execution", ""),
        )
    except (KeyError, TypeError, AttributeError, Invalid) as cause:
        raise Corrupt(f"this is not the document of a step key: {cause}", code="invalid-step") from cause


def _read(value: Any) -> Stored | tuple[Stored, ...]:
    if isinstance(value, list):
        return tuple(Stored(digest=item["digest"], media=item["media"]) for item in value)
    return Stored(digest=value["digest"], media=value["media"])


def step_key(
    *,
    code: Digest,
    params: Mapping[str, Any],
    inputs: Mapping[str, Stored | Sequence[Stored]],
    environment: Digest,
    kind: str,
    outputs: Sequence[str],
    seed: int | None = None,
    execution: str = "",
) -> Digest:
    """The key of one task. An argument whose maker ran once per seed or item is a sequence.

    The number of seeds is no part of it: raising `seeds` from 5 to 10 keeps the five results there are.

    Args:
        execution: The one execution whose result this is; empty where every execution may use it.
    """
    return KeyDocument(
        code=code,
        params=dict(params),
        inputs={name: value if isinstance(value, Stored) else tuple(value) for name, value in inputs.items()},
        environment=environment,
        kind=kind,
        outputs=tuple(outputs),
        seed=seed,
        execution=execution,
    ).key


def check_aside(node: Node, inputs: Mapping[str, Stored | Sequence[Stored]]) -> dict[str, Stored]:
    """The inputs of a node that its key does not cover.

    Raises:
        Conflict: `parameters-changed`, if one is not what it was when parameters were read from it.
    """
    found: dict[str, Stored] = {}
    for name, digest in node.aside.items():
        stored = inputs[name]
        if not isinstance(stored, Stored) or stored.digest != digest:
            raise Conflict(
                f"{node.params['places'][name]!r} was changed after {node.id!r} was planned with parameters of it",
                code="parameters-changed",
                hint="plan again: `stellwerk run`, or export the pipeline anew",
            )
        found[name] = stored
    return found


def _stored(value: Stored) -> dict[str, str]:
    # The media type counts: the same bytes read as text and as a number are different inputs.
    return {"digest": value.digest, "media": value.media}


def environment_key(engine: Digest, own: Environment | None, locks: Mapping[str, Digest]) -> Digest:
    """What stands for the environment of a step: the engine's lock, or what the step declares of its own.

    Args:
        locks: The digest of each lock file by its path, so that what it says counts and not where it lies.
    """
    if own is None:
        return engine
    base: dict[str, Any] = {} if own.image else {"ground": ground()} if own.lock else {"engine": engine}
    lock = {"lock": locks[own.lock]} if own.lock else {}
    said = {name: text for name in ("extra", "python", "image") if (text := getattr(own, name))}
    return canonical.digest({**base, **lock, **said})


def wait_code(closures: Iterable[Digest]) -> Digest:
    """What stands for the code of a wait: all code of the plan, so that a decision holds for no other."""
    return canonical.digest({"builtin": "wait", "version": 1, "closures": sorted(set(closures))})
