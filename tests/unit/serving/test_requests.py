"""Requests have one meaning: what is ambiguous, of another type or too much is refused; everything else survives."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.models.model import Column, Signature
from stellwerk.serving import oip, plain
from stellwerk.serving.model import LIMITS, BatchAnswer, Steer
from stellwerk.testing.serving import NUMERIC, SIGNATURE

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
KINDS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "number": ("FP64", NUMBERS),
    "category": ("BYTES", TEXT),
    "boolean": ("BOOL", st.booleans()),
    "time": ("BYTES", TEXT),
}


@st.composite
def tables(draw: st.DrawFn, *, kinds: tuple[str, ...] = tuple(KINDS)) -> tuple[Signature, dict[str, list[Any]]]:
    """A signature and columns that fit it."""
    names = draw(
        st.lists(TEXT.filter(lambda name: name not in ("stellwerk_key",)), min_size=1, max_size=4, unique=True)
    )
    inputs = [Column(name=name, kind=draw(st.sampled_from(kinds))) for name in names]  # type: ignore[arg-type]
    rows = draw(st.integers(1, 4))
    columns = {
        column.name: draw(st.lists(st.none() | KINDS[column.kind][1], min_size=rows, max_size=rows))
        for column in inputs
    }
    return Signature(inputs=tuple(inputs), target="t", task="binary", classes=("no", "yes")), columns


# --- the plain way --------------------------------------------------------------------------------------------------


@given(tables(), st.booleans(), st.booleans())
def test_records_and_columns_mean_the_same(
    table: tuple[Signature, dict[str, list[Any]]], ascii_only: bool, spaced: bool
) -> None:
    """All three forms, however the JSON is written, are read as the same columns."""
    _, columns = table
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    separators = (" , ", " : ") if spaced else (",", ":")

    def read(document: Any) -> Any:
        return plain.request(json.dumps(document, ensure_ascii=ascii_only, separators=separators).encode())

    assert (columns, None) == read({"columns": columns})
    assert (columns, None) == read({"records": records})
    first = {name: values[:1] for name, values in columns.items()}
    assert (first, ["k"]) == read({"record": records[0], "key": "k"})
    assert (columns, ["k"] * len(records)) == read({"records": records, "keys": ["k"] * len(records)})


@given(
    st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["records", "record", "columns", "keys", "key", "a"]), inner, max_size=3
            )
        ),
    )
)
def test_any_json_is_read_or_refused(document: Any) -> None:
    """There is no third way, for either protocol."""
    body = json.dumps(document).encode()
    for read in (plain.request, lambda data: oip.request(data, SIGNATURE)):
        with contextlib.suppress(Invalid):
            read(body)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0eE+-.\\u d8truefalsn', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """What the quick reader takes, Python's reader takes too, and finds no key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    for read in (plain.request, lambda data: oip.request(data, SIGNATURE)):
        try:
            read(body)
        except Invalid:
            continue
        json.loads(body, object_pairs_hook=unique)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid-json"),
        (b"{", "invalid-json"),
        (b"\xef\xbb\xbf{}", "invalid-json"),
        (b'{"record":{"a":"\xff"}}', "invalid-json"),
        (b'{"record":{"a":"\\ud800"}}', "invalid-json"),
        (b'{"record":{"a":"\\ud800\\u0041"}}', "invalid-json"),
        (b'{"record":{"a":"\\udc00"}}', "invalid-json"),
        (b'{"record":{"a":NaN}}', "invalid-json"),
        (b'{"record":{"a":-Infinity}}', "invalid-json"),
        (b'{"record":{"a":01}}', "invalid-json"),
        (b'{"record":{"a":1}} x', "invalid-json"),
        (b'{"record":{"a":1}}{}', "invalid-json"),
        (b'{"record":{"a":' + b"[" * 100_000, "invalid-request"),
        (b"[" * 100_000, "invalid-request"),
        (b'{"record":{"a":1,"a":2}}', "invalid-json"),
        (b'{"record":{"a":1 , "b":2, "a" : 2}}', "invalid-json"),
        (b'{"record":{"a":1,"\\u0061":2}}', "invalid-json"),
        (b'{"record":{"a":"\\":","b":1,"b":1}}', "invalid-json"),
        (b'{"record":{"a":1},"record":{"a":2}}', "invalid-json"),
        (b'{"records":[{"a":1},{"a":1,"a":1}]}', "invalid-json"),
        (b'{"columns":{"a":[1],"a":[2]}}', "invalid-json"),
        (b'{"record":{"a":1e400}}', "invalid-request"),
        (b'{"record":{"a":' + b"9" * 5000 + b"}}", "invalid-request"),
        (b"null", "invalid-request"),
        (b"{}", "invalid-request"),
        (b'{"rows":[]}', "invalid-request"),
        (b'{"record":{"a":1},"columns":{"a":[1]}}', "invalid-request"),
        (b'{"record":{"a":{}}}', "invalid-request"),
        (b'{"records":{}}', "invalid-request"),
        (b'{"columns":{"a":1}}', "invalid-request"),
        (b'{"record":{"a":1},"keys":["k"]}', "invalid-request"),
        (b'{"records":[{"a":1}],"key":"k"}', "invalid-request"),
        (b'{"records":[]}', "empty-batch"),
        (b'{"records":[{"a":1},{"b":1}]}', "ragged-columns"),
        (b'{"records":[{"a":1},{}]}', "ragged-columns"),
    ],
)
def test_what_is_not_one_clear_request_is_refused(body: bytes, code: str) -> None:
    """Broken, ambiguous, wrongly shaped."""
    with pytest.raises(Invalid) as refusal:
        plain.request(body)

    assert code == refusal.value.code


