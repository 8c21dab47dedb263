"""Scrubbing reads every blob in its time, in portions, and finds what rotted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stellwerk.store.scrubbing import Scrub, scrub
from stellwerk.testing.fakes import MemoryBlobs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_portions_cover_everything_once() -> None:
    """Portions go on where the last ended; together they read each blob once, and then a new round begins."""
    blobs = MemoryBlobs()
    for number in range(20):
        blobs.put(b"%d" % number * 100)

    state, read, portions = Scrub(), 0, 0
    while state.verified_at is None:
        state = scrub(blobs, state, budget=500, now=NOW + timedelta(hours=portions))
        read, portions = read + state.blobs, portions + 1

    assert (20, "", NOW, ()) == (read, state.after, state.began_at, state.damaged)
    assert portions > 5
    assert 0 < scrub(blobs, state, budget=1, now=NOW).blobs < 20


def test_damage_is_named_and_the_rest_is_read() -> None:
    """A damaged blob does not stop the round, and is said until a round finds it whole."""
    blobs = MemoryBlobs()
    first, second, third = sorted(blobs.put(item) for item in (b"one", b"two", b"three"))
    blobs.flip(second, 0)

    begun = scrub(blobs, Scrub(), budget=1, now=NOW)
    ended = scrub(blobs, begun, budget=None, now=NOW)
    blobs.flip(second, 0)
    healed = scrub(blobs, ended, budget=None, now=NOW)

    assert (first, ()) == (begun.after, begun.damaged)
    assert ((second,), 2, NOW) == (ended.damaged, ended.blobs, ended.verified_at)
    assert () == healed.damaged
    assert third in blobs
