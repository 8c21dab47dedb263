"""Registered models: numbers are given once, what is said is told, and protected aliases follow releases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.ledger import documents
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.ports import Transaction
from stellwerk.models.adapters.finder import SqlModels
from stellwerk.models.catalogue import Catalogue
from stellwerk.models.model import Column, ModelVersion, Signature
from stellwerk.models.ports import Logged
from stellwerk.models.service import Registry
from stellwerk.models.shelves import MODELS, VERSIONS
from stellwerk.testing.fakes import StandingClock

ONE, TWO, THREE = (of_bytes(text) for text in (b"one", b"two", b"three"))
SIGNATURE = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")
RUN = "0" * 26
S3 = "s3://bucket/model"


class Released:
    """Releases of some bytes."""

    def __init__(self) -> None:
        self.holding: set[Digest] = set()
        self.ended: set[Digest] = set()

    def clear(self, digest: Digest) -> bool:
        return digest in self.holding

    def named(self, digest: Digest) -> bool:
        return digest in self.holding | self.ended


class Shelf:
    """Logged models."""

    def __init__(self) -> None:
        self.known = {"m-1": Logged(location="mlflow-artifacts:/1/models/m-1/artifacts", run_id=RUN)}
        self.became: list[tuple[str, str, int]] = []

    def find(self, model_id: str) -> Logged | None:
        return self.known.get(model_id)

    def registered(self, tx: Transaction, model_id: str, name: str, version: int) -> None:
        self.became.append((model_id, name, version))


class Room:
    """The registry on a real book."""

    def __init__(self, database: Database, clock: StandingClock) -> None:
        self.clock, self.released, self.logged = clock, Released(), Shelf()
        self.book = WorkspaceBook(database, "default", "anna")
        self.registry = Registry(self.book, clock, self.released)
        self.catalogue = Catalogue(
            self.book,
            clock,
            SqlModels(),
            releases=self.released,
            knows_run=lambda run: run == RUN,
            logged=self.logged,
        )

    def register(self, digest: Digest, name: str = "delay") -> ModelVersion:
        self.clock.advance(timedelta(seconds=1))
        return self.registry.register(name, digest, SIGNATURE, layout="skops", run_id=RUN)

    def add(self, source: str = S3, name: str = "delay", **facts: object) -> ModelVersion:
        self.clock.advance(timedelta(seconds=1))
        return self.catalogue.add(name, source, **facts)  # type: ignore[arg-type]

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.book.entries()]


@pytest.fixture(params=["sqlite", "postgresql"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    clock = StandingClock()
    if request.param == "sqlite":
        made = Database(tmp_path / "ledger.db", clock)
    else:
        pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
        from stellwerk.ledger.dialects.postgresql import PostgreSQL

        made = Database(PostgreSQL(request.getfixturevalue("postgres").new_database()), clock)
    made.create("example.com/models")
    yield Room(made, clock)
    made.close()


class TestNumbers:
    """A number means one version, for ever."""

    def test_they_count_up_whoever_registers(self, room: Room) -> None:
        """Files of the store, addresses and copies share one sequence."""
        made = [room.register(ONE), room.add(), room.add("models:/delay/1"), room.register(TWO)]

        assert [1, 2, 3, 4] == [version.version for version in made]
        assert 1 == room.register(ONE).version  # equal bytes are the version that exists

    def test_they_are_not_given_again(self, room: Room) -> None:
        """Neither after the newest version went, nor after the model did, nor under a name that was left."""
        room.register(ONE)
        room.add()
        room.catalogue.delete_version("delay", 2)
        assert 3 == room.add().version
        room.catalogue.delete("delay")
        assert 4 == room.register(TWO).version
        room.catalogue.rename("delay", "late")
        room.catalogue.create("delay")
        assert 5 == room.add().version
        assert 5 == room.add(name="late").version

    def test_models_of_older_workspaces_are_models(self, room: Room) -> None:
        """Versions without a model were registered before there were models, with fewer fields."""
        old = {
            "workspace": "default", "name": "old", "version": 7, "digest": ONE, "format": "skops", "run_id": RUN,
            "seed": None, "created_at": "2026-01-01T00:00:00.000000Z", "signature": documents.dump(SIGNATURE),
        }  # fmt: skip
        with room.book.write() as tx:
            VERSIONS.insert(tx, documents.load(ModelVersion, old))
            tx.record("model.registered", f"model:{ONE}")

        assert ("old", 7) == (room.catalogue.get("old").model.name, room.catalogue.get("old").model.last)
        with pytest.raises(Conflict):
            room.catalogue.create("old")
        assert 8 == room.add(name="old").version
        with room.book.read() as reader:
            assert 8 == MODELS.get(reader, "old").last
        assert ["old"] == [page.model.name for page in room.catalogue.search_models()]


class TestModels:
    """What is said of models."""

    def test_a_name_is_taken_once(self, room: Room) -> None:
        """In MLflow's words; a prompt and a model share the names."""
        room.catalogue.create("delay", description="Late?", tags={"team": "risk"})

        with pytest.raises(Conflict, match=r"Registered Model \(name=delay\) already exists"):
            room.catalogue.create("delay")
        with pytest.raises(Conflict, match="Tried to create a prompt with name 'delay', but"):
            room.catalogue.create("delay", tags={"mlflow.prompt.is_prompt": "true"})

    def test_descriptions_and_tags(self, room: Room) -> None:
        """They change alone, are told once each, and without their words; saying the same again is told by nobody."""
        room.catalogue.create("delay", tags={"team": "risk"})
        room.add()
        before = room.catalogue.get("delay").model
        room.clock.advance(timedelta(seconds=1))
        room.catalogue.describe("delay", tags={"owner": "secret words"}, untag=["team"])
        told = len(room.book.entries())
        room.catalogue.describe("delay", tags={"owner": "secret words"})
        assert told == len(room.book.entries())
        room.catalogue.describe("delay", description="Late?")
        room.catalogue.describe("delay", 1, description="First", tags={"a": ""})

        after = room.catalogue.get("delay").model
        assert (before.changed_at, after.created_at) == (before.changed_at, before.created_at)
        assert ({"owner": "secret words"}, "Late?") == (after.tags, after.description)
        version = room.catalogue.version("delay", 1)
        assert ("First", {"a": ""}) == (version.description, version.tags)
        entries = room.book.entries(kinds=["model.described"])
        assert [["owner", "team"], [], ["a"]] == [entry.body["tags"] for entry in entries]
        assert "secret" not in str(entries)

    def test_renaming_takes_versions_and_aliases_along(self, room: Room) -> None:
        """And the past of the aliases, which is asked under the name of today."""
        room.register(ONE)
        room.registry.alias("delay", "champion", 1)
        room.clock.advance(timedelta(days=1))
        room.catalogue.rename("delay", "late")
        room.register(TWO, "late")
        room.clock.advance(timedelta(days=1))
        room.registry.alias("late", "champion", 2)

        assert [1, 2] == [version.version for version in room.registry.list()]
        assert 2 == room.registry.find("late@champion").version
        then = room.clock.now() - timedelta(hours=1)
        assert 1 == room.registry.find("late@champion", as_of=then).version
        assert [(1, None), (2, 1)] == [(move.version, move.before) for move in room.registry.history("late")]
        with pytest.raises(NotFound, match="Registered Model with name=delay not found"):
            room.catalogue.get("delay")
        room.catalogue.rename("late", "delay")
        assert 2 == len(room.registry.history("delay"))
        room.catalogue.create("other")
        with pytest.raises(Conflict, match=r"\(name=other\) already exists"):
            room.catalogue.rename("delay", "other")

    def test_deleting_is_told_in_one_entry(self, room: Room) -> None:
        """With what went; nothing is found any more."""
        room.register(ONE)
        room.add()
        room.registry.alias("delay", "champion", 1)
        before = len(room.book.entries())
        room.catalogue.delete("delay")

        assert before + 1 == len(room.book.entries())
        gone = room.book.entries(kinds=["model.deleted"])[0].body
        assert {"last": 2, "versions": [1, 2], "aliases": {"champion": 1}} == gone
        assert [None, 1] == [move.version for move in reversed(room.registry.history("delay"))]
        assert [] == list(room.registry.list()) == list(room.registry.aliases())

    def test_a_deleted_version_drops_its_aliases(self, room: Room) -> None:
        """And can neither be found nor deleted again; its model changed."""
        room.register(ONE)
        room.register(TWO)
        room.registry.alias("delay", "champion", 1)
        room.registry.alias("delay", "canary", 2)
        room.clock.advance(timedelta(days=1))
        room.catalogue.delete_version("delay", 1)

        assert ["canary"] == [alias.alias for alias in room.registry.aliases("delay")]
        assert room.clock.now() == room.catalogue.get("delay").model.changed_at
        for ask in (room.catalogue.version, room.catalogue.delete_version):
            with pytest.raises(NotFound, match=r"Model Version \(name=delay, version=1\) not found"):
                ask("delay", 1)
        with pytest.raises(NotFound):
            room.registry.by_digest(ONE)

    @pytest.mark.parametrize(
        "name",
        [
            "", "  ", "a/b", "a:b", "sha256:00", "x" * 257, "Model ", " Model", "Model.", "..", "cafe\u0301",
            "a\u200db", "a\u202eb", "a\u00a0b", "a\nb", "a\x00b", "\ud800",
        ],
    )  # fmt: skip
    def test_names_that_look_like_others_are_refused(self, room: Room, name: str) -> None:
        """One spelling, one model (P7)."""
        with pytest.raises(Invalid):
            room.catalogue.create(name)
        room.catalogue.create("fine")
        with pytest.raises(Invalid):
            room.catalogue.rename("fine", name)

    def test_names_are_kept_as_written(self, room: Room) -> None:
        """Encoded ones are their own, and words that mean something elsewhere mean nothing here (P8, P9)."""
        names = ["prod%2Dmodel", "prod-model", "Model", "model", "café", "search", "create", "None", "null", "latest",
                 "v2", "a@b", "UpdateRMTest 2", "%", "x'; DROP TABLE"]  # fmt: skip
        for name in names:
            room.catalogue.create(name)
            room.add(name=name)

        assert [[1]] * len(names) == [[one.version for one in room.catalogue.get(name).latest] for name in names]
        assert 1 == room.registry.find("a@b@1").version


