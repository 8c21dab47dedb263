"""What fires triggers: clocks, datasets, events. Each cause once, whoever looks and however often."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.ledger.database import Database
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.postgres import Server
from stellwerk.testing.stations import Station
from stellwerk.triggers import declaration
from stellwerk.triggers.adapters.cron import CronCalendar
from stellwerk.triggers.model import OnData, OnEvent, OnTime, OnWebhook, Source

HOURLY = "0 * * * *"


def hours(station: Station) -> list[int]:
    """The hours of the newest causes of all firings, oldest first."""
    return sorted(firing.cause.at.hour for firing in station.triggers.firings(limit=1000))


# Clocks


def test_a_time_that_has_come_fires_once(station: Station) -> None:
    """However often one looks; the next time is the next firing."""
    station.add("hourly", OnTime(cron=HOURLY))
    assert 0 == station.lookout.look()
    station.later(hours=1)

    assert [1, 0, 0] == [station.lookout.look() for _ in range(3)]
    assert ["finished"] == [firing.outcome for firing in station.perform()]
    station.later(hours=1)
    assert [1, 0] == [station.lookout.look() for _ in range(2)]
    assert [1, 2] == hours(station)


@pytest.mark.parametrize(
    ("policy", "fired", "others", "missed"),
    [("none", [], 0, 10), ("last", [10], 9, 0), ("all", list(range(1, 11)), 0, 0)],
)
def test_what_is_caught_up_after_a_downtime(
    station: Station, policy: Any, fired: list[int], others: int, missed: int
) -> None:
    """Nothing, the last of what passed, or all of it; what nobody runs is in the ledger."""
    station.add("hourly", OnTime(cron=HOURLY, catch_up=policy), queue=20)
    station.later(hours=10, minutes=30)
    station.lookout.look()

    assert fired == hours(station)
    assert others == sum(firing.others for firing in station.triggers.firings())
    assert missed == sum(entry.body["count"] for entry in station.told("dropped"))
    assert 0 == station.lookout.look()


def test_all_that_passed_is_queued_as_room_allows(station: Station) -> None:
    """Nothing is dropped: what finds no room stays due."""
    station.add("hourly", OnTime(cron=HOURLY, catch_up="all"), queue=3)
    station.later(hours=10)

    done = []
    for _ in range(6):
        station.lookout.look()
        done += [firing.cause.at.hour for firing in station.perform()]

    assert list(range(1, 11)) == done
    assert [] == station.told("dropped")


def test_a_late_firing_expires_where_nothing_is_caught_up(station: Station) -> None:
    """Nobody ran it in time, and the ledger says so."""
    station.add("hourly", OnTime(cron=HOURLY, catch_up="none"))
    station.later(hours=1)
    station.lookout.look()
    station.later(minutes=6)

    assert [] == station.perform()
    assert ["expired"] == [firing.outcome for firing in station.triggers.firings()]
    assert ["expired"] == [entry.body["outcome"] for entry in station.told("ended")]


def test_a_downtime_of_years_is_judged_at_once(station: Station) -> None:
    """A job of every minute, and nobody looked for twelve years: the newest minute is run, and no other."""
    station.add("often", OnTime(cron="* * * * *"))
    station.later(days=4400, seconds=30)

    assert 1 == station.lookout.look()
    (firing,) = station.triggers.firings()
    assert station.clock.now() - timedelta(seconds=30) == firing.cause.at
    assert 0 == station.lookout.look()


def test_jitter_is_the_same_for_everybody_who_looks(station: Station) -> None:
    """It delays within its bound, and differs from time to time."""
    on = OnTime(cron=HOURLY, catch_up="all", jitter=600)
    station.add("spread", on, queue=20)
    station.later(hours=10)
    station.lookout.look()

    delays = {(one.due_at - station.clock.now()).total_seconds() for one in station.triggers.firings()}
    planned = {one.due_at - one.cause.at for one in station.triggers.firings() if one.due_at > station.clock.now()}
    assert all(timedelta() <= delay <= timedelta(minutes=10) for delay in planned)
    assert max(delays) <= 600


# Data and events


def test_a_version_that_passed_a_confirmed_contract_fires(station: Station) -> None:
    """Drafts, files and other datasets do not, and the ledger says why not."""
    station.add("fresh", OnData(dataset="flights"))
    station.data()
    station.contract(status="draft")
    station.data()
    assert 0 == station.lookout.look()
    station.contract()
    station.data(columns=(("other", "Boolean"),))
    station.data(kind="files", columns=())
    station.data("trains")
    assert 0 == station.lookout.look()
    right = station.data()

    assert [1, 0] == [station.lookout.look() for _ in range(2)]
    (firing,) = station.triggers.firings()
    assert (f"entry:{right.sequence}", "dataset:flights@5") == (firing.cause.key, firing.cause.subject)
    assert [2, 1, 1] == [entry.body["count"] for entry in station.told("dropped")]
    assert {
        "its dataset has no confirmed contract",
        "it has other columns than the confirmed contract",
        "it holds files, which no contract is asked about",
    } == {entry.body["why"] for entry in station.told("dropped")}


def test_unchecked_versions_fire_where_that_was_asked_for(station: Station) -> None:
    """Files, and tables without a contract."""
    station.add("fresh", OnData(dataset="flights", unchecked=True), each=True, params={"version": "{version}"})
    station.data(kind="files", columns=())
    station.data()

    assert 2 == station.lookout.look()
    assert [{"version": "1"}, {"version": "2"}] == [one.params for one in station.perform()]


def test_a_burst_is_one_run_of_the_newest(station: Station) -> None:
    """The others are named as causes, and what comes while it runs makes one more."""
    station.contract()
    station.add("fresh", OnData(dataset="flights"))
    entries = [station.data() for _ in range(500)]
    station.lookout.look()

    (firing,) = station.triggers.firings()
    assert (f"entry:{entries[-1].sequence}", 499) == (firing.cause.key, firing.others)
    assert f"entry:{entries[-2].sequence}" == firing.joined[-1]
    station.data()
    station.lookout.look()
    assert 500 == station.triggers.firing(firing.id).others, "it still waits"
    claimed = station.queue.claim("here")
    station.data()
    station.lookout.look()
    assert claimed is not None
    assert ["claimed", "queued"] == sorted(one.status for one in station.triggers.firings())


@pytest.mark.parametrize(
    ("event", "kind", "subject", "body"),
    [
        ("drift", "alarm.raised", "endpoint:delay", {"kind": "drift"}),
        ("decay", "alarm.raised", "endpoint:delay", {"kind": "risk"}),
        ("alarm", "alarm.raised", "endpoint:delay", {"kind": "contract"}),
        ("alarm:labels", "alarm.raised", "endpoint:delay", {"kind": "labels"}),
        ("lease-forecast", "release.not-renewed", "release:1", {"endpoint": "delay"}),
        ("lease-forecast", "alarm.raised", "endpoint:delay", {"kind": "labels"}),
        ("caution", "signal.caution", "endpoint:delay", {}),
        ("stopped", "release.stopped", "release:1", {"endpoint": "delay"}),
        ("released", "release.granted", "release:1", {"endpoint": "delay"}),
        ("model", "model.registered", "model:sha256:1", {"name": "delay"}),
        ("refused", "data.refused", "dataset:delay", {}),
        ("run-finished", "run.finished", "run:1", {"name": "delay", "kind": "pipeline"}),
        ("run-failed", "run.interrupted", "run:1", {"name": "delay", "kind": "pipeline"}),
        ("gate.opened", "gate.opened", "gate:delay@1", {"name": "delay"}),
    ],
)
def test_events_by_their_names(station: Station, event: str, kind: str, subject: str, body: dict[str, str]) -> None:
    """Each name hears its entries, of the thing that was named and of no other."""
    station.add("here", OnEvent(event=event, of="delay"))
    station.add("there", OnEvent(event=event, of="other"))
    station.happens(kind, subject, **body)
    station.lookout.look()

    assert ["here"] == [firing.name for firing in station.triggers.firings()]


def test_events_hear_nothing_else(station: Station) -> None:
    """Another alarm, a step that failed, and what happened before the trigger."""
    station.happens("alarm.raised", "endpoint:delay", kind="drift")
    station.add("drifted", OnEvent(event="drift"))
    station.add("failed", OnEvent(event="run-failed"))
    station.happens("alarm.raised", "endpoint:delay", kind="quality")
    station.happens("run.failed", "run:2", kind="train", name="train")

    assert 0 == station.lookout.look()


def test_labels_are_counted_per_endpoint(station: Station) -> None:
    """So many since it last fired, over any number of looks; those of two endpoints do not add up."""
    station.add("labelled", OnEvent(event="labels:500"))
    for count, endpoint in ((300, "a"), (300, "b"), (199, "a")):
        station.happens("outcomes.recorded", f"endpoint:{endpoint}", count=count)
        assert 0 == station.lookout.look()
    station.happens("outcomes.recorded", "endpoint:a", count=1)

    assert [1, 0] == [station.lookout.look() for _ in range(2)]
    station.perform()
    station.happens("outcomes.recorded", "endpoint:b", count=200)
    assert 1 == station.lookout.look()
    assert {"a": 0, "b": 0} == {key[-1]: n for key, n in station.triggers.get("labelled").tally.items()}
    station.perform()
    for _ in range(250):
        station.happens("outcomes.recorded", "endpoint:c", count=1)
    assert 0 == station.lookout.look()
    for _ in range(250):
        station.happens("outcomes.recorded", "endpoint:c", count=1)
    assert 1 == station.lookout.look()


# Storms and loops


def test_a_run_that_fires_its_own_trigger_ends_after_some_rounds(station: Station) -> None:
    """What a run writes names the firing it was begun for, so a loop is seen, cut off, and told."""
    station.add("loop", OnEvent(event="model"), depth=3)
    station.happens("model.registered", "model:1", name="delay")
    rounds = 0
    while station.lookout.look():
        firing = station.queue.claim("here")
        assert firing is not None
        run = station.begin(firing)
        station.working_for(firing).happens("model.registered", f"model:{rounds}", name="delay")
        station.runs.finish(run.id)
        station.queue.settle(firing.id, firing.epoch)
        rounds += 1

    assert 4 == rounds, "the first one, and three that it led to"
    (dropped,) = station.told("dropped")
    assert dropped.body["why"].startswith("a loop: 4 firings in a row")


def test_a_queue_that_is_full_drops_and_says_so(station: Station) -> None:
    """Where each cause has a run of its own."""
    station.add("each", OnEvent(event="caution"), each=True, queue=3)
    for _ in range(10):
        station.happens("signal.caution", "endpoint:a")
    station.lookout.look()

    assert 3 == len(station.triggers.firings())
    assert [7] == [entry.body["count"] for entry in station.told("dropped")]
    with pytest.raises(Refused) as caught:
        station.triggers.fire("each")
    assert "queue-full" == caught.value.code


def test_firings_keep_their_distance(station: Station) -> None:
    """A cause that comes too soon waits, and what comes meanwhile joins it."""
    station.add("calm", OnEvent(event="caution"), interval=600)
    station.happens("signal.caution", "endpoint:a")
    station.lookout.look()
    assert 1 == len(station.perform())
    for _ in range(5):
        station.later(seconds=60)
        station.happens("signal.caution", "endpoint:a")
        station.lookout.look()

    assert [] == station.perform()
    station.later(seconds=300)
    (second,) = station.perform()
    assert (600.0, 4) == ((second.due_at - station.triggers.firings()[1].due_at).total_seconds(), second.others)


# Life of a trigger


def test_a_paused_trigger_hears_nothing_and_forgets_what_happened(station: Station) -> None:
    """What was queued stays, by hand it fires all the same."""
    station.add("calm", OnEvent(event="caution"))
    station.add("hourly", OnTime(cron=HOURLY))
    for name in ("calm", "hourly"):
        station.triggers.pause(name)
    station.happens("signal.caution", "endpoint:a")
    station.later(hours=2)
    assert 0 == station.lookout.look()
    station.triggers.fire("calm", "now")
    for name in ("calm", "hourly"):
        station.triggers.resume(name)

    assert 0 == station.lookout.look()
    assert ["by hand of anna: now"] == [firing.cause.text for firing in station.perform()]


def test_what_is_taken_away_runs_nothing_any_more(station: Station) -> None:
    """Its queue is emptied; a new one of its name is another one."""
    station.add("calm", OnEvent(event="caution"))
    station.triggers.fire("calm")
    station.triggers.remove("calm")
    station.add("calm", OnEvent(event="caution"))

    assert [] == station.perform()
    assert ["removed"] == [firing.outcome for firing in station.triggers.firings()]
    assert () == station.triggers.line(station.triggers.get("calm")).firings
    with pytest.raises(Conflict):
        station.add("calm", OnEvent(event="caution"))
    with pytest.raises(NotFound):
        station.triggers.pause("other")


@pytest.mark.parametrize(
    ("code", "on", "more"),
    [
        ("invalid-name", OnTime(cron=HOURLY), {"name": "no name"}),
        ("invalid-cron", OnTime(cron="x"), {}),
        ("unknown-zone", OnTime(cron=HOURLY, zone="Mars"), {}),
        ("invalid-limit", OnTime(cron=HOURLY, jitter=-1), {}),
        ("invalid-limit", OnTime(cron=HOURLY), {"queue": 0}),
        ("invalid-limit", OnTime(cron=HOURLY), {"interval": 10**9}),
        ("invalid-name", OnData(dataset="a b"), {}),
        ("invalid-event", OnEvent(event="dirft"), {}),
        ("invalid-event", OnEvent(event="labels"), {}),
        ("invalid-event", OnEvent(event="labels:0"), {}),
        ("invalid-event", OnEvent(event="drift:3"), {}),
        ("invalid-event", OnEvent(event="alarm:noise"), {}),
        ("invalid-event", OnEvent(event="trigger.fired"), {}),
        ("unknown-placeholder", OnTime(cron=HOURLY), {"params": {"version": "{version}"}}),
        ("invalid-name", OnTime(cron=HOURLY), {"params": {"a-b": "1"}}),
        ("too-long", OnTime(cron=HOURLY), {"params": {"a": "1" * 5000}}),
        ("usage", OnTime(cron=HOURLY), {"secret": "s" * 30}),
        ("weak-secret", OnWebhook(), {"secret": "short"}),
        ("weak-secret", OnWebhook(), {"secret": "whsec_" + "?" * 40}),
    ],
)
def test_what_can_be_no_trigger(station: Station, code: str, on: Source, more: dict[str, Any]) -> None:
    """It is refused in words, and nothing is kept."""
    with pytest.raises(Invalid) as caught:
        station.add(more.pop("name", "x"), on, **more)

    assert code == caught.value.code
    assert [] == station.triggers.all()


TABLES = """
[trigger.nightly]
pipeline = "delay"
cron = "30 2 * * 1-5"
zone = "Europe/Berlin"
catch_up = "all"
jitter = "10m"
params = { depth = 6, note = "as typed", deep = true }
queue = 20

