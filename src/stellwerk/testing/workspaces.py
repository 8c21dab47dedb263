"""What every workspace must do through the Python facade, wherever it is: in a folder, or at the other end of a URL.

Subclass `WorkspaceContract` in a test module and give it class-scoped fixtures: `place`, a new folder with the
project of `worlds`; `workspace`, a `Workspace` on it; `ask`, callers of its endpoint. The tests of a class live one
life together, in the order in which they stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError
from stellwerk.governance.dossier import markdown
from stellwerk.ledger import keys, rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.monitoring.model import Outcome
from stellwerk.releases.model import Release, Verdict
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, Ask, World
from stellwerk.workspace.facade import Workspace

ROWS = 1200
WORLD = World()


@dataclass(frozen=True, kw_only=True)
class Life:
    """What the expensive beginning left behind."""

    first: Any
    """What came of the first run."""
    second: Any
    verdict: Verdict
    release: Release
    prediction: str
    """An answer that was given."""
    answers: list[dict[str, Any]]
    asked: pl.DataFrame


class WorkspaceContract:
    """One life of a small workspace, and everything that can be seen of it."""

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, workspace: Workspace) -> Workspace:
        """The workspace with two versions of a dataset under a confirmed contract."""
        workspace.data.add(DATASET, WORLD.parcels(ROWS - 200, 1), partition="one", source="first delivery")
        workspace.data.add(DATASET, WORLD.parcels(200, 2, first=ROWS - 200), partition="two")
        workspace.data.confirm(DATASET, {"depot": {"vocabulary": ["North", "South", worlds.RARE]}})
        return workspace

    @pytest.fixture(scope="class")
    @classmethod
    def life(cls, data: Workspace, place: Path, ask: Ask) -> Life:
        """The whole way to answers."""
        first, second = data.run(worlds.plan(place)), data.run(worlds.plan(place))
        data.declare(worlds.declared(place))
        verdict, release = data.prove(ENDPOINT), data.release(ENDPOINT)
        asked = WORLD.parcels(60, 3)
        answers = ask(worlds.questions(asked))
        worlds.clock(place).set(worlds.START + timedelta(hours=1))
        return Life(
            first=first, second=second, verdict=verdict, release=release,
            prediction=str(answers[0]["id"]), answers=answers, asked=asked,
        )  # fmt: skip

    # Data

    def test_rows_come_back(self, data: Workspace) -> None:
        """Versions are numbered, keep their parts and sources, and give back exactly the rows that were added."""
        first, second = data.data.get(DATASET, 1), data.data.get(DATASET)

        assert [(1, ROWS - 200), (2, ROWS)] == [(item.version, item.rows) for item in (first, second)]
        assert ("first delivery", first.digest) == (first.source, second.parent)
        assert ["one", "two"] == [part.name for part in second.partitions]
        assert data.data.frame(DATASET, 1).equals(WORLD.parcels(ROWS - 200, 1))
        assert data.data.frame(DATASET).height == ROWS
        assert [1, 2] == [item.version for item in data.data.list() if item.name == DATASET]

    def test_the_same_rows_are_the_same_version(self, data: Workspace) -> None:
        """Adding a part again changes nothing."""
        again = data.data.add(DATASET, WORLD.parcels(200, 2, first=ROWS - 200), partition="two")

        assert data.data.get(DATASET, 2) == again

    def test_versions_are_compared(self, data: Workspace) -> None:
        """A diff counts the rows that came."""
        found = data.data.diff(DATASET, 1, 2)

        assert (200, 0, ()) == (found.rows_added, found.rows_removed, found.columns_added)

    def test_the_contract_refuses_with_rows_and_reasons(self, data: Workspace) -> None:
        """A part that breaks the confirmed contract is refused, says where, and adds nothing."""
        broken = WORLD.parcels(150, 4).with_columns(
            depot=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("Mars")).otherwise("depot")
        )
        contract = data.data.contract(DATASET)
        with pytest.raises(Refused) as caught:
            data.data.add(DATASET, broken, partition="three")

        assert contract is not None
        assert "confirmed" == contract.status
        assert "contract-broken" == caught.value.code
        assert "Mars" in caught.value.message
        assert "row 8" in caught.value.message
        assert 2 == data.data.get(DATASET).version

    def test_files_are_read(self, data: Workspace, tmp_path: Path) -> None:
        """A CSV file becomes the same rows as the table it was written from."""
        table = WORLD.parcels(40, 5)
        table.write_csv(tmp_path / "parcels.csv")
        version = data.data.add("from-file", tmp_path / "parcels.csv")

        assert ("parcels.csv", 40) == (version.source, version.rows)
        assert data.data.frame("from-file").equals(table)

    def test_versions_of_a_time(self, data: Workspace) -> None:
        """Now is the newest, long ago was nothing; a version and a time together make no sense."""
        now = data.now()

        assert data.data.get(DATASET) == data.data.get(DATASET, as_of=now)
        assert data.data.list() == data.data.list(as_of=now)
        assert () == data.data.list(as_of=now - timedelta(days=36500))
        with pytest.raises(NotFound):
            data.data.frame(DATASET, as_of=now - timedelta(days=36500))
        with pytest.raises(Invalid) as caught:
            data.data.get(DATASET, 1, as_of=now)
        assert "version-and-time" == caught.value.code

    def test_paths_belong_to_whoever_sits_at_the_machine(self, data: Workspace, tmp_path: Path) -> None:
        """Rows in a file are referred to, compared and copied from here; from elsewhere no path is opened."""
        file = tmp_path / "parcels.parquet"
        table = WORLD.parcels(40, 6)
        table.write_parquet(file)
        before = data.board().entries

        if data._caller.local:
            made = data.data.refer("elsewhere", str(file))
            assert ("reference", 40) == (made.kind, made.rows)
            assert data.data.frame("elsewhere").equals(table)
            assert data.data.verify("elsewhere").ok
            assert data.data.copy("elsewhere").parent == made.digest
            table.reverse().write_parquet(file)
            assert ["parcels.parquet"] == [change.part for change in data.data.verify("elsewhere", 1).changes]
            with pytest.raises(Conflict) as changed:
                data.data.frame("elsewhere", 1)
            assert "source-changed" == changed.value.code
        else:
            with pytest.raises(Refused) as caught:
                data.data.refer("elsewhere", f"file:{file}")
            assert "local-source" == caught.value.code
            with pytest.raises(Refused):
                data.data.refer("elsewhere", "http://127.0.0.1:1/x.csv")
            assert before == data.board().entries

    # Runs and models

    def test_files_are_versions_too(self, data: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder is kept, compared, brought back, listed and read in parts, wherever the workspace is."""
        monkeypatch.setenv("HOME", str(tmp_path))
        images = tmp_path / "pictures"
        (images / "train").mkdir(parents=True)
        (images / "train" / "cat.bin").write_bytes(bytes(range(256)) * 20)
        (images / "table.csv").write_text("a,b\n1,2\n3,4\n")

        first = data.data.add_files(images)
        again = data.data.add_files(images)
        (images / "table.csv").write_text("a,b\n1,2\n3,5\n")
        (changed,) = data.data.status(images)
        second = data.data.add_files(images)
        diff = data.data.changes("pictures@1", "pictures@2")
        data.data.checkout(images, version=1)
        with data.data.open("pictures@2", "train/cat.bin") as file:
            file.seek(-6, 2)
            tail = file.read(4)
        data.data.fetch("pictures@2", "table.csv", tmp_path / "got.csv")

        assert (1, 1, 2) == (first.version.version, again.version.version, second.version.version)
        assert ("changed", 1) == (changed.state, changed.changed)
        assert [("table.csv", "changed")] == [(one.path, one.change) for one in diff.changes]
        assert [("table.csv", 1, 1)] == [(path, t.rows_added, t.rows_removed) for path, t in diff.tables]
        assert "a,b\n1,2\n3,4\n" == (images / "table.csv").read_text()
        assert ["same"] == [one.state for one in data.data.status(images)]
        assert bytes([250, 251, 252, 253]) == tail
        assert "a,b\n1,2\n3,5\n" == (tmp_path / "got.csv").read_text()
        assert ["table.csv", "train/cat.bin"] == [entry.path for entry in data.data.files("pictures")]
        assert [1, 2] == [version.version for version in data.data.log("pictures")]

    def test_the_second_run_executes_nothing(self, life: Life, data: Workspace) -> None:
        """Every step is found under its key, the model has the same bytes and the same version."""
        assert (False, True) == (life.first.cached, life.second.cached)
        assert life.first.model == life.second.model
        assert life.first.evaluation == life.second.evaluation
        assert life.first.evaluation["metrics"]["auroc"] > 0.8
        assert {"finished"} == {run.status for run in data.runs(experiment=ENDPOINT, limit=100)}

    def test_runs_are_found(self, life: Life, data: Workspace) -> None:
        """By experiment and parent, newest first; the page of a run shows its steps as a graph."""
        parents = [run for run in data.runs(experiment=ENDPOINT) if run.parent is None]
        page = data.run_page(life.first.run.id)
        steps = {child.name for child in page.children}

        assert [life.second.run.id, life.first.run.id] == [run.id for run in parents]
        assert {"train", "split", "evaluate", "register"} <= steps
        assert len(page.children) == len(data.runs(parent=life.first.run.id))
        assert len(page.children) == len(page.graph.nodes)
        assert page.graph.edges
        assert dict(page.outputs)["model"] == life.first.model.digest

    def test_runs_are_found_by_what_they_logged(self, life: Life, data: Workspace) -> None:
        """By conditions and in an order, in pages; a wrong condition says what was expected."""
        auroc = life.first.evaluation["metrics"]["auroc"]
        asked = f"metrics.auroc >= {auroc!r} AND parent IS NULL AND experiment = '{ENDPOINT}' AND status = 'FINISHED'"
        found = [run.id for run in data.runs(asked, order=["start_time", "run_id"])]

        assert [life.first.run.id, life.second.run.id] == found
        assert found[1:] == [run.id for run in data.runs(asked, order=["start_time", "run_id"], limit=1, offset=1)]
        assert () == data.runs(f"metrics.auroc > {auroc!r} AND parent IS NULL")
        assert {"train"} == {run.kind for run in data.runs("attributes.kind = 'train'")}
        with pytest.raises(Invalid) as caught:
            data.runs("metrics.auroc >")
        assert "invalid-filter" == caught.value.code

    def test_models_are_named(self, life: Life, data: Workspace) -> None:
        """By name, version, alias and digest; an alias moves."""
        alias = data.models.alias(ENDPOINT, "champion", 1)
        names = (ENDPOINT, f"{ENDPOINT}@1", f"{ENDPOINT}@champion", f"{ENDPOINT}@latest", life.first.model.digest)

        assert (ENDPOINT, "champion", 1) == (alias.name, alias.alias, alias.version)
        assert {life.first.model.digest} == {data.models.get(name).digest for name in names}
        assert [life.first.model] == [item for item in data.models.list() if item.name == ENDPOINT]
        assert ("distance", "weight", "depot") == tuple(c.name for c in life.first.model.signature.inputs)

    def test_who_moved_which_alias_when(self, life: Life, data: Workspace, place: Path) -> None:
        """Moves are told in order, what an alias meant is found by time, and what was taken away is gone."""
        clock, second = worlds.clock(place), timedelta(seconds=1)
        before = data.now()
        clock.set(before + second)
        data.models.alias(ENDPOINT, "canary", 1)
        clock.set(before + 3 * second)
        gone = data.models.unalias(ENDPOINT, "canary")
        moves = data.models.history(ENDPOINT, "canary")

        assert ("canary", 1) == (gone.alias, gone.version)
        assert [(None, 1, before + second), (1, None, before + 3 * second)] == [
            (move.before, move.version, move.at) for move in moves
        ]
        assert 1 == len({move.by for move in moves})
        assert "canary" not in {alias.alias for alias in data.models.aliases(ENDPOINT)}
        for at in (1, 2):
            assert life.first.model == data.models.get(f"{ENDPOINT}@canary", as_of=before + at * second)
        for name, at in (("canary", 0), ("canary", 3), ("never", 2), ("99", 2)):
            with pytest.raises(NotFound):
                data.models.get(f"{ENDPOINT}@{name}", as_of=before + at * second)
        with pytest.raises(NotFound):
            data.models.get(f"{ENDPOINT}@canary")
        made = life.first.model.created_at
        assert 1 == data.models.get(ENDPOINT, as_of=made).version
        with pytest.raises(NotFound):
            data.models.get(ENDPOINT, as_of=made - second)

    def test_another_strength_is_another_model(self, life: Life, data: Workspace, place: Path) -> None:
        """Only what depends on the changed parameter runs again; a comparison names the parameter."""
        ran = data.run(worlds.plan(place, strength=0.01))
        executed = {task.task for task in ran.report.tasks if task.status != "cached"}
        found = data.models.compare(f"{ENDPOINT}@1", f"{ENDPOINT}@2")
        different = {row.what for row in found.differences if not row.equal}

        assert 2 == ran.model.version if ran.model else None
        assert {"train", "evaluate"} == executed
        assert {"model bytes", "train strength"} <= different
        assert "data" not in different

    # Proof and release

    def test_what_was_declared_is_known(self, life: Life, data: Workspace, place: Path) -> None:
        """Declarations come back as they were made; making one again changes nothing."""
        assert (worlds.declared(place),) == data.endpoints()
        assert worlds.declared(place) == data.declare(worlds.declared(place))

    def test_the_verdict_has_its_reasons(self, life: Life) -> None:
        """Clear, at the first attempt, with bounds for every goal; the rare depot goes to people."""
        verdict = life.verdict

        assert ("clear", 1, life.first.model.digest) == (verdict.outcome, verdict.attempt, verdict.model)
        assert {"pass"} == {reason.outcome for reason in verdict.reasons}
        assert (("depot", worlds.RARE),) == verdict.routed
        assert {"auroc", "latency_p99_ms"} == set(verdict.metrics)
        assert verdict.valid_until > verdict.given_at

    def test_the_release_holds(self, life: Life, data: Workspace) -> None:
        """It names its verdict and model, has a lease, and turns the signal clear."""
        release, state = life.release, data.signal(ENDPOINT)

        assert ("active", life.verdict.id, life.verdict.routed) == (release.status, release.verdict, release.routed)
        assert timedelta(days=30) == release.expires_at - release.granted_at
        assert (release,) == data.releases(ENDPOINT)
        assert "clear" == state.signal
        assert state.token is not None
        assert (release.id, release.model) == (state.token.release, state.token.model)

    def test_a_verdict_is_used_once(self, life: Life, data: Workspace) -> None:
        """The same verdict gives no second release."""
        with pytest.raises(Conflict) as caught:
            data.release(ENDPOINT)

        assert "verdict-used" == caught.value.code

    # Answers and labels

    def test_answers_name_their_model(self, life: Life) -> None:
        """Whoever is not steered to people gets an answer; each answer has a name and its model's digest."""
        answered = [item for item in life.answers if item["prediction"] is not None]

        assert {life.release.model} == {item["model"] for item in life.answers}
        assert 60 == len({item["id"] for item in life.answers})
        assert len(answered) > 30
        assert all(item["steered"] for item in life.answers if item["prediction"] is None)
        rare = [k for k, depot in enumerate(life.asked.get_column("depot")) if depot == worlds.RARE]
        assert all("depot" in str(life.answers[k]["steered"]) for k in rare)

    def test_labels_are_kept_once(self, life: Life, data: Workspace) -> None:
        """New, repeated, contradicting and unknown outcomes are told apart; the first label stays."""
        known = worlds.outcomes([str(item["id"]) for item in life.answers], life.asked, data.now())
        report = data.outcomes(ENDPOINT, known)
        other = Outcome(prediction=known[0].prediction, label=not known[0].label, observed_at=data.now())
        again = data.outcomes(ENDPOINT, [*known, other])
        stranger = Outcome(prediction=f"{'0' * 26}-0", label=True, observed_at=data.now())

        assert (60, 0, 0, 0) == (report.accepted, report.repeated, report.conflicts, report.unknown)
        assert (0, 60, 1, None) == (again.accepted, again.repeated, again.conflicts, again.batch)
        assert 1 == data.outcomes(ENDPOINT, [stranger]).unknown

    def test_production_is_judged(self, life: Life, data: Workspace) -> None:
        """Predictions are counted; labels younger than their delay prove nothing; nothing is renewed for them."""
        found = data.assess(ENDPOINT)
        renewal = data.renew(ENDPOINT)

        assert (60, 0, life.release.id) == (found.predictions, found.labelled, found.release)
        assert not renewal.decision.renew
        assert life.release.expires_at == renewal.release.expires_at
        assert "unproven" in {reason.outcome for reason in renewal.decision.reasons}

    def test_cases_are_decided_once(self, life: Life, data: Workspace) -> None:
        """What was steered to people waits in the inbox, is decided, and then is gone from it."""
        steered = {str(item["id"]) for item in life.answers if item["steered"]}
        cases = data.inbox(endpoint=ENDPOINT, limit=200)
        decided = data.decide(cases[0].id, "late", reason="the driver said so")

        assert steered
        assert steered == {case.id for case in cases}
        assert ("decided", "late", worlds.OWNER) == (decided.status, decided.decision, decided.decided_by)
        assert cases[0].id not in {case.id for case in data.inbox(limit=200)}
        with pytest.raises(Conflict) as caught:
            data.decide(cases[0].id, "in time")
        assert "case-decided" == caught.value.code

    # Views

    def test_the_board(self, life: Life, data: Workspace) -> None:
        """Signal, lease, release, counts and the next step of the endpoint; runs and events."""
        board = data.board()
        (card,) = board.endpoints

        assert (worlds.OWNER, "clear", 60) == (board.actor, card.signal, card.predictions)
        assert card.release is not None
        assert life.release.id == card.release.id
        assert card.lease_left_days is not None
        assert 29.9 < card.lease_left_days <= 30
        assert card.open_cases == len(data.inbox(endpoint=ENDPOINT, limit=200))
        assert card.next_step
        assert life.first.run.id in {run.id for run in board.runs}
        sequences = [event.sequence for event in board.events]
        assert sorted(sequences, reverse=True) == sequences
        assert "release.granted" in {event.kind for event in board.events}
        assert board.entries > 30

    def test_a_trace_reaches_the_raw_bytes(self, life: Life, data: Workspace) -> None:
        """From one answer to code, environment and dataset, every digest re-verified, nothing failed."""
        up = data.trace(life.prediction)
        kinds = {node.kind for node in up.graph.nodes}

        assert () == up.failed
        assert () == up.unproven
        assert {"prediction", "segment", "release", "verdict", "plan", "evidence", "gate", "model", "run", "code",
                "environment", "dataset", "file"} <= kinds  # fmt: skip
        assert up.verified > 15
        assert data.data.get(DATASET).digest in {node.digest for node in up.graph.nodes}

    def test_a_trace_reaches_what_was_made(self, life: Life, data: Workspace) -> None:
        """From the dataset on to model, release and answers; from the first version also to the second."""
        down = data.trace(data.data.get(DATASET).digest, down=True)
        older = data.trace(data.data.get(DATASET, 1).digest, down=True)
        ids = {node.id for node in down.graph.nodes}

        assert {life.release.model, f"release:{life.release.id}"} <= ids
        assert "segment" in {node.kind for node in down.graph.nodes}
        assert ids <= {node.id for node in older.graph.nodes}
        assert () == down.failed

    @pytest.mark.parametrize("subject", ["run", "release", "model"])
    def test_traces_begin_anywhere(self, life: Life, data: Workspace, subject: str) -> None:
        """From a run, a release, or a model, up and down."""
        begin = {"run": life.first.run.id, "release": life.release.id, "model": life.release.model}[subject]

        unknown = data.trace(of_bytes(b"nothing"))

        assert (1, 1) == (len(unknown.failed), len(unknown.unproven))
        assert data.trace(begin).graph.nodes
        assert data.trace(begin, down=True).graph.nodes

    def test_story_and_dossier(self, life: Life, data: Workspace) -> None:
        """What happened, in order, with numbers; and a document that names the evidence."""
        story = data.story(ENDPOINT)
        document = data.dossier(life.release.id)
        text = markdown(document)

        assert sorted(line.sequence for line in story) == [line.sequence for line in story]
        assert any("release" in line.what for line in story)
        assert life.release.model in text
        assert life.verdict.plan in text
        assert "floor:auroc" in text
        assert f"{DATASET}@2" in text

    def test_the_book_and_the_store_are_whole(self, life: Life, data: Workspace) -> None:
        """Independent code finds nothing; what is verified is signed."""
        report = data.verify()

        assert () == report.findings
        assert report.entries == data.board().entries
        assert report.root in report.checkpoint
        assert () == data.fsck()

    # What is said of models

    def test_a_protected_alias_follows_the_release(self, life: Life, data: Workspace) -> None:
        """It moves to what may run and nowhere else, and what was released does not go away."""
        guarded = data.models.protect("production")
        data.models.alias(ENDPOINT, "production", 1)

        assert (guarded,) == data.models.protected()
        for code, act in (
            ("protected-alias", lambda: data.models.alias(ENDPOINT, "production", 2)),
            ("protected-alias", lambda: data.models.unalias(ENDPOINT, "production")),
            ("released-version", lambda: data.models.delete(ENDPOINT, 1)),
        ):
            with pytest.raises(Refused) as caught:
                act()
            assert code == caught.value.code
        assert life.release.model == data.models.get(f"{ENDPOINT}@production").digest
        assert guarded == data.models.unprotect("production")
        data.models.unalias(ENDPOINT, "production")

    def test_what_is_said_of_models(self, life: Life, data: Workspace) -> None:
        """Descriptions and tags change, of a model and of a version; what the version is stays."""
        before = data.models.get(f"{ENDPOINT}@2")
        data.models.describe(ENDPOINT, description="Late?", tags={"team": "risk", "old": ""})
        data.models.describe(ENDPOINT, untag=["old"])
        data.models.describe(ENDPOINT, 2, description="weaker", tags={"kind": "linear"})
        about, version = data.models.about(ENDPOINT), data.models.get(f"{ENDPOINT}@2")

        assert ("Late?", {"team": "risk"}, 2) == (about.description, about.tags, about.last)
        assert ("weaker", {"kind": "linear"}) == (version.description, version.tags)
        assert (before.digest, before.created_at) == (version.digest, version.created_at)

    # Errors

    @pytest.mark.parametrize(
        ("kind", "code", "act"),
        [
            (NotFound, "not-found", lambda w: w.data.get("nothing")),
            (NotFound, "not-found", lambda w: w.data.get(DATASET, 99)),
            (NotFound, "not-found", lambda w: w.data.frame("nothing")),
            (NotFound, "not-found", lambda w: w.models.get("nothing")),
            (NotFound, "not-found", lambda w: w.models.alias(ENDPOINT, "x", 99)),
            (NotFound, "not-found", lambda w: w.models.unalias(ENDPOINT, "nobody")),
            (NotFound, "not-found", lambda w: w.models.get(f"{ENDPOINT}@99")),
            (NotFound, "not-found", lambda w: w.models.about("nothing")),
            (NotFound, "not-found", lambda w: w.models.delete(ENDPOINT, 99)),
            (NotFound, "not-found", lambda w: w.models.describe(ENDPOINT, 99, description="x")),
            (NotFound, "not-found", lambda w: w.models.unprotect("nobody")),
            (Invalid, "invalid-tag", lambda w: w.models.describe(ENDPOINT, tags={"../x": "y"})),
            (NotFound, "not-found", lambda w: w.signal("nothing")),
            (NotFound, "not-found", lambda w: w.prove("nothing")),
            (NotFound, "no-verdict", lambda w: w.release("nothing")),
            (NotFound, "no-release", lambda w: w.assess("nothing")),
            (NotFound, "not-found", lambda w: w.run_page("nothing")),
            (NotFound, "not-found", lambda w: w.dossier("nothing")),
            (NotFound, "not-found", lambda w: w.decide("nothing", "late")),
            (NotFound, "not-found", lambda w: w.trace("nothing")),
            (Invalid, "invalid-digest", lambda w: w.trace("sha256:abc")),
            (Invalid, "missing-reason", lambda w: w.stop(ENDPOINT, why=" ")),
            (Invalid, "invalid-name", lambda w: w.models.alias(ENDPOINT, "no good name", 1)),
            (Invalid, "invalid-name", lambda w: w.data.add("../x", WORLD.parcels(40, 1))),
            (Invalid, "schema-changed", lambda w: w.data.add("from-file", pl.DataFrame({"a": [1]}), partition="b")),
            (Invalid, "unknown-column", lambda w: w.data.confirm(DATASET, {"dipot": {"minimum": 1}})),
            (Invalid, "invalid-project", lambda w: w.declare(evolved(w, goals=()))),
            (Invalid, "invalid-outcome", lambda w: w.outcomes(ENDPOINT, [labelled(w, "")])),
        ],
    )
    def test_errors_are_the_same_everywhere(
        self, life: Life, data: Workspace, kind: type[StellwerkError], code: str, act: Callable[[Workspace], Any]
    ) -> None:
        """Class, code and the book after it: an error is the same here and at the other end of a URL."""
        before = data.board().entries
        with pytest.raises(kind) as caught:
            act(data)

        assert (kind, code) == (type(caught.value), caught.value.code)
        assert caught.value.message
        assert before == data.board().entries

    def test_blobs_are_what_their_name_says(self, workspace: Workspace) -> None:
        """What was put comes back; what was not is not found."""
        blobs = workspace._caller.blobs
        digest = blobs.put(b"some bytes")

        assert (of_bytes(b"some bytes"), b"some bytes", True, 10) == (
            digest,
            blobs.get(digest),
            blobs.has(digest),
            blobs.size(digest),
        )
        assert not blobs.has(of_bytes(b"never put"))
        with pytest.raises(NotFound):
            blobs.get(of_bytes(b"never put"))

    # The book

    def test_the_book_proves_itself(self, data: Workspace) -> None:
        """An entry is proven to be in the signed book, and an earlier book to begin it, without trusting the server."""
        data.verify()
        head = data.ledger.checkpoint(since=2)
        signed = keys.open_checkpoint(head.note, head.keys, Ed25519Verifier())
        leaf = rules.leaf_hash(data.ledger.entry(1).encode())
        path = [bytes.fromhex(node) for node in data.ledger.inclusion(1, signed.size)]
        two = rules.node_hash(rules.leaf_hash(data.ledger.entry(0).encode()), leaf)
        proof = [bytes.fromhex(node) for node in head.consistency]

        assert rules.verify_inclusion(leaf, 1, signed.size, path, signed.root)
        assert rules.verify_consistency(2, signed.size, two, signed.root, proof)
        assert head.consistency == data.ledger.consistency(2, signed.size)
        for asked in (lambda: data.ledger.entry(10**9), lambda: data.ledger.entry(-1),
                      lambda: data.ledger.inclusion(1, 10**9), lambda: data.ledger.inclusion(5, 5),
                      lambda: data.ledger.consistency(5, 10**9), lambda: data.ledger.consistency(0, 5)):  # fmt: skip
            with pytest.raises((Invalid, NotFound)):
                asked()

    def test_a_checkpoint_kept_elsewhere_is_compared(self, data: Workspace) -> None:
        """`verify` finds that the book begins as an honest copy says, and not as a forged one does."""
        data.verify()
        kept = data.ledger.checkpoint().note
        forged = kept.replace("\n", "\n1", 1)

        assert () == data.verify(against=[kept]).findings
        assert [] != list(data.verify(against=[forged]).findings)
        assert [] != list(data.verify(against=["no checkpoint"]).findings)

    def test_the_key_is_rotated_while_callers_ask(self, life: Life, data: Workspace, ask: Ask) -> None:
        """The signal stays clear, answers go on, what the old key signed is verified still, the book stays whole."""
        before = data.ledger.keys()
        new = data.ledger.rotate(why="a drill")
        ask(worlds.questions(WORLD.parcels(1, 11)))
        trace = data.trace(life.release.id)

        assert (1, before[0].key, False) == (new.number, new.previous, new.compromised)
        assert (*before, new) == data.ledger.keys()
        assert "clear" == data.signal(ENDPOINT).signal
        assert () == trace.failed
        assert (new.key, ()) == (data.verify().key, data.verify().findings)

    def test_a_compromised_key_is_replaced(self, life: Life, data: Workspace, ask: Ask) -> None:
        """Answers go on under the newest key; statements from before the change still count."""
        new = data.ledger.rotate(why="the key was seen on a desk", compromised=True)
        ask(worlds.questions(WORLD.parcels(1, 12)))

        assert (2, True) == (new.number, new.compromised)
        assert "clear" == data.signal(ENDPOINT).signal
        assert () == data.trace(life.release.id).failed
        with pytest.raises(Invalid):
            data.ledger.rotate(why=" ")

    # The end

    def test_a_stop_is_at_once(self, life: Life, data: Workspace, ask: Ask) -> None:
        """The signal falls, callers are refused, a second stop has nothing to stop; the book tells why."""
        (stopped,) = data.stop(ENDPOINT, why="a drill")
        with pytest.raises(NotFound) as caught:
            data.stop(ENDPOINT, why="again")

        assert ("stopped", "a drill") == (stopped.status, stopped.ended_why)
        assert "no-release" == caught.value.code
        assert "stop" == data.signal(ENDPOINT).signal
        assert any("a drill" in line.numbers for line in data.story(ENDPOINT))
        self.wait_for_stop(ask)

    def wait_for_stop(self, ask: Ask) -> None:
        """Within the time for which servers keep a token, no caller gets an answer any more."""
        for _ in range(200):
            try:
                ask(worlds.questions(WORLD.parcels(1, 9)))
            except (Refused, AssertionError) as refusal:
                assert "stop" in str(refusal)
                return
        raise AssertionError("a stopped endpoint still answers")

    def test_a_person_may_undo_a_stop(self, life: Life, data: Workspace) -> None:
        """The verdict still holds, because no harm was proven."""
        release = data.release(ENDPOINT)

        assert (life.verdict.id, "clear") == (release.verdict, data.signal(ENDPOINT).signal)
        assert ["stopped", "active"] == [item.status for item in data.releases(ENDPOINT)]

    def test_everything_is_still_whole(self, data: Workspace) -> None:
        """At the end of this life nothing is damaged, and no run is left open."""
        assert ((), ()) == (data.verify().findings, data.fsck())
        assert {"finished"} == {run.status for run in data.runs(limit=1000)}


def evolved(workspace: Workspace, **changes: Any) -> Any:
    """The endpoint's declaration with changes."""
    return replace(workspace.endpoints()[0], **changes)


def labelled(workspace: Workspace, prediction: str) -> Outcome:
    """A label for something."""
    return Outcome(prediction=prediction, label=True, observed_at=workspace.now())
