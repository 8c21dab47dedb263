"""Values pass by type and come back equal; what cannot pass is told, and nothing is ever executed."""

from __future__ import annotations

import io
import pickle
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stellwerk.core.errors import Bug, Corrupt, Invalid
from stellwerk.pipelines.model import Encoded
from stellwerk.pipelines.values import STANDARD, Codec, Codecs, codec_from

PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8")),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters(codec="utf-8")), inner)),
    max_leaves=20,
)
TYPES = st.sampled_from(["i8", "<i4", ">f8", "f4", "?", "u1", "<M8[us]", "S3", "U2", "c16"])


@given(value=PLAIN)
def test_plain_data_comes_back(value: Any) -> None:
    """Law: decode after encode gives an equal value."""
    assert value == STANDARD.decode(STANDARD.encode(value))


@given(value=st.binary())
def test_bytes_come_back(value: bytes) -> None:
    """As they are."""
    assert value == STANDARD.decode(STANDARD.encode(value))
    assert value == STANDARD.encode(value).data


@given(kind=TYPES, shape=st.lists(st.integers(0, 3), max_size=3), data=st.data())
def test_arrays_come_back(kind: str, shape: list[int], data: st.DataObject) -> None:
    """With type and shape, whatever the bytes in them."""
    dtype = np.dtype(kind)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = data.draw(st.binary(min_size=count, max_size=count)) if kind not in {"?", "U2"} else bytes(count)
    array = np.frombuffer(raw, dtype=dtype).reshape(shape)

    back = STANDARD.decode(STANDARD.encode(array))

    assert (array.dtype, array.shape, array.tobytes()) == (back.dtype, back.shape, back.tobytes())


@settings(deadline=None)
@given(
    numbers=st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), max_size=5),
    texts=st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"))), max_size=5),
)
def test_frames_come_back(numbers: list[int | None], texts: list[str | None]) -> None:
    """With types, nulls and empty ones; encoding twice gives the same bytes."""
    rows = min(len(numbers), len(texts))
    frame = pl.DataFrame(
        {"number": numbers[:rows], "text": texts[:rows], "time": [datetime(2013, 1, 1)] * rows},
        schema={"number": pl.Int64, "text": pl.String, "time": pl.Datetime("us", "UTC")},
    ).with_columns(kind=pl.col("text").cast(pl.Categorical), list=pl.concat_list("number"))

    encoded = STANDARD.encode(frame)

    assert_frame_equal(frame, STANDARD.decode(encoded))
    assert encoded == STANDARD.encode(frame)


def test_numbers_of_numpy_are_numbers() -> None:
    """Metrics are full of them."""
    value = {"auroc": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True), "all": [np.float64(0.25)]}

    assert {"auroc": 0.5, "n": 3, "ok": True, "all": [0.25]} == STANDARD.decode(STANDARD.encode(value))


def test_files_pass_by_content_and_name(tmp_path: Path) -> None:
    """The bytes are the file's own, so that one content has one digest."""
    source = tmp_path / "model.onnx"
    source.write_bytes(b"content")
    (tmp_path / "there").mkdir()

    encoded = STANDARD.encode(source)
    back = STANDARD.decode(encoded, folder=tmp_path / "there")

    assert b"content" == encoded.data
    assert tmp_path / "there" / "model.onnx" == back
    assert b"content" == back.read_bytes()


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", ".hidden", "a/b", "", "a\x00b", "ü"])
def test_files_are_written_only_where_they_may_be(tmp_path: Path, name: str) -> None:
    """A hostile name in a media type reaches no path."""
    with pytest.raises(Invalid) as refused:
        STANDARD.decode(
            Encoded(media=f"application/vnd.stellwerk.file; name={name}", data=b"x"), folder=tmp_path / "in"
        )

    assert "unknown-media-type" == refused.value.code
    assert [] == list(tmp_path.iterdir())


class Unknown:
    def __reduce__(self) -> Any:
        raise AssertionError("somebody tried to pickle")


@pytest.mark.parametrize(
    "value",
    [
        Unknown(),
        {"a": Unknown()},
        [1, {2}],
        {1: "a"},
        float("nan"),
        2**60,
        np.array([Unknown()], dtype=object),
        pl.DataFrame({"a": [Unknown()]}, schema={"a": pl.Object}),
        pl.LazyFrame({"a": [1]}),
        Path("/nowhere/at/all"),
        Path("/"),
        lambda: 1,
        "\ud800",
    ],
    ids=lambda value: re.sub(r"0x\w+", "…", repr(value)),  # workers agree on the names of tests
)
def test_other_values_are_refused(value: Any) -> None:
    """With the type, the step and what is supported."""
    with pytest.raises(Invalid) as refused:
        STANDARD.encode(value, step="train")

    assert "unsupported-value" == refused.value.code
    assert "'train'" in refused.value.message
    assert all(name in refused.value.message for name in STANDARD.names)
    assert refused.value.hint


def test_a_nested_value_is_refused_before_the_stack_ends() -> None:
    """Depth is limited, also for values that contain themselves."""
    value: list[Any] = []
    value.append(value)

    with pytest.raises(Invalid) as refused:
        STANDARD.encode(value)

    assert "unsupported-value" == refused.value.code


class Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("raise AssertionError('executed')",))


def test_nothing_is_unpickled() -> None:
    """An array of objects carries a pickle; reading it is refused, not done."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    media = STANDARD.encode(np.zeros(1)).media

    for data in (buffer.getvalue(), pickle.dumps(1)):
        with pytest.raises(Corrupt) as refused:
            STANDARD.decode(Encoded(media=media, data=data))
        assert "unreadable-value" == refused.value.code


@pytest.mark.parametrize("media", ["application/vnd.apache.parquet", "application/vnd.stellwerk.npy"])
def test_damaged_bytes_are_corrupt(media: str) -> None:
    """Readers of foreign formats raise many things; callers see one."""
    with pytest.raises(Corrupt):
        STANDARD.decode(Encoded(media=media, data=b"PAR1 but not really PAR1"))


def test_unknown_media_types_are_refused() -> None:
    """And the message says which are known."""
    with pytest.raises(Invalid) as refused:
        STANDARD.decode(Encoded(media="application/x-python-pickle", data=b""))

    assert "unknown-media-type" == refused.value.code
    assert "application/json" in refused.value.message


UPPER = Codec(
    name="upper-case text",
    media_type="text/x-upper",
    accepts=lambda value: isinstance(value, str) and value.isupper(),
    encode=str.encode,
    decode=bytes.decode,
)


def test_registered_codecs_come_first() -> None:
    """What none of them accepts goes to the standard ones."""
    codecs = STANDARD.with_first(UPPER)

    assert "text/x-upper" == codecs.encode("ABC").media
    assert "application/json" == codecs.encode("abc").media
    assert "ABC" == codecs.decode(codecs.encode("ABC"))


def test_a_media_type_has_one_codec() -> None:
    """Two would make reading depend on their order."""
    with pytest.raises(Bug):
        Codecs((UPPER, UPPER))


def test_a_reference_must_name_a_codec() -> None:
    """Anything else is our mistake."""
    with pytest.raises(Bug):
        codec_from("stellwerk.pipelines.values:STANDARD")
