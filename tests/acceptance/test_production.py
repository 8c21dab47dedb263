"""A small life in production: release, answers, labels, decay, retraining, a duel with the champion, stop, fallback.

Time is simulated, the server is a real process, the world really changes. The life is lived once; each test looks at
one part of it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.clock import ReplayClock
from stellwerk.core.errors import Corrupt, Refused
from stellwerk.data.model import DatasetVersion
from stellwerk.ledger.adapters.ed25519 import create_key
from stellwerk.releases.model import SignalState
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, START, Client, World
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.local import LocalCaller

DAY = timedelta(days=1)
BEFORE, AFTER = World(), World(order=0.35)
"""The relation between inputs and label weakens: the ranking survives above the floor, the probabilities lie."""
NEW = World(turned=True)


@dataclass
class Life:
    """What was seen on the way."""

    folder: Path
    first: Any = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    oip: Any = None
    good: Any = None
    signals: dict[str, SignalState] = field(default_factory=dict)
    decayed: Any = None
    renewal: Any = None
    early: Any = None
    verdict: Any = None
    second: Any = None
    later: list[dict[str, Any]] = field(default_factory=list)
    duel: Any = None
    stopped: tuple[Any, ...] = ()
    fallen_back: list[dict[str, Any]] = field(default_factory=list)
    over: Any = None
    expired: list[Any] = field(default_factory=list)


class Traffic:
    """A day of callers, and their truth a day later."""

    def __init__(self, client: Client, clock: ReplayClock, live: Workspace) -> None:
        self._client, self._clock, self._live = client, clock, live
        self._seed = 1000

    def day(self, world: World, at: datetime, *, count: int = 150) -> list[dict[str, Any]]:
        """Ask, then tell what became of it two days later; returns the answers."""
        self._seed += 1
        table = world.parcels(count, self._seed)
        self._clock.set(at)
        answers = self._client.ask(worlds.questions(table))
        self._live.outcomes(
            ENDPOINT, worlds.outcomes([item["id"] for item in answers], table, at + timedelta(hours=20))
        )
        return answers


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    made = Life(folder=tmp_path_factory.mktemp("production"))
    with worlds.workspace(made.folder) as local:
        made.first = worlds.first_release(local, made.folder)
    with worlds.server(made.folder) as url, sw.connect(url) as live:
        live_through(made, live, Client(url), worlds.clock(made.folder))
    return made


def live_through(made: Life, live: Workspace, client: Client, clock: ReplayClock) -> None:
    """The whole story."""
    traffic = Traffic(client, clock, live)
    asked = BEFORE.parcels(150, 7)
    made.answers = client.ask(worlds.questions(asked))
    made.oip = client.infer(worlds.questions(asked))
    for day in range(5):
        traffic.day(BEFORE, START + (day + 1) * DAY)
    clock.set(START + 7 * DAY)
    made.good = live.assess(ENDPOINT)
    made.signals["good"] = live.signal(ENDPOINT)
    for day in range(8, 18):
        traffic.day(AFTER, START + day * DAY, count=200)
    clock.set(START + 20 * DAY)
    made.decayed = live.assess(ENDPOINT)
    made.signals["decayed"] = live.signal(ENDPOINT)
    made.renewal = live.renew(ENDPOINT)
    retrain(made, live, clock)
    made.later = traffic.day(NEW, START + 22 * DAY)
    clock.set(START + 23 * DAY)
    made.signals["renewed by proof"] = live.signal(ENDPOINT)
    old, new = (f"{model.name}@{model.version}" for model in live.models.list())
    made.duel = live.duel(ENDPOINT, new, old, since=START + 21 * DAY, until=START + 23 * DAY)
    made.stopped = live.stop(ENDPOINT, why="a drill")
    clock.set(START + 23 * DAY + timedelta(minutes=1))
    made.fallen_back = client.ask(worlds.questions(NEW.parcels(20, 8)))
    made.signals["fallen back"] = live.signal(ENDPOINT)
    clock.set(made.first.expires_at)
    made.signals["over"] = live.signal(ENDPOINT)
    made.over = client.post(f"/predict/{ENDPOINT}", {"columns": worlds.questions(BEFORE.parcels(1, 9))})
    for act in (lambda: live.renew(ENDPOINT), lambda: live.release(ENDPOINT)):
        try:
            made.expired.append(act())
        except sw.StellwerkError as refusal:
            made.expired.append(refusal)


def retrain(made: Life, live: Workspace, clock: ReplayClock) -> None:
    """The world has turned; a model of the new one must prove itself against the champion."""
    clock.set(START + 21 * DAY)
    live.data.add(DATASET, NEW.parcels(1400, 2, first=10_000), partition="new", replace=True)
    ran = live.run(worlds.plan(made.folder))
    made.early = live.models.compare(f"{ENDPOINT}@1", f"{ENDPOINT}@2")
    made.verdict = live.prove(ENDPOINT, model=ran.model.digest if ran.model else "")
    made.second = live.release(ENDPOINT)


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Workspace, LocalCaller]]:
    """The workspace in this process."""
    with sw.connect(folder, actor=worlds.OWNER) as local:
        caller = local._caller
        assert isinstance(caller, LocalCaller)
        yield local, caller


@pytest.fixture
def copy(life: Life, tmp_path: Path) -> Path:
    """The folder of this life, to damage."""
    return Path(shutil.copytree(life.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("server.*")))


def test_answers_carry_the_released_digest(life: Life) -> None:
    """Plain and Open Inference answers name the model that was released; unproven depots and audits go to people."""
    status, body, headers = life.oip

    assert {life.first.model} == {item["model"] for item in life.answers}
    assert (200, life.first.model, life.first.id, "clear") == (
        status,
        headers["Stellwerk-Model"],
        headers["Stellwerk-Release"],
        headers["Stellwerk-Signal"],
    )
    assert all(output["shape"][0] == 150 for output in body["outputs"])
    assert any(item["prediction"] is None for item in life.answers)
    assert sum(item["prediction"] is not None for item in life.answers) > 100


def test_a_steady_world_raises_no_alarm(life: Life) -> None:
    """As long as parcels are late as they were, nothing is proven worse and the signal stays clear."""
    assert () == tuple(alarm for alarm in life.good.alarms if alarm.severity != "note")
    assert "clear" == life.signals["good"].signal
    assert life.good.labelled > 400
    assert life.good.coverage > 0.6


def test_decay_turns_the_signal_to_caution(life: Life) -> None:
    """The relation between inputs and label weakened: the losses prove it, and the signal says so."""
    harmful = [alarm for alarm in life.decayed.alarms if alarm.severity != "note"]

    assert harmful
    assert {"caution"} == {alarm.severity for alarm in harmful}
    assert "caution" == life.signals["decayed"].signal
    assert life.signals["decayed"].why == harmful[0].text
    assert (None, True) == (life.good.risk.alarm_label, life.decayed.risk.alarm_label is not None)


def test_a_decayed_model_is_not_renewed(life: Life) -> None:
    """Labels do not prove fitness, so the lease keeps its end (law 5); the reasons are told."""
    failed = [reason for reason in life.renewal.decision.reasons if reason.outcome != "pass"]

    assert not life.renewal.decision.renew
    assert failed
    assert life.first.expires_at == life.renewal.release.expires_at


def test_the_challenger_is_proven_better(life: Life) -> None:
    """On the same new cases it beats the champion, under a plan of its own and a fresh gate."""
    won = [reason for reason in life.verdict.reasons if reason.check.startswith("success")]

    assert ("clear", 1) == (life.verdict.outcome, life.verdict.attempt)
    assert ["pass"] == [reason.outcome for reason in won]
    assert "guardrail:auroc" in {reason.check for reason in life.verdict.reasons}
    assert "data" in {row.what for row in life.early.differences if not row.equal}
    assert life.first.id == life.second.supersedes
    assert {life.second.model} == {item["model"] for item in life.later}
    assert "clear" == life.signals["renewed by proof"].signal


def test_the_stop_falls_back_to_the_previous_release(life: Life) -> None:
    """Its lease still holds, so its model answers again, still under caution."""
    stopped, instead = life.stopped

    assert (life.second.id, "stopped", life.first.id, "active") == (
        stopped.id,
        stopped.status,
        instead.id,
        instead.status,
    )
    assert {life.first.model} == {item["model"] for item in life.fallen_back}
    assert "caution" == life.signals["fallen back"].signal


def test_an_ended_lease_is_stop(life: Life) -> None:
    """From its end on: no signal, no answer, no renewal; only the other verdict, which still holds, may be released."""
    status, body, headers = life.over
    refused, released = life.expired

    assert "stop" == life.signals["over"].signal
    assert (403, "signal-stop", "stop") == (status, body["code"], headers["Stellwerk-Signal"])
    assert isinstance(refused, Refused)
    assert "lease-ended" == refused.code
    assert released.model == life.second.model


def test_one_answer_verifies_everything_behind_it(life: Life) -> None:
    """From a late answer to both worlds' raw data: every digest re-hashed, nothing failed, nothing unproven."""
    with opened(life.folder) as (local, _):
        trace = local.trace(life.later[0]["id"])
        older = local.trace(life.answers[0]["id"])
        kinds = [node.kind for node in trace.graph.nodes]

        assert ((), (), (), ()) == (trace.failed, trace.unproven, older.failed, older.unproven)
        assert {"prediction", "segment", "release", "verdict", "evidence", "gate", "dataset"} <= set(kinds)
        assert life.second.model in {node.digest for node in trace.graph.nodes}
        assert life.second.model not in {node.digest for node in older.graph.nodes}


