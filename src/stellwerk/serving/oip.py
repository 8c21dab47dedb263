"""The Open Inference Protocol, version 2, in JSON: metadata, requests to columns, answers to tensors. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from stellwerk.core.errors import Invalid
from stellwerk.models.model import Signature
from stellwerk.serving import wire
from stellwerk.serving.model import LIMITS, BatchAnswer, Scalar

PLATFORM = "stellwerk"
KEY_TENSOR = "stellwerk_key"
"""A BYTES tensor of this name holds the caller's own reference of each row."""
MATRIX_NAMES = ("input-0", "features", "predict")
"""Names under which clients send all inputs of a purely numeric model as one tensor of two dimensions."""

ALL_OUTPUTS = ("probabilities", "value", "prediction", "prediction_id", "steered")

DATATYPES = {"number": "FP64", "category": "BYTES", "time": "BYTES", "boolean": "BOOL"}
_INTEGERS = {f"{sign}INT{bits}": (sign == "U", bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_FLOATS = ("FP16", "FP32", "FP64")

Value: TypeAlias = str | int | float | bool | None
Table: TypeAlias = dict[str, list[Scalar]]


class _Tensor(Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[Value | list[Value]]
    parameters: dict[str, Value] = {}


class _Wanted(Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Value] = {}


class _Request(Struct, forbid_unknown_fields=True, omit_defaults=True):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Value] = {}
    outputs: list[_Wanted] = []


_DECODER = msgspec.json.Decoder(_Request)


class Asked(Struct, frozen=True):
    """A request: columns, the caller's references, and what the answer should hold."""

    columns: Table
    keys: list[str | None] | None
    id: str
    outputs: tuple[str, ...]
    """Names of the wanted outputs; empty for all."""


def server_metadata(version: str) -> dict[str, Any]:
    """The answer to `GET /v2`."""
    return {"name": PLATFORM, "version": version, "extensions": []}


def model_metadata(endpoint: str, release: str, signature: Signature) -> dict[str, Any]:
    """The answer to `GET /v2/models/{endpoint}`; the release is the only version there is."""
    return {
        "name": endpoint,
        "versions": [release] if release else [],
        "platform": PLATFORM,
        "inputs": [
            {"name": column.name, "datatype": DATATYPES[column.kind], "shape": [-1]} for column in signature.inputs
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *inner]}
            for name, datatype, inner in _outputs(signature)
        ],
    }


def _outputs(signature: Signature) -> list[tuple[str, str, list[int]]]:
    values = ("value", "FP64", []) if signature.task == "regression" else (
        "probabilities", "FP64", [len(signature.classes)],
    )  # fmt: skip
    return [values, *((name, "BYTES", []) for name in ("prediction", "prediction_id", "steered"))]