[trigger.fresh]
pipeline = "delay"
on_data = "flights"

[trigger.pushed]
pipeline = "delay"
on_webhook = "github"
interval = "5m"
"""


def test_a_project_file_declares_triggers(station: Station) -> None:
    """Again it changes nothing; a change keeps the address and the secret; what is not declared is named, or goes."""
    station.add("by-hand", OnEvent(event="caution"))
    declared = declaration.parse(tomllib.loads(TABLES)["trigger"])
    first = station.triggers.apply(declared)
    assert [("fresh", "added"), ("nightly", "added"), ("pushed", "added"), ("by-hand", "undeclared")] == [
        (one.name, one.change) for one in first
    ]
    nightly, pushed = station.triggers.get("nightly"), station.triggers.get("pushed")
    assert OnTime(cron="30 2 * * 1-5", zone="Europe/Berlin", catch_up="all", jitter=600) == nightly.on
    assert {"depth": "6", "note": "as typed", "deep": "true"} == nightly.params
    assert (20, 0, 300) == (nightly.limits.queue, nightly.limits.interval, pushed.limits.interval)
    secret = first[2].made.secret if first[2].made else ""
    size = station.database.size()
    assert ["same", "same", "same", "undeclared"] == [one.change for one in station.triggers.apply(declared)]
    assert size == station.database.size()

    changed = TABLES.replace("on_data", "on_event").replace('"flights"', '"drift"').replace("5m", "6m")
    second = station.triggers.apply(declaration.parse(tomllib.loads(changed)["trigger"]), prune=True)

    assert ["changed", "same", "changed", "removed"] == [one.change for one in second]
    assert (pushed.id, 360) == ((now := station.triggers.get("pushed")).id, now.limits.interval)
    assert secret == station.triggers.secret(now)
    assert "" == (second[2].made.secret if second[2].made else "nothing")
    assert "event" == station.triggers.get("fresh").on.kind


@pytest.mark.parametrize(
    "table",
    [
        "pipeline = 'x'",
        "cron = '0 0 * * *'",
        "pipeline = 'x'\ncron = '0 0 * * *'\non_data = 'y'",
        "pipeline = 'x'\ncron = 5",
        "pipeline = 'x'\non_data = 'y'\nzone = 'UTC'",
        "pipeline = 'x'\non_data = 'y'\nqueu = 5",
        "pipeline = 'x'\non_data = 'y'\nqueue = true",
        "pipeline = 'x'\non_data = 'y'\nunchecked = 'no'",
        "pipeline = 'x'\non_data = 'y'\nparams = 5",
        "pipeline = 'x'\non_data = 'y'\nparams = { day = 2024-01-01 }",
        "pipeline = 'x'\non_webhook = 'gitlab'",
    ],
)
def test_what_declares_no_trigger(table: str) -> None:
    """It is refused with the name of its table."""
    with pytest.raises(Invalid) as caught:
        declaration.parse(tomllib.loads("[trigger.mine]\n" + table)["trigger"])

    assert "invalid-project" == caught.value.code
    assert "[trigger.mine]" in caught.value.message


def test_a_declaration_with_one_mistake_changes_nothing(station: Station) -> None:
    """All of it is looked at before any of it is made."""
    broken = TABLES.replace("Europe/Berlin", "Mars/Olympus")
    with pytest.raises(Invalid):
        station.triggers.apply(declaration.parse(tomllib.loads(broken)["trigger"]))

    assert [] == station.triggers.all()


# Many who look at once


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path, clock: StandingClock) -> Iterator[list[Database]]:
    """Two processes' views of one book, in a file and on a server."""
    place: Any = tmp_path / "shared.db"
    if request.param == "postgresql":
        from stellwerk.ledger.dialects.postgresql import PostgreSQL

        server: Server = request.getfixturevalue("postgres")
        address = server.new_database()
        databases = [Database(PostgreSQL(address), clock) for _ in range(2)]
    else:
        databases = [Database(place, clock) for _ in range(2)]
    databases[0].create("example.com/triggers")
    yield databases
    for database in databases:
        database.close()


