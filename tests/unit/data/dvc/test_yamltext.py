"""YAML is read as DVC reads it, and nothing in it can harm the reader."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import yamltext

# Not a text such as `0E0`, which the writer, of YAML 1.1, leaves without quotes, and YAML 1.2 reads as a number.
TEXTS = st.text(max_size=20).filter(lambda text: not text[-1:].isdigit())
WORDS = st.one_of(st.none(), st.booleans(), st.integers(-(10**15), 10**15), TEXTS)
VALUES = st.recursive(
    WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def read(text: str) -> Any:
    return yamltext.read(text.encode(), "some.dvc")


@given(VALUES.filter(lambda value: value is not None))
def test_what_is_written_is_read(value: Any) -> None:
    """Plain values come back from the YAML that another writer made of them."""
    text = yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None)

    assert value == read(text)


@given(st.text(max_size=40))
def test_a_text_is_one_scalar_for_every_reader(value: str) -> None:
    """What `text` writes is the same text to our reader and to one of YAML 1.1."""
    line = f"path: {yamltext.text(value)}\n"

    assert {"path": value} == read(line)
    assert {"path": value} == yaml.safe_load(line)


@pytest.mark.parametrize("word", ["yes", "012:30", "2020-01-01", "1_000", "1e", "0x", "=", "on"])
def test_words_of_the_older_yaml_are_text(word: str) -> None:
    """Only YAML 1.2 resolves scalars, so a path called `on` stays one."""
    assert {"a": word} == read(f"a: {word}")


def test_hashes_that_look_like_numbers_are_numbers_only_without_quotes() -> None:
    """A quoted hash is text; that is how DVC writes those of digits alone."""
    digits = "1" * 32

    assert {"a": digits, "b": int(digits)} == read(f"a: '{digits}'\nb: {digits}")


def test_keys_are_names() -> None:
    """Whatever a key looks like, it is the text that stands there."""
    assert {"1.10": 1, "0E0": 2, "on": 3, "true": 4} == read("1.10: 1\n0E0: 2\non: 3\ntrue: 4")


def test_anchors_and_merges_are_read() -> None:
    """An alias is the same value, and `<<` merges under what is said itself."""
    assert {"base": {"x": 1, "y": 2}, "a": {"x": 1, "y": 3}, "b": {"x": 1, "y": 2}} == read(
        "base: &base {x: 1, y: 2}\na:\n  <<: *base\n  y: 3\nb: *base\n"
    )


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "aliases counted as often as used"),
        ("a: !!python/object/apply:os.system [id]", "the tag"),
        ("a: !secret x", "the tag"),
        ("[" * 100_000, "nested deeper"),
        ("a:\n" + "".join(" " * i + "- \n" for i in range(1, 500)), "cannot be read"),
        ("{a: " * 90, "nested deeper"),
        ("a: 1\na: 2", "line 2: the key 'a' stands there twice"),
        ("&x [*x]", "names nothing complete"),
        ("a: *nothing", "cannot be read"),
        ("--- 1\n--- 2\n", "second document"),
        ("a: [1", "line"),
        ("? [a]\n: b", "a key is no text"),
        ("a: \x00", "cannot be read"),
    ],
)
def test_hostile_yaml_is_refused(text: str, reason: str) -> None:
    """The error says the file, and where and why; nothing is constructed or expanded."""
    with pytest.raises(Invalid) as refused:
        read(text)

    assert "invalid-dvc-file" == refused.value.code
    assert refused.value.message.startswith("some.dvc cannot be read: ")
    assert reason in refused.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """There is no third way."""
    with suppress(Invalid):
        yamltext.read(data, "some.dvc")


def test_spans_say_where_values_stand() -> None:
    """Characters are counted, not bytes, so that a value can be replaced in the text."""
    text = "desc: größer\nouts:\n- md5: abc # why\n  path: 'd é'\n"
    key, value = yamltext.spans(text.encode(), "some.dvc")[("outs", 0, "md5")]

    assert "md5" == text[key.start : key.stop]
    assert "abc" == text[value.start : value.stop]
    assert 2 == key.column