class TestVersions:
    """Versions that came by an address."""

    def test_nothing_can_be_proven_of_them(self, room: Room) -> None:
        """The reason is said, whoever asks."""
        room.catalogue.create("delay")
        version = room.add(run_id="their-run", tags={"a": "b"}, run_link="https://host/run", description="d")

        assert (None, None, S3, "anna") == (version.digest, version.signature, version.source, version.user)
        for ask in (version.bytes, version.interface):
            with pytest.raises(Refused, match="not in the store") as caught:
                ask()
            assert "no-bytes" == caught.value.code
        assert version == room.registry.find("delay@latest")

    def test_a_copy_has_the_bytes_and_the_run_of_its_original(self, room: Room) -> None:
        """However the original was named; it stays what it is when the original goes."""
        room.register(ONE)
        room.registry.alias("delay", "champion", 1)
        room.add()
        room.catalogue.stage("delay", 2, "production")
        copies = [room.add(f"models:/delay{which}") for which in ("/1", "@champion", "/Production", "/latest")]
        room.catalogue.delete_version("delay", 2)

        assert [(ONE, RUN)] * 2 + [(None, "")] * 2 == [(copy.digest, copy.run_id) for copy in copies]
        assert ["models:/delay/1", "models:/delay/1", "models:/delay/2", "models:/delay/5"] == [
            copy.source for copy in copies
        ]
        assert S3 == room.catalogue.location("delay", 5)
        assert S3 == room.catalogue.location("delay", 6)
        with pytest.raises(Invalid, match="must match the referenced model version"):
            room.add("models:/delay/1", run_id="another")
        for missing in ("models:/delay/99", "models:/nobody/1", "models:/delay/Staging"):
            with pytest.raises(NotFound):
                room.add(missing)

    def test_runs_and_logged_models_must_exist(self, room: Room) -> None:
        """Where that can be known. A run of another tracker is a label."""
        room.catalogue.create("delay")

        assert RUN == room.add(f"runs:/{RUN}/model").run_id
        assert "run_id_1" == room.add("runs:/run_id/model", run_id="run_id_1").run_id
        logged = room.add("models:/m-1")
        assert (RUN, "m-1") == (logged.run_id, logged.model_id)
        assert "mlflow-artifacts:/1/models/m-1/artifacts" == room.catalogue.location("delay", logged.version)
        assert [("m-1", "delay", 3)] == room.logged.became
        for source, facts in (
            (f"runs:/{'1' * 26}/model", {}),
            (f"runs:/{'ab' * 16}/model", {}),
            (f"runs:/{RUN}/model", {"run_id": "another"}),
            ("models:/m-2", {}),
            ("models:/m-1", {"model_id": "m-2"}),
        ):
            with pytest.raises(Invalid, match="must identify the resource that contains the source"):
                room.add(source, **facts)

    def test_prompts_are_no_sources(self, room: Room) -> None:
        """A prompt is a text."""
        room.catalogue.create("greeting", tags={"mlflow.prompt.is_prompt": "true"})
        room.add("dummy-source", "greeting", tags={"mlflow.prompt.is_prompt": "true"})
        room.catalogue.create("delay")
        with pytest.raises(Invalid, match="Prompt versions cannot be used"):
            room.add("models:/greeting/1")

    def test_stages(self, room: Room) -> None:
        """One takes the place of all others on demand; the newest of each is found."""
        room.catalogue.create("delay")
        for _ in range(4):
            room.add()
        room.catalogue.stage("delay", 1, "staging")
        room.catalogue.stage("delay", 2, "STAGING")
        room.catalogue.stage("delay", 3, "Staging", archive=True)

        assert ["Archived", "Archived", "Staging", "None"] == [
            room.catalogue.version("delay", number).stage for number in (1, 2, 3, 4)
        ]
        assert [2, 3, 4] == [version.version for version in room.catalogue.latest("delay")]
        assert [3] == [version.version for version in room.catalogue.latest("delay", ["STAGING"])]
        assert [1, 2] == room.book.entries(kinds=["model.staged"])[-1].body["archived"]
        with pytest.raises(
            Invalid, match=r"Invalid Model Version stage: unknown\. Value must be one of None, Staging,"
        ):
            room.catalogue.stage("delay", 1, "unknown")
        with pytest.raises(Invalid, match="because 'None' is not an Active stage"):
            room.catalogue.stage("delay", 1, "None", archive=True)


