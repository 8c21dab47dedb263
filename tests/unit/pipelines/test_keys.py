"""Step keys: everything that can change a result changes the key, and nothing else does."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import of_bytes
from stellwerk.pipelines.keys import step_key
from stellwerk.pipelines.model import Stored

DIGESTS = st.binary(max_size=3).map(of_bytes)
STORED = st.builds(lambda digest, media: Stored(digest=digest, media=media), DIGESTS, st.sampled_from(["a/a", "b/b"]))
NAMES = st.sampled_from(["x", "y", "z"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(0, 3)))
FACTS = st.fixed_dictionaries(
    {
        "code": DIGESTS,
        "params": st.dictionaries(NAMES, VALUES, max_size=3),
        "inputs": st.dictionaries(NAMES, st.one_of(STORED, st.lists(STORED, max_size=2).map(tuple)), max_size=3),
        "environment": DIGESTS,
        "kind": st.sampled_from(["data", "train"]),
        "outputs": st.sampled_from([("value",), ("a", "b"), ("b", "a")]),
        "seed": st.one_of(st.none(), st.integers(0, 3)),
    }
)


def _same(left: Any, right: Any) -> bool:
    """Equal also in type: to JSON, 1 and true are different values."""
    return repr(sorted(left.items())) == repr(sorted(right.items()))


def _canonical(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "params": sorted(facts["params"].items()), "inputs": sorted(facts["inputs"].items())}


@given(facts=FACTS)
def test_same_facts_same_key(facts: dict[str, Any]) -> None:
    """Whatever the order in which arguments were given."""
    turned = {
        **facts,
        "params": dict(reversed(list(facts["params"].items()))),
        "inputs": dict(reversed(list(facts["inputs"].items()))),
    }

    assert step_key(**facts) == step_key(**turned)


@given(left=FACTS, right=FACTS)
def test_other_facts_other_key(left: dict[str, Any], right: dict[str, Any]) -> None:
    """No two different tasks share a key."""
    assert _same(_canonical(left), _canonical(right)) == (step_key(**left) == step_key(**right))


@given(
    facts=FACTS,
    name=st.sampled_from(["code", "params", "inputs", "environment", "kind", "outputs", "seed"]),
    data=st.data(),
)
def test_each_fact_counts(facts: dict[str, Any], name: str, data: st.DataObject) -> None:
    """Changing one of them alone changes the key."""
    other = data.draw(FACTS)
    changed = {**facts, name: other[name]}

    assert _same(_canonical(facts), _canonical(changed)) == (step_key(**facts) == step_key(**changed))


def test_a_single_input_is_not_a_list_of_one() -> None:
    """A step with one seed gives a list, which another step must not confuse with its item."""
    one = Stored(digest=of_bytes(b"1"), media="application/json")
    facts: dict[str, Any] = {
        "code": of_bytes(b""),
        "params": {},
        "environment": of_bytes(b""),
        "kind": "data",
        "outputs": ("value",),
    }

    assert step_key(inputs={"x": one}, **facts) != step_key(inputs={"x": [one]}, **facts)


def test_the_key_is_pinned() -> None:
    """A key that changes by accident would retire every cache there is: these bytes are the format."""
    key = step_key(
        code=of_bytes(b"code"),
        params={"depth": 6, "rate": 0.1},
        inputs={"table": Stored(digest=of_bytes(b"table"), media="application/vnd.apache.parquet")},
        environment=of_bytes(b"environment"),
        kind="train",
        outputs=("value",),
        seed=3,
    )

    written = (
        '{"code":"sha256:5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b",'
        '"environment":"sha256:@environment","format":"stellwerk-step/1",'
        '"inputs":{"table":{"digest":"sha256:@table","media":"application/vnd.apache.parquet"}},'
        '"kind":"train","outputs":["value"],"params":{"depth":6,"rate":0.1},"seed":3}'
    )
    for name in ("environment", "table"):
        written = written.replace(f"@{name}", hashlib.sha256(name.encode()).hexdigest())
    assert "sha256:" + hashlib.sha256(written.encode()).hexdigest() == key
