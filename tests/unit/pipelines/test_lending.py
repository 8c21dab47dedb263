"""Results for other workspaces: read only under a grant that holds, and everything else looks as if it was not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.access.model import ResultGrant
from stellwerk.access.rules import covers
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.pipelines.lending import LONGEST, PREFIX, Lending
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.results import computed
from stellwerk.tracking.model import Run, StepMemory
from stellwerk.web import errors
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

START, DAY = datetime(2030, 1, 1, tzinfo=UTC), timedelta(days=1)
PIPELINES = ("delay", "fares")
KINDS = ("train", "features", "gate", "wait", "deploy")


@dataclass
class World:
    """A workspace with results of two pipelines, and a clock that is moved by hand."""

    rooms: Rooms
    keys: dict[tuple[str, str], Digest]
    clock: StandingClock = field(default_factory=lambda: StandingClock(START))

    def lending(self) -> Lending:
        return Lending(self.rooms.book, self.rooms.blobs, self.clock, self.rooms.layout.identity)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(actor="anna")
    rooms = Rooms(create(tmp_path_factory.mktemp("lending"), settings), settings)
    yield World(rooms, {(one, kind): computed(rooms, one, kind) for one in PIPELINES for kind in KINDS})
    rooms.close()


def answer(lending: Lending, token: str, key: Digest) -> Any:
    """What whoever asks gets: the result, or the bytes of an answer over HTTP."""
    try:
        return lending.find(token, key)
    except NotFound as problem:
        said = errors.respond(problem)
        return (said.status_code, tuple(said.raw_headers), bytes(said.body))


ACTS = st.one_of(
    st.tuples(st.just("grant"), st.sampled_from(["", *PIPELINES]), st.integers(1, 5)),
    st.tuples(st.just("revoke"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
    st.tuples(
        st.just("find"), st.integers(-1, 9), st.sampled_from([*((p, k) for p in PIPELINES for k in KINDS), None])
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTS, max_size=25))
def test_a_hit_needs_a_grant_that_holds(world: World, acts: list[Any]) -> None:
    """Whatever was granted, revoked and has ended: a result is given if and only if a grant covers it at this moment.

    All other answers are the same, byte for byte, and leave nothing in the ledger.
    """
    lending, made = world.lending(), list[tuple[str, str, datetime, list[bool]]]()
    nothing = answer(lending, PREFIX + "nobody", of_bytes(b"no such step"))
    for act, what, how in acts:
        if act == "grant":
            done = lending.grant("team two", pipeline=what, lasting=how * DAY)
            made.append((done.token, what, done.grant.until, [False]))
        elif act == "revoke" and what < len(made):
            (known,) = [one for one in lending.all() if one.token_hash == _hash(made[what][0])]
            lending.revoke(known.id)
            made[what][3][0] = True
        elif act == "wait":
            world.clock.advance(timedelta(hours=6 * what))
        elif act == "find":
            token, scope, until, gone = made[what] if 0 <= what < len(made) else ("", "", START, [True])
            holds = not gone[0] and world.clock.now() < until
            covered = how is not None and scope in ("", how[0]) and how[1] in ("train", "features")
            size = world.rooms.database.size()
            found = answer(lending, token, world.keys[how] if how else of_bytes(b"no such step"))
            if holds and covered:
                assert world.keys[how] == found.key
                assert size + 1 == world.rooms.database.size()
            else:
                assert nothing == found
                assert size == world.rooms.database.size()


def _hash(token: str) -> str:
    return of_bytes(token.encode()).removeprefix("sha256:")


def test_what_was_read_is_in_the_ledger(world: World) -> None:
    """Each reading names its grant, the key and the run; the token is nowhere."""
    lending = world.lending()
    made = lending.grant("CI of team two", pipeline="delay", lasting=DAY)
    key = world.keys["delay", "train"]

    found = lending.find(made.token, key)
    output, pieces = lending.open(made.token, key, 0)

    assert b"made by delay train" == b"".join(pieces)
    assert (output.digest, output.size) == (found.outputs[0].digest, 19)
    assert world.rooms.layout.identity == found.origin.workspace
    told = world.rooms.book.entries(subject=f"grant:{made.grant.id}")
    assert ["results.granted", "results.read", "results.taken"] == [one.kind for one in told]
    assert {"to": "CI of team two", "step_key": key, "run": found.origin.run} == told[1].body
    whole = (world.rooms.layout.folder / "ledger.db").read_bytes()
    assert made.token.encode() not in whole
    assert PREFIX in made.token


def test_bytes_need_the_grant_too(world: World) -> None:
    """Knowing a key is not enough for its bytes, nor is having found it before the grant was revoked."""
    lending = world.lending()
    made = lending.grant("team three", pipeline="delay", lasting=DAY)
    key = world.keys["delay", "train"]
    lending.find(made.token, key)
    lending.revoke("team three")

    for token, place in ((made.token, 0), ("", 0), (made.token, 7)):
        with pytest.raises(NotFound, match="there is no such result"):
            lending.open(token, key, place)


def test_what_is_gone_is_not_given(world: World) -> None:
    """A result whose run is in the bin, or whose bytes are missing, is no result."""
    lending = world.lending()
    token = lending.grant("team four", lasting=DAY).token
    binned = computed(world.rooms, "fares", "binned")
    run = lending.find(token, binned).origin.run
    world.rooms.logbook.delete(run)
    lost = of_bytes(b"lost")
    start = world.rooms.runs.start(experiment="fares", name="lost", kind="train", step_key=lost)
    nowhere = {"value": of_bytes(b"never kept")}
    memory = StepMemory(
        step_key=lost, outputs=nowhere, media={"value": "application/json"}, run=start.id, created_at=start.started_at
    )
    world.rooms.runs.finish(start.id, memory=memory)

    for key in (binned, lost):
        with pytest.raises(NotFound, match="there is no such result"):
            lending.find(token, key)


def test_a_grant_ends(world: World) -> None:
    """None is for ever, and for less than a moment there is none either."""
    for lasting in (timedelta(), -DAY, LONGEST + DAY):
        with pytest.raises(Invalid, match="cannot last"):
            world.lending().grant("team", lasting=lasting)


@pytest.mark.parametrize("to", ["", "  ", "x" * 201, "a\nb", "\x00"])
def test_a_grant_says_to_whom(world: World, to: str) -> None:
    """Whoever reads the list must know whom to ask."""
    with pytest.raises(Invalid, match="who may read"):
        world.lending().grant(to, lasting=DAY)


def test_a_slip_of_the_pen_grants_nothing(world: World) -> None:
    """A pipeline that nobody ran is an error, and so is a name that several have."""
    lending = world.lending()
    with pytest.raises(NotFound, match="no run was ever of a pipeline 'dealy'"):
        lending.grant("team", pipeline="dealy", lasting=DAY)
    first, second = (lending.grant("twins", lasting=DAY).grant for _ in range(2))

    with pytest.raises(Conflict, match="2 grants that hold were made to 'twins'"):
        lending.revoke("twins")
    lending.revoke(first.id)
    assert second.id == lending.revoke("twins").id
    assert lending.revoke("twins").revoked_at is not None
    with pytest.raises(NotFound, match="no grant 'nobody'"):
        lending.revoke("nobody")


@given(st.booleans(), st.sampled_from(["", "a", "b"]), st.sampled_from(["a", "b"]), st.integers(-3, 3))
def test_the_rule(revoked: bool, scope: str, experiment: str, hours: int) -> None:
    """Between its beginning and its end, unless revoked, for its pipeline or for all."""
    grant = ResultGrant(
        id="g", to="t", experiment=scope, pipeline=scope, token_hash="x", granted_at=START, granted_by="anna",
        until=START + timedelta(hours=2), revoked_at=START if revoked else None,
    )  # fmt: skip

    expected = not revoked and 0 <= hours < 2 and scope in ("", experiment)
    assert expected == covers(grant, experiment, START + timedelta(hours=hours))
    assert not covers(None, experiment, START)


def test_a_run_says_what_it_was(world: World) -> None:
    """The results of these tests are those of real runs."""
    found: list[Run] = world.rooms.runs.search(experiment="delay")

    assert set(KINDS) <= {run.kind for run in found}