class TestProtectedAliases:
    """What others load by an alias follows releases."""

    def test_they_move_only_to_what_is_clear(self, room: Room) -> None:
        """Natively and through the door; stages of the same name too."""
        room.register(ONE)
        room.register(TWO)
        room.add()
        room.registry.protect("production")
        room.released.holding = {TWO}
        for move in (
            lambda number: room.registry.alias("delay", "production", number),
            lambda number: room.catalogue.set_alias("delay", "production", number),
            lambda number: room.catalogue.stage("delay", number, "Production"),
        ):
            for number in (1, 3):
                with pytest.raises(Refused, match="protected") as caught:
                    move(number)
                assert "protected-alias" == caught.value.code
            move(2)
        room.registry.alias("delay", "champion", 1)

    def test_they_do_not_go_away(self, room: Room) -> None:
        """Not with their version, not with their model, not with its name."""
        room.register(ONE)
        room.add()
        room.released.holding = {ONE}
        room.registry.alias("delay", "production", 1)
        room.registry.alias("delay", "canary", 2)
        room.registry.protect("production")
        room.registry.protect("canary")
        told = len(room.book.entries())
        for change in (
            lambda: room.registry.unalias("delay", "production"),
            lambda: room.catalogue.drop_alias("delay", "production"),
            lambda: room.catalogue.delete_version("delay", 2),
            lambda: room.catalogue.delete("delay"),
            lambda: room.catalogue.rename("delay", "late"),
        ):
            with pytest.raises(Refused):
                change()
        assert told == len(room.book.entries())
        assert 1 == room.registry.find("delay@production").version
        room.registry.unprotect("canary")
        room.catalogue.delete_version("delay", 2)

    def test_protection_is_told(self, room: Room) -> None:
        """Once, by whom."""
        assert room.registry.protect("production") == room.registry.protect("production")
        assert ["production"] == [one.alias for one in room.registry.protected()]
        room.registry.unprotect("production")
        with pytest.raises(NotFound):
            room.registry.unprotect("production")
        with pytest.raises(Invalid):
            room.registry.protect("7")

        assert ["model.alias-protected", "model.alias-unprotected"] == room.kinds()

    def test_what_was_released_stays(self, room: Room) -> None:
        """Unless another version has the same bytes."""
        room.register(ONE)
        room.released.ended = {ONE}
        for change in (lambda: room.catalogue.delete_version("delay", 1), lambda: room.catalogue.delete("delay")):
            with pytest.raises(Refused) as caught:
                change()
            assert "released-version" == caught.value.code
        room.add("models:/delay/1")
        with pytest.raises(Refused):
            room.catalogue.delete("delay")
        room.catalogue.delete_version("delay", 1)