@pytest.mark.parametrize("shared", ["sqlite", "postgresql"], indirect=True)
def test_each_cause_fires_once_whoever_looks(
    shared: list[Database], make_station: Callable[[Database], Station]
) -> None:
    """Eight threads of two servers look, take and begin at once: every cause has one firing, every firing one run."""
    stations = [make_station(database) for database in shared for _ in range(4)]
    first = stations[0]
    first.add("each", OnEvent(event="caution"), each=True, queue=1000)
    first.add("hourly", OnTime(cron=HOURLY, catch_up="all"), queue=1000)
    caused = [first.happens("signal.caution", "endpoint:a").sequence for _ in range(12)]
    first.later(hours=12)
    gate, problems = threading.Barrier(len(stations)), list[BaseException]()

    def work(station: Station) -> None:
        try:
            gate.wait()
            station.lookout.look()
            station.perform(runner=str(id(station)))
        except BaseException as problem:
            problems.append(problem)
            raise

    threads = [threading.Thread(target=work, args=(station,)) for station in stations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.perform()

    assert [] == problems
    firings = first.triggers.firings(limit=1000)
    ticks = {f"tick:2026-01-01T{hour:02}:00:00.000000Z" for hour in range(1, 13)}
    assert ticks | {f"entry:{number}" for number in caused} == {one.cause.key for one in firings}
    assert 24 == len(firings)
    assert {"finished"} == {one.outcome for one in firings}
    assert 24 == len({one.run for one in firings}) == len(first.book.entries(kinds=["run.started"]))


# A model of clocks


class CatchUp(RuleBasedStateMachine):
    """Looks and pauses of any length, against a list of hours on paper."""

    @initialize(policy=st.sampled_from(["none", "last", "all"]), zone=st.sampled_from(["UTC", "Europe/Berlin"]))
    def begin(self, policy: Any, zone: str) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock = StandingClock(datetime(2026, 10, 24, 20, 17, tzinfo=UTC))
        self.database = Database(Path(self.folder.name) / "ledger.db", self.clock)
        self.database.create("example.com/triggers")
        create_sealing_key(Path(self.folder.name) / "key")
        self.station = Station(self.database, self.clock, FileSealer(Path(self.folder.name) / "key"))
        self.policy, self.since = policy, self.clock.now()
        self.station.add("half", OnTime(cron="30 * * * *", zone=zone, catch_up=policy), queue=3)
        self.owed: list[datetime] = []
        self.expected: list[datetime] = []

    @rule(minutes=st.integers(1, 400))
    def passes(self, minutes: int) -> None:
        """Time passes, and nobody looks."""
        self.station.later(minutes=minutes)
        now = self.clock.now()
        times = CronCalendar().times("30 * * * *", "UTC", self.since)
        for instant in times:
            if instant > now:
                break
            self.owed.append(instant)
        self.since = now

    @rule()
    def looks(self) -> None:
        """Somebody looks, and runs what is due until nothing is left."""
        now = self.clock.now()
        if self.policy == "all":
            self.expected += self.owed
        elif self.owed and (self.policy == "last" or now - self.owed[-1] <= timedelta(minutes=5)):
            self.expected.append(self.owed[-1])
        self.owed = []
        while self.station.lookout.look() or self.station.perform():
            pass

    @invariant()
    def ran_what_was_owed(self) -> None:
        """In the order of time, each once."""
        if not hasattr(self, "station"):
            return
        firings = self.station.triggers.firings(limit=1000)
        done = [one for one in firings if one.outcome == "finished"]
        assert self.expected == sorted(one.cause.at for one in done)
        assert len(firings) == len(done)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()


CatchUp.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCatchUp = CatchUp.TestCase