def test_the_book_tells_the_story(life: Life) -> None:
    """Every turn of this life is in the ledger, in its order, and the book is whole."""
    with opened(life.folder) as (local, caller):
        entries = caller.rooms.book.entries(kinds=["release.", "signal."])
        kinds = [entry.kind for entry in entries]

        assert kinds == [
            "release.granted", "signal.caution", "release.not-renewed", "release.superseded", "release.granted",
            "release.stopped", "release.resumed", "release.superseded", "release.granted",
        ]  # fmt: skip
        assert ((), ()) == (local.verify().findings, local.fsck())


def flip(folder: Path, digest: str, position: int = -1) -> Path:
    """Damage one byte of a blob on disk."""
    name = digest.removeprefix("sha256:")
    file = folder / ".stellwerk" / "blobs" / "sha256" / name[:2] / name
    data = bytearray(file.read_bytes())
    data[position] ^= 0x01
    file.chmod(0o600)
    file.write_bytes(bytes(data))
    return file


def parts(folder: Path, model: str) -> dict[str, str]:
    with opened(folder) as (_, caller):
        return {name: str(digest) for name, digest in trees.files(caller.blobs, model).items()}  # type: ignore[arg-type]


def running(folder: Path, life: Life) -> None:
    """Move on to where the second model runs again."""
    worlds.clock(folder).set(life.first.expires_at + DAY)