class TestAliases:
    """Aliases as MLflow allows them."""

    @pytest.mark.parametrize(
        "alias", ["", "a b", "a/b", "a.b", "latest", "LATEST", "v1", "V20", "3", "x" * 256, "a\n"]
    )
    def test_bad_ones(self, room: Room, alias: str) -> None:
        """Those that mean a version, and those that no address can hold."""
        room.catalogue.create("delay")
        room.add()
        with pytest.raises(Invalid):
            room.catalogue.set_alias("delay", alias, 1)

    def test_they_are_found(self, room: Room) -> None:
        """In both ways in; one that is missing is said as MLflow says it."""
        room.catalogue.create("delay")
        with pytest.raises(NotFound, match="Latest version not found"):
            room.catalogue.by_alias("delay", "latest")
        room.add()
        room.add()
        room.catalogue.set_alias("delay", "Best_one-2", 1)

        assert (
            1
            == room.registry.find("delay@Best_one-2").version
            == room.catalogue.by_alias("delay", "Best_one-2").version
        )
        assert 2 == room.catalogue.by_alias("delay", "Latest").version
        with pytest.raises(Invalid, match="Registered model alias nobody not found"):
            room.catalogue.by_alias("delay", "nobody")
        room.catalogue.drop_alias("delay", "nobody")
        room.catalogue.drop_alias("delay", "Best_one-2")
        with pytest.raises(NotFound):
            room.registry.find("delay@Best_one-2")