def test_quoted_text_may_look_like_json() -> None:
    """Counting keys quickly never refuses text that only looks like them."""
    value = 'a":1,"a":2 : "b" :'
    body = json.dumps({"record": {"a": value, "b": value}}).encode()

    assert ({"a": [value], "b": [value]}, None) == plain.request(body)


# --- the Open Inference Protocol ------------------------------------------------------------------------------------


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


@given(tables(), st.sampled_from(["flat", "column", "nested"]), st.text(max_size=5))
def test_tensors_carry_columns(table: tuple[Signature, dict[str, list[Any]]], form: str, request_id: str) -> None:
    """One tensor per column, as [n], as [n, 1], flat or nested: the columns arrive as they were."""
    signature, columns = table
    rows = len(next(iter(columns.values())))
    shape = [rows] if form == "flat" else [rows, 1]
    tensors = [
        tensor(
            column.name,
            KINDS[column.kind][0],
            [[value] for value in columns[column.name]] if form == "nested" else columns[column.name],
            shape,
        )
        for column in signature.inputs
    ]
    body = json.dumps({"id": request_id, "inputs": tensors, "parameters": {"trace": 1}}).encode()

    asked = oip.request(body, signature)

    assert columns == asked.columns
    assert ([request_id] if rows == 1 and request_id else None) == asked.keys


@given(
    st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(oip.MATRIX_NAMES),
)
def test_one_matrix_is_read_in_the_order_of_the_signature(rows: list[list[float]], nested: bool, name: str) -> None:
    """Row-major, flat or nested."""
    data: list[Any] = rows if nested else [value for row in rows for value in row]
    body = json.dumps({"inputs": [tensor(name, "FP64", data, [len(rows), 2])]}).encode()

    columns = oip.request(body, NUMERIC).columns

    assert {"x": [row[0] for row in rows], "y": [row[1] for row in rows]} == columns


def test_keys_come_in_a_tensor_of_their_own() -> None:
    """The caller's references are no input."""
    body = json.dumps(
        {"inputs": [tensor("x", "FP32", [1, 2]), tensor("stellwerk_key", "BYTES", ["a", None])]}
    ).encode()

    asked = oip.request(body, NUMERIC)

    assert ({"x": [1, 2]}, ["a", None]) == (asked.columns, asked.keys)


X = tensor("x", "FP64", [1.0])


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([], "empty-batch"),
        ([X, X], "invalid-request"),
        ([X | {"shape": [10**9]}], "too-large"),
        ([X | {"shape": [-1]}], "too-large"),
        ([X | {"shape": [LIMITS.rows + 1]}], "too-large"),
        ([X | {"shape": [2]}], "invalid-tensor"),
        ([X | {"shape": []}], "invalid-tensor"),
        ([X | {"shape": [1, 1, 1]}], "invalid-tensor"),
        ([X | {"shape": [1, 2], "data": [1, 2]}], "invalid-tensor"),
        ([X | {"shape": [1.5]}], "invalid-request"),
        ([X | {"data": [[1.0, 2.0]]}], "invalid-tensor"),
        ([X | {"data": [[[1.0]]]}], "invalid-request"),
        ([X | {"data": "AAAA"}], "invalid-request"),
        ([X | {"datatype": "FP128"}], "invalid-tensor"),
        ([X | {"datatype": 64}], "invalid-request"),
        ([X | {"data": ["1"]}], "wrong-type"),
        ([X | {"data": [True]}], "wrong-type"),
        ([X | {"datatype": "INT64"}], "wrong-type"),
        ([X | {"datatype": "INT8", "data": [128]}], "wrong-type"),
        ([X | {"datatype": "UINT64", "data": [-1]}], "wrong-type"),
        ([X | {"datatype": "BOOL", "data": [1]}], "wrong-type"),
        ([X | {"datatype": "BYTES", "data": [1]}], "wrong-type"),
        ([X | {"parameters": {"binary_data_size": 8}}], "invalid-tensor"),
        ([X | {"parameters": {"deep": [[1]]}}], "invalid-request"),
        ([{"name": "x"}], "invalid-request"),
        ([X | {"colour": "red"}], "invalid-request"),
        ([tensor("features", "FP64", [1.0, 2.0, 3.0], [1, 3])], "invalid-tensor"),
        ([X, tensor("stellwerk_key", "INT64", [1])], "wrong-type"),
    ],
)
def test_wrong_tensors_are_refused(inputs: list[Any], code: str) -> None:
    """By header before data, naming the tensor."""
    with pytest.raises(Invalid) as refusal:
        oip.request(json.dumps({"inputs": inputs}).encode(), NUMERIC)

    assert code == refusal.value.code