def request(body: bytes, signature: Signature | None) -> Asked:
    """Read an inference request. Without a signature only named columns are understood."""
    asked = wire.decode(_DECODER, body, _members)
    if not asked.inputs:
        raise Invalid("the request has no inputs", code="empty-batch")
    names = [tensor.name for tensor in asked.inputs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the request has the input {twice[:60]!r} twice", code="invalid-request")
    if signature is not None and _is_matrix(asked.inputs, signature):
        columns = _matrix(asked.inputs[0], signature)
    else:
        columns = {tensor.name: _column(tensor) for tensor in asked.inputs}
    wanted = tuple(output.name for output in asked.outputs)
    # Before anything is predicted, because every prediction is logged.
    known = ALL_OUTPUTS if signature is None else tuple(name for name, _, _ in _outputs(signature))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise Invalid(f"there is no output {unknown[0][:60]!r} (there are {', '.join(known)})", code="unknown-output")
    return Asked(columns=columns, keys=_keys(columns, asked.id), id=asked.id, outputs=wanted)


def _members(asked: _Request) -> int:
    optional = sum(bool(part) for part in (asked.id, asked.parameters, asked.outputs))
    inner = sum(4 + bool(part.parameters) + len(part.parameters) for part in asked.inputs)
    wanted = sum(1 + bool(part.parameters) + len(part.parameters) for part in asked.outputs)
    return 1 + optional + len(asked.parameters) + inner + wanted


def _keys(columns: Table, request_id: str) -> list[str | None] | None:
    given = columns.pop(KEY_TENSOR, None)
    if given is not None:
        if not all(key is None or isinstance(key, str) for key in given):
            raise Invalid(f"{KEY_TENSOR!r} must be a BYTES tensor", code="wrong-type")
        return [key if isinstance(key, str) else None for key in given]
    single = all(len(values) == 1 for values in columns.values())
    return [request_id] if request_id and single else None


def _is_matrix(tensors: Sequence[_Tensor], signature: Signature) -> bool:
    inputs = {column.name for column in signature.inputs}
    return len(tensors) == 1 and tensors[0].name in MATRIX_NAMES and tensors[0].name not in inputs


def _matrix(tensor: _Tensor, signature: Signature) -> Table:
    names = [column.name for column in signature.inputs]
    other = [column.name for column in signature.inputs if column.kind != "number"]
    if other:
        raise Invalid(
            f"the model's input {other[0]!r} is not a number, so its inputs cannot be one tensor",
            code="invalid-tensor",
            hint="send one tensor per column, named as the column",
        )
    if len(tensor.shape) != 2 or tensor.shape[1] != len(names):
        raise Invalid(
            f"tensor {tensor.name!r} has the shape {tensor.shape[:8]}, expected [rows, {len(names)}]",
            code="invalid-tensor",
        )
    values = _flat(tensor, tensor.shape[0], len(names))
    return {name: values[index :: len(names)] for index, name in enumerate(names)}


def _column(tensor: _Tensor) -> list[Scalar]:
    shape = tensor.shape
    if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise Invalid(
            f"tensor {tensor.name[:60]!r} has the shape {shape[:8]}, expected [rows] or [rows, 1]",
            code="invalid-tensor",
        )
    return _flat(tensor, shape[0], 1)


def _flat(tensor: _Tensor, rows: int, width: int) -> list[Scalar]:
    """The values in row-major order, after their number and type were checked against the header."""
    where = f"tensor {tensor.name[:60]!r}"
    if "binary_data_size" in tensor.parameters:
        raise Invalid(f"{where} has binary data, only JSON is understood", code="invalid-tensor")
    if not 0 <= rows <= LIMITS.rows:
        raise Invalid(f"{where} has {rows:,} rows, at most {LIMITS.rows:,} are taken", code="too-large")
    values: list[Scalar] = []
    for item in tensor.data:
        if isinstance(item, list):
            if len(item) != width:
                raise Invalid(f"{where} has a row of {len(item)} values, expected {width}", code="invalid-tensor")
            values.extend(item)
        else:
            values.append(item)
    if len(values) != rows * width:
        raise Invalid(
            f"{where} has {len(values)} values, its shape {tensor.shape[:8]} says {rows * width}",
            code="invalid-tensor",
        )
    _check_type(where, tensor.datatype, values)
    return values


def _check_type(where: str, datatype: str, values: list[Scalar]) -> None:
    fits = _fits(datatype)
    if fits is None:
        raise Invalid(
            f"{where} has the datatype {datatype[:20]!r}, expected FP64, INT64, BOOL or BYTES", code="invalid-tensor"
        )
    for index, value in enumerate(values):
        if value is not None and not fits(value):
            raise Invalid(
                f"{where}: value {index} is {str(value)[:60]!r} ({type(value).__name__}), not {datatype}",
                code="wrong-type",
            )


def _fits(datatype: str) -> Callable[[Any], bool] | None:
    if datatype in _FLOATS:
        return lambda value: type(value) is float or (type(value) is int and abs(value) < 2**63)
    if datatype in _INTEGERS:
        unsigned, bits = _INTEGERS[datatype]
        low, high = (0, 2**bits) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return lambda value: type(value) is int and low <= value < high
    return {"BOOL": lambda value: type(value) is bool, "BYTES": lambda value: type(value) is str}.get(datatype)


def response(endpoint: str, asked: Asked, answer: BatchAnswer) -> bytes:
    """The answer to an inference request. Withheld rows have null for their scores and prediction."""
    outputs = _tensors(answer)
    document: dict[str, Any] = {
        "model_name": endpoint,
        "model_version": answer.release,
        "parameters": {
            "model_digest": answer.model,
            "release": answer.release,
            "signal": answer.signal,
        },
        "outputs": [outputs[name] for name in asked.outputs or outputs if name in outputs],
    }
    if asked.id:
        document["id"] = asked.id
    return wire.encode(document)


def _tensors(answer: BatchAnswer) -> dict[str, dict[str, Any]]:
    count = answer.count
    tensors: dict[str, dict[str, Any]] = {}
    if answer.task == "regression":
        values = [numbers[0] if numbers else None for numbers in answer.scores]
        tensors["value"] = _tensor("value", "FP64", [count], values)
    elif answer.task is not None:
        width = len(answer.classes)
        blank = (None,) * width
        flat = [p for numbers in answer.scores for p in (numbers or blank)]
        tensors["probabilities"] = _tensor("probabilities", "FP64", [count, width], flat)
    texts: dict[str, list[str | None]] = {
        "prediction": [_text(prediction) for prediction in answer.predictions],
        "prediction_id": [f"{answer.id}-{row}" for row in range(count)],
        "steered": [steer.reason if (steer := answer.steered.get(row)) else "" for row in range(count)],
    }
    return tensors | {name: _tensor(name, "BYTES", [count], values) for name, values in texts.items()}


def _tensor(name: str, datatype: str, shape: list[int], data: Iterable[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": list(data)}


def _text(prediction: str | float | None) -> str | None:
    if isinstance(prediction, float) and math.isfinite(prediction):
        return repr(prediction)
    return None if prediction is None else str(prediction)
