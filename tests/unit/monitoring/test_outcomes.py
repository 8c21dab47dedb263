"""Labels: what is kept, what is reported, and that nothing is lost or counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.ledger.shelf import evolve
from stellwerk.monitoring.model import Outcome
from stellwerk.monitoring.outcomes import class_tokens, decode, encode, place, sift, token, unknown
from stellwerk.monitoring.shelves import OUTCOMES

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LABELS = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
FRESH = st.dictionaries(st.text(min_size=1, max_size=40), st.tuples(LABELS, st.integers(0, 2**52)), max_size=20)


def outcome(prediction: str, label: Any, **changes: Any) -> Outcome:
    return evolve(Outcome(prediction=prediction, label=label, observed_at=NOON), **changes)


@given(FRESH)
def test_a_batch_reads_back_as_it_was_written(fresh: dict[str, Any]) -> None:
    """Ids, labels with their types, and times survive."""
    back = decode(encode(fresh))

    assert fresh == back
    assert {key: type(value[0]) for key, value in fresh.items()} == {key: type(v[0]) for key, v in back.items()}


@given(FRESH, st.randoms())
def test_equal_batches_have_equal_bytes(fresh: dict[str, Any], random: Any) -> None:
    """The order in which outcomes came does not show, so that the same ones have the same digest."""
    shuffled = list(fresh.items())
    random.shuffle(shuffled)

    assert encode(fresh) == encode(dict(shuffled))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format":"x","prediction":[],"label":[],"observed":[]}'])
def test_a_batch_of_anything_else_is_corrupt(data: bytes) -> None:
    """What is not a batch is never read as an empty one."""
    with pytest.raises(Corrupt):
        decode(data)


def test_one_label_has_one_token() -> None:
    """However a sender's language writes a truth value or a number, it is the same class."""
    assert {"1"} == {token(label) for label in (True, 1, 1.0, "1", "true", "True", " 1 ", "1.0")}
    assert {"0"} == {token(label) for label in (False, 0, 0.0, "false", "FALSE", "0.0")}
    assert "0.5" == token(0.5)
    assert "007" == token("007")
    assert "Late" == token("Late")


def test_classes_that_labels_cannot_tell_apart_are_refused() -> None:
    """`true` and `1` as two classes would make every label ambiguous."""
    with pytest.raises(Invalid) as caught:
        class_tokens(["true", "1"])

    assert "ambiguous-classes" == caught.value.code


def test_ids_are_read_strictly() -> None:
    """A prediction has one name, so a row number has no leading zeros."""
    assert ("b-1", 7) == place("b-1-7")
    assert [None] * 4 == [place(text) for text in ("b", "-7", "b-07", "b-x")]


def test_unknown_predictions_are_found() -> None:
    """Batches that are not there, and rows that a batch does not have."""
    assert ("a-3", "c-0", "nonsense") == unknown(["a-0", "a-3", "c-0", "nonsense", "b-9"], {"a": 3, "b": 10})


def test_the_first_label_wins() -> None:
    """Within one call and against earlier ones; the same label in other clothes is no conflict."""
    known: dict[str, Any] = {"a-0": ("1", 0)}
    sent = [outcome("a-0", True), outcome("a-0", 0), outcome("a-1", "x"), outcome("a-1", "y"), outcome("a-1", "x")]

    sifted = sift(sent, known)

    assert {"a-1": ("x", int(NOON.timestamp()) * 10**6)} == sifted.fresh
    assert 2 == sifted.repeated
    assert ("a-0", "a-1") == sifted.conflicts


@pytest.mark.parametrize(
    "bad",
    [
        outcome("", 1),
        outcome("a" * 201, 1),
        outcome("a-0", float("nan")),
        outcome("a-0", float("inf")),
        outcome("a-0", None),
        outcome("a-0", [1]),
        outcome("a-0", 1, observed_at=NOON.replace(tzinfo=None)),
    ],
)
def test_what_cannot_be_kept_is_refused(bad: Outcome) -> None:
    """A label must be a text, a finite number or a truth value, known at a certain time."""
    with pytest.raises(Invalid):
        sift([bad], {})


def test_recording_keeps_labels_and_says_so(world: Any, cases: Any) -> None:
    """One blob, one row, one entry; what a second process reads is what the first wrote."""
    names = world.serve(cases(250, np.random.default_rng(1)), at=world.clock.instant)

    report = world.monitoring.record_outcomes("delay", world.answers(names))

    assert (250, 0, 0, 0) == (report.accepted, report.repeated, report.conflicts, report.unknown)
    assert {name: world.truth[name] for name in names} == {
        name: label for name, (label, _) in world.other().outcomes("delay").items()
    }
    [batch] = world.monitoring.outcome_batches("delay")
    assert (report.batch, 250, 0) == (batch, batch.count, batch.number)
    [entry] = world.entries("outcomes.recorded")
    assert {"count": 250, "repeated": 0, "conflicts": 0, "unknown": 0} | {
        "batch": batch.id,
        "digest": batch.digest,
    } == entry.body