def test_a_matrix_for_a_model_with_categories_is_refused_with_the_way_out() -> None:
    """The hint says how to send it."""
    with pytest.raises(Invalid, match="carrier") as refusal:
        oip.request(json.dumps({"inputs": [tensor("features", "FP64", [1.0] * 3, [1, 3])]}).encode(), SIGNATURE)

    assert "one tensor per column" in refusal.value.hint


def test_repeated_keys_are_refused_also_deep_inside() -> None:
    """One meaning only."""
    for body in (
        b'{"inputs":[{"name":"x","name":"y","datatype":"FP64","shape":[1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1],"parameters":{"a":1,"a":1}}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1]}],"id":"a","id":"b"}',
    ):
        with pytest.raises(Invalid) as refusal:
            oip.request(body, NUMERIC)
        assert "invalid-json" == refusal.value.code


def test_unknown_outputs_are_refused_before_anything_is_predicted() -> None:
    """A regression has no probabilities."""
    body = json.dumps({"inputs": [X], "outputs": [{"name": "probabilities"}]}).encode()

    with pytest.raises(Invalid, match="value, prediction, prediction_id, steered"):
        oip.request(body, NUMERIC)


def answer(**changes: Any) -> BatchAnswer:
    facts: dict[str, Any] = {
        "id": "b", "model": Digest("sha256:" + "0" * 64), "release": "r", "signal": "clear", "why": "released",
        "task": "binary", "classes": ("no", "yes"), "predictions": ("no", None), "scores": ((0.75, 0.25), None),
        "steered": {1: Steer(kind="slice", reason="slice carrier=OO", probability=1.0)}, "queue": "review",
    }  # fmt: skip
    return BatchAnswer(**(facts | changes))


def test_the_answer_in_tensors() -> None:
    """Withheld rows are null; everything else is said."""
    asked = oip.Asked(columns={}, keys=None, id="mine", outputs=())

    document = json.loads(oip.response("delay", asked, answer()))

    assert {
        "model_name": "delay",
        "model_version": "r",
        "id": "mine",
        "parameters": {"model_digest": "sha256:" + "0" * 64, "release": "r", "signal": "clear"},
        "outputs": [
            tensor("probabilities", "FP64", [0.75, 0.25, None, None], [2, 2]),
            tensor("prediction", "BYTES", ["no", None]),
            tensor("prediction_id", "BYTES", ["b-0", "b-1"]),
            tensor("steered", "BYTES", ["", "slice carrier=OO"]),
        ],
    } == document


def test_only_the_outputs_asked_for_are_sent() -> None:
    """In the order asked for."""
    asked = oip.Asked(columns={}, keys=None, id="", outputs=("steered", "value"))
    regression = answer(task="regression", classes=(), predictions=(2.5, None), scores=((2.5,), None))

    document = json.loads(oip.response("delay", asked, regression))

    assert [
        tensor("steered", "BYTES", ["", "slice carrier=OO"]),
        tensor("value", "FP64", [2.5, None]),
    ] == document["outputs"]
    assert "id" not in document


def test_metadata_lists_inputs_and_outputs() -> None:
    """Clients learn names, types and shapes."""
    document = oip.model_metadata("delay", "r", SIGNATURE)

    assert [("distance", "FP64"), ("carrier", "BYTES"), ("weekend", "BOOL")] == [
        (item["name"], item["datatype"]) for item in document["inputs"]
    ]
    assert {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]} == document["outputs"][0]
    assert {"name": "value", "datatype": "FP64", "shape": [-1]} == oip.model_metadata("d", "", NUMERIC)["outputs"][0]


def test_the_plain_answer() -> None:
    """One object per row; a case where a person will look."""
    rows = [
        {"id": "b-0", "prediction": "no", "score": 0.25, "steered": None},
        {"id": "b-1", "prediction": None, "score": None, "steered": "slice carrier=OO", "case": "review"},
    ]

    assert {
        "predictions": rows, "model": "sha256:" + "0" * 64, "release": "r", "signal": "clear",
    } == json.loads(plain.response(answer()))  # fmt: skip


def test_the_plain_answer_of_other_tasks() -> None:
    """Probabilities by class, numbers, or nothing but steering."""
    several = answer(task="multiclass", classes=("a", "b"), predictions=("a", None))
    number = answer(task="regression", classes=(), predictions=(2.5, None), scores=((2.5,), None))
    stopped = answer(task=None, model=Digest(""), release="", signal="stop", predictions=(None,), scores=(None,),
                     classes=(), steered={0: Steer(kind="stop", reason="stop: dark", probability=1.0)})  # fmt: skip

    first = [json.loads(plain.response(item))["predictions"][0] for item in (several, number, stopped)]
    assert [
        {"id": "b-0", "prediction": "a", "probabilities": {"a": 0.75, "b": 0.25}, "steered": None},
        {"id": "b-0", "prediction": 2.5, "steered": None},
        {"id": "b-0", "prediction": None, "steered": "stop: dark", "case": "review"},
    ] == first
