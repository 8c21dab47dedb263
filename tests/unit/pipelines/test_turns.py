"""Attempts have their turn as long as what they need is there: CPUs, memory, and what was declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.adapters import memory
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.turns import Turns, here
from stellwerk.pipelines.model import Attempt, Resources
from stellwerk.pipelines.stock import Stock, parse, parse_options

GIB = 1 << 30


def attempt(name: str, **needs: Any) -> Attempt:
    return Attempt(id=name, node=name, function="flow:step", resources=Resources(**needs))


def begun(turns: Turns) -> list[str]:
    """All whose turn it is now."""
    return [one.id for one in iter(turns.next, None)]


def test_of_a_declared_thing_no_more_is_taken_than_there_is() -> None:
    """With two licences, the third step that takes one waits until one is given back, though there are CPUs."""
    turns = Turns(Resources(cpus=8, custom={"licence": 2}))
    for name in "abcd":
        turns.add(attempt(name, custom={"licence": 1}))

    first = begun(turns)
    turns.free("b")

    assert ["a", "b"] == first
    assert ["c"] == begun(turns)


def test_memory_is_shared_out() -> None:
    """What steps may use together is no more than there is; one that may use more than that runs alone."""
    turns = Turns(Resources(cpus=8, memory="8GiB"))
    for name, size in (("a", "5GiB"), ("b", "3GiB"), ("c", "1GiB"), ("d", "64GiB")):
        turns.check(attempt(name, memory=size))
        turns.add(attempt(name, memory=size))

    first = begun(turns)
    turns.free("a")
    second = begun(turns)
    turns.free("b")
    turns.free("c")

    assert ["a", "b"] == first
    assert ["c"] == second
    assert ["d"] == begun(turns)


@pytest.mark.parametrize("there", [{}, {"licence": 1}])
def test_what_is_not_declared_is_refused_and_how_to_is_said(there: dict[str, float]) -> None:
    """At once, for nobody else will bring it."""
    with pytest.raises(Refused) as refused:
        Turns(Resources(cpus=8, custom=there)).check(attempt("a", custom={"licence": 2}))

    assert ("limits-not-kept", f"step 'a' needs 2 of licence, and here are {len(there)}") == (
        refused.value.code,
        refused.value.message,
    )
    assert "[resources] of stellwerk.toml" in refused.value.hint


def test_a_slip_in_a_name_is_noticed() -> None:
    """The nearest name that was declared is asked about; of GPUs nothing is declared."""
    turns = Turns(Resources(cpus=8, custom={"license": 1}))

    hints = []
    for needs in ({"custom": {"licence": 1}}, {"gpus": 1}):
        with pytest.raises(Refused) as refused:
            turns.check(attempt("a", **needs))
        hints.append(refused.value.hint)

    assert "did you mean 'license'? say what this machine has in [resources] of stellwerk.toml" in hints[0]
    assert "execute it where they are, or ask for less" == hints[1]


def test_in_process_a_declared_thing_is_not_refused() -> None:
    """Steps run one after the other there, so the limit holds; more than there is is refused all the same."""
    executor = InProcess(stock=Stock(custom={"licence": 1}))
    executor.start(attempt("a", custom={"licence": 1}))

    with pytest.raises(Refused) as refused:
        executor.start(attempt("b", custom={"licence": 2}))

    assert "limits-not-kept" == refused.value.code


def test_the_machine_has_what_was_declared_and_what_can_be_seen() -> None:
    """Memory is that of the machine where nobody says another."""
    seen, declared = here(3), here(3, Stock(memory="8GiB", custom={"licence": 2}))

    assert (3, memory.there() >> 20 << 20) == (seen.cpus, seen.amounts().get("memory", 0))
    assert {"memory": 8.0 * GIB, "licence": 2.0, "cpus": 3.0} == {
        name: amount for name, amount in declared.amounts().items() if name != "gpus"
    }


@pytest.mark.parametrize(
    ("group", "files", "there"),
    [
        ("", {}, 16),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": 4, "sys/fs/cgroup/a/memory.max": 8}, 4),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": 8}, 8),
        ("0::/a\n", {"sys/fs/cgroup/a/memory.max": 64}, 16),
        ("0::/of/the/host\n", {"sys/fs/cgroup/memory.max": 2}, 2),
        ("0::/../up\n", {"sys/fs/cgroup/memory.max": 2, "memory.max": 1}, 2),
        ("3:cpu:/a\n2:memory:/a\n", {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": 3}, 3),
        (
            "2:memory:/a\n0::/a\n",
            {"sys/fs/cgroup/memory/memory.limit_in_bytes": 5, "sys/fs/cgroup/a/memory.max": 9},
            5,
        ),
        ("nonsense", {}, 16),
    ],
)
def test_a_group_with_less_memory_has_less(tmp_path: Path, group: str, files: dict[str, Any], there: int) -> None:
    """The least of the machine, of the group and of those around it, by both versions; numbers here are GiB."""
    for name, text in {"proc/self/cgroup": group, **files}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text * GIB}\n" if isinstance(text, int) else text)

    assert there * GIB == memory.there(tmp_path, 16 * GIB)


def test_a_machine_that_does_not_say_shares_out_no_memory(tmp_path: Path) -> None:
    """As where there is neither `sysconf` nor a control group."""
    assert 0 == memory.there(tmp_path, 0)


def test_a_table_declares_amounts_by_name() -> None:
    """Of options the last word is theirs; what they do not name stays as it was."""
    declared = parse({"memory": "8GiB", "licence": 2, "rate": 0.5})
    given = parse_options(["licence=1", "memory=2GB"])

    assert Stock(memory="8GiB", custom={"licence": 2.0, "rate": 0.5}) == declared
    assert Stock(memory="2GB", custom={"licence": 1.0, "rate": 0.5}) == declared.with_those_of(given)
    assert declared == declared.with_those_of(Stock())


@pytest.mark.parametrize(
    ("key", "value", "said", "hint"),
    [
        ("licence", "two", "licence is 'two' (expected a number", "such as licence = 2"),
        ("licence", True, "licence is True", "such as licence = 2"),
        ("licence", -1, "licence is -1", "such as licence = 2"),
        ("licence", float("nan"), "licence is nan", "such as licence = 2"),
        ("licence", 10**400, "licence is 1000", ""),
        ("memroy", "8GiB", "memroy is '8GiB'", "did you mean 'memory'?"),
        ("memory", 8, "memory is 8 (expected a size)", "such as memory = '8GiB'"),
        ("memory", "lots", "memory is 'lots' (expected a size)", "such as memory = '8GiB'"),
        ("memory", "0B", "memory is '0B' (expected a size)", "such as memory = '8GiB'"),
        ("cpus", 4, "has the key 'cpus' (expected memory, and names of your own)", "`--on pool:4`"),
        ("gpus", 1, "has the key 'gpus'", "CUDA_VISIBLE_DEVICES"),
        ("", 1, "has the name ''", ""),
        ("a\nb", 1, "has the name 'a\\nb'", ""),
    ],
)
def test_a_table_that_declares_nothing_is_refused(key: str, value: object, said: str, hint: str) -> None:
    """With the file, the table and the key."""
    with pytest.raises(Invalid) as refused:
        parse({"other": 1, key: value})

    assert "invalid-project" == refused.value.code
    assert refused.value.message.startswith("stellwerk.toml [resources] " + said)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "options", [["licence"], ["licence=x"], ["=1"], ["licence=inf"], ["a=1", "a=2"], ["memory=3"]]
)
def test_options_that_declare_nothing_are_refused(options: list[str]) -> None:
    """By the name of the option."""
    with pytest.raises(Invalid) as refused:
        parse_options(options)

    assert "invalid-resources" == refused.value.code
    assert refused.value.message.startswith("--resource ")