def test_duplicates_are_counted_and_change_nothing(world: Any, cases: Any) -> None:
    """The same label again is no news; another label is a conflict, reported, entered, and not followed."""
    names = world.serve(cases(100, np.random.default_rng(1)), at=world.clock.instant)
    sent = world.answers(names)
    world.monitoring.record_outcomes("delay", sent)
    before = world.monitoring.outcomes("delay")

    again = world.monitoring.record_outcomes("delay", sent)
    flipped = {"yes": "no", "no": "yes"}
    report = world.other().record_outcomes("delay", [evolve(o, label=flipped[o.label]) for o in sent[:3]])

    assert (None, 0, 100) == (again.batch, again.accepted, again.repeated)
    assert (None, 0, 3) == (report.batch, report.accepted, report.conflicts)
    assert tuple(names[:3]) == report.examples
    assert before == world.other().outcomes("delay")
    assert [0, 3] == [entry.body["conflicts"] for entry in world.entries("outcomes.recorded")]


def test_unknown_predictions_are_reported_and_kept(world: Any, cases: Any) -> None:
    """The log may be behind: as soon as it has the prediction, the label counts."""
    report = world.monitoring.record_outcomes("delay", [outcome("b000000-0", "yes"), outcome("b000000-9", "no")])
    world.serve(cases(5, np.random.default_rng(1)), at=world.clock.instant)
    later = world.monitoring.record_outcomes("delay", [outcome("b000000-1", "no"), outcome("b000000-7", "no")])

    assert (2, 2) == (report.accepted, report.unknown)
    assert (2, 1, ("b000000-7",)) == (later.accepted, later.unknown, later.examples)


def test_a_bad_label_keeps_the_whole_call_out(world: Any) -> None:
    """All or nothing: a caller need not find out which half arrived."""
    with pytest.raises(Invalid):
        world.monitoring.record_outcomes("delay", [outcome("a-0", 1), outcome("a-1", float("nan"))])

    assert {} == world.monitoring.outcomes("delay")
    assert [] == world.entries("outcomes.")


def test_processes_take_turns(world: Any) -> None:
    """Whoever was overtaken looks again before writing, so that one prediction never gets two labels."""
    other = world.other()
    real = world.log.sizes

    def overtaken(endpoint: str, batches: Any) -> Any:
        world.log.sizes = real
        other.record_outcomes("delay", [outcome("a-0", "no")])
        return real(endpoint, batches)

    world.log.sizes = overtaken
    report = world.monitoring.record_outcomes("delay", [outcome("a-0", "yes"), outcome("a-1", "yes")])

    assert (1, 1) == (report.accepted, report.conflicts)
    assert ["no", "yes"] == [label for _, (label, _) in sorted(world.monitoring.outcomes("delay").items())]
    assert [0, 1] == [batch.number for batch in world.monitoring.outcome_batches("delay")]


def test_of_two_batches_the_earlier_one_wins(world: Any) -> None:
    """Should two labels of one prediction ever lie in the store, readers agree on which of them counts."""
    world.monitoring.record_outcomes("delay", [outcome("a-0", "yes")])
    [first] = world.monitoring.outcome_batches("delay")
    with world.monitoring._book.write() as tx:
        digest = world.blobs.put(encode({"a-0": ("no", 1), "a-1": ("no", 1)}))
        OUTCOMES.insert(tx, evolve(first, number=1, id="second", digest=digest))
        tx.record("outcomes.recorded", "endpoint:delay")

    for reader in (world.monitoring, world.other()):
        assert {"a-0": "yes", "a-1": "no"} == {name: label for name, (label, _) in reader.outcomes("delay").items()}


def test_workspaces_and_endpoints_do_not_mix(world: Any) -> None:
    """A label belongs to one endpoint of one workspace (law 10)."""
    world.monitoring.record_outcomes("delay", [outcome("a-0", "yes")])

    assert {} == world.monitoring.outcomes("price")
    assert {} == world.other("elsewhere").outcomes("delay")
    assert [] == world.other("elsewhere").outcome_batches("delay")


def test_times_keep_their_microseconds(world: Any) -> None:
    """When a label became known is kept exactly, whatever zone it was told in."""
    observed = datetime(2026, 1, 5, 12, 0, 0, 123457, tzinfo=UTC)
    world.monitoring.record_outcomes("delay", [outcome("a-0", 1, observed_at=observed)])

    [(_, microseconds)] = world.other().outcomes("delay").values()

    assert observed == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