class TestTags:
    """Tags of models and versions."""

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("", "v", "Missing value for required parameter 'key'"),
            ("a\\b", "v", "Names may only contain"),
            ("../x", "v", "must not resolve to other names"),
            ("a//b", "v", "must not resolve to other names"),
            ("k" * 251, "v", "'key' exceeds the maximum length of 250 characters"),
            ("k", "v" * 100_001, "'value' exceeds the maximum length of 100000 characters"),
        ],
    )
    def test_bad_ones(self, room: Room, key: str, value: str, said: str) -> None:
        """Before anything is written, and in MLflow's words."""
        with pytest.raises(Invalid, match=said):
            room.catalogue.create("delay", tags={key: value})
        room.catalogue.create("delay", tags={"k" * 250: "v" * 100_000})
        with pytest.raises(Invalid, match=said):
            room.catalogue.describe("delay", tags={key: value})
        with pytest.raises(Invalid, match="1001 tags"):
            room.catalogue.describe("delay", tags={f"k{number}": "" for number in range(1000)})


class TestSearch:
    """Finding models and versions."""

    def test_models(self, room: Room) -> None:
        """By name and tags; prompts only for those who ask."""
        for name, tags in (("b", {"team": "risk"}), ("a", {}), ("prompt", {"mlflow.prompt.is_prompt": "true"})):
            room.clock.advance(timedelta(seconds=1))
            room.catalogue.create(name, tags=tags)

        def found(where: str = "", *order: str) -> list[str]:
            return [page.model.name for page in room.catalogue.search_models(where, order)]

        assert ["a", "b"] == found() == found("tags.`mlflow.prompt.is_prompt` != 'true'")
        assert ["b", "a"] == found("", "name DESC") == found("", "timestamp ASC")
        assert ["b"] == found("tags.team = 'risk'") == found("name LIKE 'b%' AND name IN ('b', 'c')")
        assert ["prompt"] == found("tags.`mlflow.prompt.is_prompt` = 'true'")
        assert ["b"] == [page.model.name for page in room.catalogue.search_models(limit=1, offset=1)]
        for where, order in (("run_id = 'x'", ()), ("", ("name", "name DESC")), ("", ("version_number",))):
            with pytest.raises(Invalid):
                found(where, *order)

    def test_versions(self, room: Room) -> None:
        """The last changed first."""
        for name in ("a", "b"):
            room.catalogue.create(name)
        room.add(name="a", run_id="r1", tags={"x": "1"})
        room.add(name="b", run_id="r2")
        room.add("s3://bucket/other", "a", run_id="r2")
        room.catalogue.create("prompt", tags={"mlflow.prompt.is_prompt": "true"})
        room.add("dummy-source", "prompt", tags={"mlflow.prompt.is_prompt": "true"})

        def found(where: str = "", *order: str) -> list[tuple[str, int]]:
            return [(one.name, one.version) for one in room.catalogue.search_versions(where, order)]

        assert [("a", 2), ("b", 1), ("a", 1)] == found()
        assert [("a", 2), ("a", 1)] == found("name = 'a'", "version_number DESC") == found("name='a'", "name")
        assert (
            [("a", 1)]
            == found("run_id IN ('r1', 'r3')")
            == found("tags.x = '1'")
            == found("version_number < 2", "name")[:1]
        )
        assert [("a", 2)] == found("source_path = 's3://bucket/other'")
        assert [("prompt", 1)] == found("tag.`mlflow.prompt.is_prompt` = 'true'")


def test_versions_are_found_by_what_stands_in_them(room: Room) -> None:
    """Any text of their documents, with no sign in it that means another."""
    room.register(ONE)
    room.add("s3://bucket/100%_sure/x")

    with room.book.read() as reader:
        found = {
            text: [one.version for one in VERSIONS.mentioning(reader, text)] for text in (RUN, "100%_sure", "1%sure")
        }
    assert {RUN: [1], "100%_sure": [2], "1%sure": []} == found
