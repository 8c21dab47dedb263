"""Which states of a DVC repository become versions, when two tools change one dataset in turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import Digest
from stellwerk.data.dvc import turns
from stellwerk.data.dvc.turns import State, Turn


def dvc(tree: str, commit: int = 1) -> State:
    """A version that came from DVC."""
    return State(Digest(tree), turns.source("d", directory=True, commit=f"{commit:040x}"))


def ours(tree: str) -> State:
    """A version that we made."""
    return State(Digest(tree), "a folder")


@pytest.mark.parametrize(
    ("tree", "versions", "expected"),
    [
        ("A", [], "new"),
        ("A", [dvc("A")], "same"),
        ("B", [dvc("A")], "new"),
        ("A", [dvc("A"), ours("B")], "behind"),
        ("B", [dvc("A"), ours("B")], "same"),
        ("B", [dvc("A"), ours("B"), ours("C")], "behind"),
        ("X", [dvc("A"), ours("B"), ours("C")], "new"),
        ("A", [dvc("A"), dvc("B")], "new"),
        ("A", [dvc("A"), ours("B"), dvc("C"), ours("D")], "new"),
        ("C", [dvc("A"), ours("B"), dvc("C"), ours("D")], "behind"),
        ("A", [ours("A")], "same"),
        ("A", [ours("A"), ours("B")], "behind"),
    ],
)
def test_the_present_state(tree: str, versions: list[State], expected: Turn) -> None:
    """A state that lies before our last changes is no news; any other one is."""
    assert expected == turns.present(dvc(tree, 9), versions)


def test_sources_are_read_back() -> None:
    """A source says whether DVC brought it, by which path, and whether that is a folder."""
    commit = "ab" * 20

    assert ("a b/c", True) == turns.origin(turns.source("a b/c", directory=True, commit=commit))
    assert ("a", False) == turns.origin(turns.source("a", directory=False, commit=commit, changed=True))
    assert ("x/y", False) == turns.origin(turns.source("x/y", directory=False))
    assert None is turns.origin("git something")
    assert None is turns.origin("")


@given(st.lists(st.sampled_from("ABC"), max_size=8), st.integers(0, 8))
def test_an_interrupted_history_is_completed(trees: list[str], done: int) -> None:
    """However far an import came, going on gives what one go would have given."""
    states = [dvc(tree, number) for number, tree in enumerate(trees)]
    whole, _ = turns.history(states, [])
    begun = whole[: min(done, len(whole))]
    more, late = turns.history(states, begun)

    assert whole == [*begun, *more]
    assert 0 == late


@given(st.lists(st.sampled_from("ABC"), max_size=8))
def test_a_history_is_imported_once(trees: list[str]) -> None:
    """Doing it again makes no version; neighbours that are equal make one."""
    states = [dvc(tree, number) for number, tree in enumerate(trees)]
    whole, _ = turns.history(states, [])

    assert ([], 0) == turns.history(states, whole)
    assert [tree for number, tree in enumerate(trees) if number == 0 or trees[number - 1] != tree] == [
        state.tree for state in whole
    ]


def test_older_states_are_never_put_in_between() -> None:
    """A dataset that began with the present cannot get its past; what comes later is added."""
    states = [dvc("A", 1), dvc("B", 2), dvc("C", 3), dvc("D", 4)]

    assert ([dvc("D", 4)], 2) == turns.history(states, [dvc("C", 3)])


def test_our_versions_that_were_committed_are_recognised() -> None:
    """What we exported and DVC's users committed is not imported as news."""
    states = [dvc("A", 1), dvc("B", 2), dvc("C", 3)]

    assert ([dvc("C", 3)], 0) == turns.history(states, [dvc("A", 1), ours("B")])