@pytest.mark.parametrize("which", ["weights", "description", "tree"])
def test_a_model_with_one_changed_byte_is_not_served(life: Life, copy: Path, which: str) -> None:
    """Law 4: serving refuses to load it, the trace says failed, fsck finds exactly this blob."""
    running(copy, life)
    names = parts(copy, life.second.model)
    chosen = {
        "weights": next(digest for name, digest in names.items() if name != "model.json"),
        "description": names["model.json"],
        "tree": life.second.model,
    }[which]
    file = flip(copy, chosen, position=len(chosen))
    with opened(copy) as (local, caller):
        ask = worlds.in_process(caller.rooms)
        with pytest.raises(Corrupt) as caught:
            ask(worlds.questions(NEW.parcels(5, 3)))
        trace = local.trace(life.later[0]["id"])
        damage = [item for item in local.fsck() if item.severity == "error"]

        assert "corrupt-blob" == caught.value.code
        assert any(chosen in sentence for sentence in trace.failed)
        assert "failed" in {node.state for node in trace.graph.nodes}
        assert [f"sha256/{file.parent.name}/{file.name}"] == [item.where for item in damage]
        assert () == local.verify().findings


@pytest.mark.parametrize("which", ["weights", "statement", "data"])
def test_a_missing_blob_is_found(life: Life, copy: Path, which: str) -> None:
    """A file that is gone is no less damage than one that changed, also inside a tree."""
    with opened(copy) as (local, _):
        data: DatasetVersion = local.data.get(DATASET)
    names = parts(copy, life.second.model)
    chosen = {
        "weights": next(digest for name, digest in names.items() if name != "model.json"),
        "statement": life.second.statement,
        "data": data.partitions[0].digest,
    }[which]
    name = chosen.removeprefix("sha256:")
    (copy / ".stellwerk" / "blobs" / "sha256" / name[:2] / name).unlink()
    with opened(copy) as (local, _):
        damage = local.fsck()

        assert damage
        assert {True} == {chosen in item.problem for item in damage}
        assert any(chosen in sentence for sentence in local.trace(life.later[0]["id"]).failed)


def test_a_damaged_server_process_refuses_over_http(life: Life, copy: Path) -> None:
    """The same over the wire: an error with its code and hint, a header at the signal, and a server that lives on."""
    running(copy, life)
    names = parts(copy, life.second.model)
    flip(copy, next(digest for name, digest in names.items() if name != "model.json"))
    with worlds.server(copy) as url:
        client = Client(url)
        status, body, _ = client.post(f"/predict/{ENDPOINT}", {"columns": worlds.questions(NEW.parcels(2, 3))})
        again, _, _ = client.post("/api/v1/views.board", {})

        assert (500, "corrupt-blob", "Corrupt") == (status, body["code"], body["class"])
        assert body["hint"]
        assert 200 == again


