"""Executors by the names that people give."""

from __future__ import annotations

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.workspace.executing import executor


@pytest.mark.parametrize(
    ("name", "kind"), [("in-process", "InProcess"), ("subprocess:3", "Subprocess"), ("pool:3", "Pool")]
)
def test_names_mean_executors(name: str, kind: str) -> None:
    """A number says how many attempts run at the same time."""
    made = executor(name)

    assert kind == type(made).__name__
    assert (1 if kind == "InProcess" else 3) == made.capacity().cpus
    made.close()


@pytest.mark.parametrize(
    "name",
    ["", "in-process:2", "ray:", "pool:", "pool:0", "pool:-1", "pool:x", "pool:99999999", "pool:٣", "threads", "Ray"],
)
def test_other_names_are_refused(name: str) -> None:
    """The message says which there are."""
    with pytest.raises(Invalid) as told:
        executor(name)

    assert "unknown-executor" == told.value.code
    assert "pool:N" in told.value.message