def test_a_changed_entry_is_found(life: Life, copy: Path) -> None:
    """Whoever edits the book itself is found by the independent verifier."""
    with closing(sqlite3.connect(copy / ".stellwerk" / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER ledger_entries_no_update")
        (data,) = connection.execute("SELECT bytes FROM ledger_entries WHERE kind = 'release.not-renewed'").fetchone()
        changed = data.replace(b"not-renewed", b"not_renewed")
        connection.execute("UPDATE ledger_entries SET bytes = ? WHERE bytes = ?", (changed, data))
        connection.commit()
    with opened(copy) as (local, _):
        assert local.verify().findings


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("releases", "granted_by", "somebody else"),
        ("releases", "audit_share", 0.5),
        ("verdicts", "outcome", "unproven"),
        ("verdicts", "attempt", 7),
        ("evidence", "max_age", "P9999D"),
    ],
)
def test_rows_that_say_otherwise_than_what_was_signed_are_found(
    life: Life, copy: Path, table: str, field: str, value: Any
) -> None:
    """The trace compares rows with the statements that were signed: an edited row does not pass for the truth."""
    with closing(sqlite3.connect(copy / ".stellwerk" / "ledger.db")) as connection:
        rows = connection.execute(f"SELECT rowid, document FROM {table}").fetchall()
        for row, document in rows:
            changed = {**json.loads(document), field: value}
            connection.execute(f"UPDATE {table} SET document = ? WHERE rowid = ?", (json.dumps(changed), row))
        connection.commit()
    with opened(copy) as (local, _):
        trace = local.trace(life.later[0]["id"])

        assert any("differ" in sentence and field in sentence for sentence in trace.failed)


def test_an_exchanged_key_is_found(life: Life, copy: Path) -> None:
    """Another signing key in the folder than the book names is found, and signs nothing: no checkpoint and no token. What
    was signed before still counts, because the book names its key."""
    key = copy / ".stellwerk" / "keys" / "signing.key"
    key.unlink()
    create_key(key)
    with opened(copy) as (local, _):
        assert local.verify().findings
        assert () == local.trace(life.later[0]["id"]).failed
        with pytest.raises(Corrupt) as caught:
            local.ledger.rotate(why="a drill")
        assert ("foreign-key", "stop") == (caught.value.code, local.signal(ENDPOINT).signal)
        assert "stopped" == local.stop(ENDPOINT, why="a drill")[0].status


def test_a_lease_that_was_lengthened_by_hand_is_found(life: Life, copy: Path) -> None:
    """A row of a release that says more than the ledger does permits nothing: no token, no answer, and a finding."""
    with closing(sqlite3.connect(copy / ".stellwerk" / "ledger.db")) as connection:
        connection.execute(
            "UPDATE releases SET document = json_set(document, '$.expires_at', '2099-01-01T00:00:00Z')"
        )
        connection.commit()
    with opened(copy) as (local, caller):
        ask = worlds.in_process(caller.rooms)
        problems = [finding.problem for finding in local.verify().findings]
        assert "stop" == local.signal(ENDPOINT).signal
        with pytest.raises(Refused):
            ask(worlds.questions(World().parcels(1, 9)))

    assert problems
    assert all("is not what the entries tell: expires_at" in problem for problem in problems)


def test_old_cases_prove_nothing_new(tmp_path: Path) -> None:
    """Law 5: an ended lease does not begin again because the same plan looks at the same gate cases once more."""
    with worlds.workspace(tmp_path) as local:
        release = worlds.first_release(local, tmp_path)
        again = local.prove(ENDPOINT)
        worlds.clock(tmp_path).set(release.expires_at)
        with pytest.raises(Refused) as caught:
            local.prove(ENDPOINT)

        assert release.verdict == again.id
        assert "gate-worn" == caught.value.code
        assert "stop" == local.signal(ENDPOINT).signal
        with pytest.raises(Refused):
            local.release(ENDPOINT)


def test_what_the_owner_changed_is_not_released_by_old_rules(life: Life, copy: Path) -> None:
    """A verdict of yesterday's numbers gives no release under today's."""
    running(copy, life)
    with opened(copy) as (local, _):
        local.stop(ENDPOINT, why="to begin anew")
        stricter = replace(local.endpoints()[0], environment="elsewhere")
        local.declare(stricter)
        with pytest.raises(Refused) as caught:
            local.release(ENDPOINT)

        assert "not-clear" == caught.value.code
        assert "changed" in caught.value.message


def test_the_new_model_is_better_on_the_same_answers(life: Life) -> None:
    """Both models are asked what callers asked since the retraining; the difference is paired and has bounds."""
    assert 150 == life.duel.cases
    assert "better" == life.duel.verdict
    assert 0 < life.duel.lower <= life.duel.difference <= life.duel.upper
    assert life.duel.first.estimate > life.duel.second.estimate
