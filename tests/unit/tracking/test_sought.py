"""Finding traces and models in the database: the answer is that of somebody who reads each of them, on every database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.patterns import Pattern
from stellwerk.core.search import Clause, parse_filter
from stellwerk.ledger import migrations, searches
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.models.adapters.finder import SqlModels
from stellwerk.models.catalogue import Catalogue
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.search import MODELS as MODELS_GRAMMAR
from stellwerk.models.search import VERSIONS as VERSIONS_GRAMMAR
from stellwerk.models.shelves import MODELS, VERSIONS
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking.adapters.counts import SqlCounts
from stellwerk.tracking.adapters.evaluations import SqlEvaluations
from stellwerk.tracking.adapters.logged import SqlLogged
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.adapters.traces import SqlTraces
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.evaluations import Evaluations
from stellwerk.tracking.logged import Criterion, LoggedModels
from stellwerk.tracking.model import Score
from stellwerk.tracking.sought import GRAMMAR
from stellwerk.tracking.traced import ASSESSMENTS, STATES, Assessment, Found, Trace
from stellwerk.tracking.traces import Traces

KEYS = ("a", "b.c", "mlflow.sourceRun", "k" * 900)
TEXTS = ("", "x", "X", "x%", "x_y", "é", "[x]", "\\", "'", "y" * 64, "y" * 65, "y" * 64 + "z")
WORDS = st.sampled_from(TEXTS)
VALUES = st.sampled_from(['"x"', '"Y"', "1", "1.5", "true", "null", '{"a": 1}', '"1"', "NaN", "-3"])
PAIRS = st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=3)
TRACES = st.fixed_dictionaries(
    {
        "experiment": st.sampled_from(["0", "0", "7"]),
        "at": st.integers(0, 3),
        "duration": st.none() | st.integers(0, 3),
        "state": st.sampled_from(list(STATES)),
        "client_id": st.none() | WORDS,
        "tags": PAIRS,
        "metadata": PAIRS,
    }
)
JUDGED = st.fixed_dictionaries(
    {"of": st.integers(0, 4), "name": st.sampled_from(["good", "n" * 400]), "value": VALUES, "valid": st.booleans(),
     "kind": st.sampled_from(["feedback", "expectation", "issue"])}
)  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """A condition about a trace that can be asked."""
    part = draw(st.sampled_from(["tag", "metadata", "feedback", "expectation", "issue", "text", "number", "listed"]))
    text = draw(st.sampled_from([*TEXTS, "%", "_", "%x%", "x\\%", "y%z"]))
    match part:
        case "issue":
            return f"issue.id = {quoted(draw(st.sampled_from(['good', 'n' * 400, 'other'])))}"
        case "number":
            name = draw(st.sampled_from(["timestamp_ms", "execution_time_ms", "end_time_ms"]))
            sign = draw(st.sampled_from(["=", "!=", ">", ">=", "<", "<="]))
            return f"{name} {sign} {draw(st.sampled_from([0, 1.5, 3]))}"
        case "listed":
            name = draw(st.sampled_from(["name", "client_request_id", "run_id", "status"]))
            some = draw(st.lists(st.sampled_from([*TEXTS, "OK", "ERROR"]), min_size=1, max_size=3))
            return f"{name} {draw(st.sampled_from(['IN', 'NOT IN']))} ({', '.join(map(quoted, some))})"
        case "text":
            subject = draw(st.sampled_from(["name", "client_request_id", "run_id", "status"]))
        case "feedback" | "expectation":
            subject = f"{part}.`{draw(st.sampled_from(['good', 'n' * 400]))}`"
            if draw(st.booleans()):
                sign = draw(st.sampled_from(["=", "!=", ">", ">=", "<", "<="]))
                return f"{subject} {sign} {draw(st.sampled_from([1, 1.5, -3]))}"
            text = draw(st.sampled_from(["x", "true", "1", "%1%", "null", '{"a": 1}']))
        case _:
            subject = f"{part}.`{draw(st.sampled_from(KEYS))}`"
    if draw(st.integers(0, 4)) == 0 and subject != "status":
        return f"{subject} IS {draw(st.sampled_from(['NULL', 'NOT NULL']))}"
    sign = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE", "RLIKE"]))
    return f"{subject} {sign} {quoted(draw(st.sampled_from(['x', '^y+$', '']))) if sign == 'RLIKE' else quoted(text)}"


def meets(found: Found, clause: Clause) -> bool:
    """The meaning of a condition, written down a second time."""
    subject, trace = clause.subject, found.trace
    valid = [one for one in found.assessments if one.valid]
    if subject.entity == "issue":
        return any(one.kind == "issue" and one.name == clause.value for one in valid)
    if subject.entity in ("feedback", "expectation"):
        there = [json.loads(one.value) for one in valid if (one.kind, one.name) == (subject.entity, subject.key)]
        if clause.comparator in ("IS NULL", "IS NOT NULL"):
            return bool(there) == (clause.comparator == "IS NOT NULL")
        return any(judged(value, clause) for value in there)
    if subject.entity in ("tag", "metadata"):
        return compares((trace.tags if subject.entity == "tag" else trace.metadata).get(subject.key), clause)
    own = {
        "name": trace.tags.get("mlflow.traceName"), "client_request_id": trace.client_id, "timestamp_ms": trace.at,
        "run_id": trace.metadata.get("mlflow.sourceRun"), "status": STATES[trace.state],
        "execution_time_ms": trace.duration, "end_time_ms": trace.at + (trace.duration or 0),
    }  # fmt: skip
    return compares(own[subject.key], clause)


def judged(value: Any, clause: Clause) -> bool:
    if isinstance(clause.value, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return compares(float(value), clause) if number else clause.comparator == "!="
    return compares(value if isinstance(value, str) else json.dumps(value), clause)


def compares(value: Any, clause: Clause) -> bool:
    wanted: Any = clause.value
    if clause.comparator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (clause.comparator == "IS NULL")
    if value is None:
        return False
    if clause.comparator in ("LIKE", "ILIKE"):
        parts = [{"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in wanted]
        caseless = re.IGNORECASE | re.ASCII if clause.comparator == "ILIKE" else 0
        return re.fullmatch("".join(parts), value, re.DOTALL | caseless) is not None
    if clause.comparator == "RLIKE":
        return Pattern(wanted).found_in(value)
    if clause.comparator in ("IN", "NOT IN"):
        return (value in wanted) == (clause.comparator == "IN")
    return bool({
        "=": lambda: value == wanted, "!=": lambda: value != wanted, ">": lambda: value > wanted,
        ">=": lambda: value >= wanted, "<": lambda: value < wanted, "<=": lambda: value <= wanted,
    }[clause.comparator]())  # fmt: skip


def desk(database: Database, clock: StandingClock) -> tuple[WorkspaceBook, Traces]:
    """A workspace of its own for each example."""
    clock.advance(timedelta(seconds=1))
    book = WorkspaceBook(database, f"example{int(clock.now().timestamp())}", "anna")
    return book, Traces(book, clock, Collector(book, MemoryBlobs(), SqlCounts()), SqlTraces())


def keep(book: WorkspaceBook, traces: list[dict[str, Any]], said: list[dict[str, Any]]) -> list[Found]:
    """Put traces and assessments where they are kept, in any state that they can come to."""
    from stellwerk.tracking import traced

    made = [Trace(id=f"tr-{number}", **facts) for number, facts in enumerate(traces)]
    judgements = [
        Assessment(
            trace=f"tr-{one['of']}", id=f"a-{number}", name=one["name"], kind=one["kind"], value=one["value"],
            valid=one["valid"], created=0, changed=0,
        )
        for number, one in enumerate(said)
        if one["of"] < len(traces)
    ]  # fmt: skip
    with book.write() as tx:
        for trace in made:
            traced.TRACES.put(tx, trace)
        for judgement in judgements:
            ASSESSMENTS.put(tx, judgement)
        tx.record("thing.made", "thing:1")
    return [Found(trace=one, assessments=[j for j in judgements if j.trace == one.id]) for one in made]


@pytest.fixture(params=[1, 2000], ids=["as of many", "as of few"])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are looked up at once: both ways find the same."""
    monkeypatch.setattr(searches, "MANY", request.param)


SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.usefixtures("many")
@SETTINGS
@given(
    traces=st.lists(TRACES, max_size=5), said=st.lists(JUDGED, max_size=4), asked=st.lists(conditions(), max_size=3)
)
def test_traces_are_found_as_by_a_reader(
    database: Database,
    clock: StandingClock,
    traces: list[dict[str, Any]],
    said: list[dict[str, Any]],
    asked: list[str],
) -> None:
    """Whatever is asked of whatever there is."""
    book, room = desk(database, clock)
    known = keep(book, traces, said)
    where = " AND ".join(asked)

    clauses = parse_filter(where, GRAMMAR)
    expected = [
        one.trace.id
        for one in sorted(known, key=lambda one: (-one.trace.at, one.trace.id))
        if one.trace.experiment == "0" and all(meets(one, clause) for clause in clauses)
    ]

    assert expected == [one.trace.id for one in room.search(["0"], where=where)]


def every_condition() -> list[str]:
    """Each comparison with each value, of which some begin alike and some are of another kind than what is compared."""
    texts = [
        f"{subject} {sign} {quoted(text)}"
        for subject in ("tag.a", "client_request_id")
        for sign in ("=", "!=", "LIKE", "ILIKE")
        for text in (*TEXTS, "y%z", "%X%", "_")
    ]
    listed = [
        f"client_request_id {sign} ({quoted(one)}, {quoted(other)})"
        for sign in ("IN", "NOT IN")
        for one in TEXTS
        for other in TEXTS[-2:]
    ]
    numbers = [
        f"{subject} {sign} {number}"
        for sign in ("=", "!=", ">", ">=", "<", "<=")
        for number in (-3, 1, 1.5, 2)
        for subject in ("feedback.good", "execution_time_ms")
    ]
    judged_ = [
        f"feedback.good {sign} {quoted(text)}" for sign in ("=", "!=", "ILIKE") for text in ("x", "1", "true", "%")
    ]
    return [*texts, *listed, *numbers, *judged_]  # fmt: skip


@pytest.mark.usefixtures("many")
def test_every_comparison_is_that_of_a_reader(database: Database, clock: StandingClock) -> None:
    """Of a trace for each text, of a trace for each judgement, and of one that has nothing."""
    book, room = desk(database, clock)
    values = ('"x"', '"Y"', "1", "1.5", "true", "null", '{"a": 1}', '"1"', "NaN", "-3")
    traces = [{"experiment": "0", "at": 1, "tags": {"a": text}, "client_id": text, "duration": n}
              for n, text in enumerate(TEXTS)]  # fmt: skip
    said = [
        {"of": number, "name": "good", "kind": "feedback", "value": value, "valid": True}
        for number, value in enumerate(values)
    ]
    known = keep(book, [*traces, {"experiment": "0", "at": 2}], said)

    wrong = []
    for where in every_condition():
        (clause,) = parse_filter(where, GRAMMAR)
        expected = {one.trace.id for one in known if meets(one, clause)}
        if expected != {one.trace.id for one in room.search(["0"], where=where)}:
            wrong.append(where)

    assert [] == wrong


ORDERS = ("timestamp_ms", "execution_time_ms", "end_time_ms", "tag.a", "metadata.`b.c`", "status", "request_id")


@pytest.mark.usefixtures("many")
@SETTINGS
@given(
    traces=st.lists(TRACES, max_size=8), by=st.sampled_from(ORDERS), down=st.booleans(), limit=st.integers(1, 4),
    offset=st.integers(0, 3), homes=st.sampled_from([["0"], ["0", "7"]]),
)  # fmt: skip
def test_traces_are_ordered_as_by_a_reader(
    database: Database, clock: StandingClock, traces: list[dict[str, Any]], by: str, down: bool, limit: int,
    offset: int, homes: list[str],
) -> None:  # fmt: skip
    """What is missing comes last in both directions, and equals newest first; pages cut one order."""
    book, room = desk(database, clock)
    known = [one.trace for one in keep(book, traces, []) if one.trace.experiment in homes]
    read: Callable[[Trace], Any] = {
        "timestamp_ms": lambda one: one.at, "execution_time_ms": lambda one: one.duration,
        "end_time_ms": lambda one: one.at + (one.duration or 0), "tag.a": lambda one: one.tags.get("a"),
        "metadata.`b.c`": lambda one: one.metadata.get("b.c"), "status": lambda one: STATES[one.state],
        "request_id": lambda one: one.id,
    }[by]  # fmt: skip

    known.sort(key=lambda one: (-one.at, one.id))
    there = sorted((one for one in known if read(one) is not None), key=read, reverse=down)
    expected = [*there, *(one for one in known if read(one) is None)]

    page = room.search(homes, order=[f"{by} {'DESC' if down else 'ASC'}"], limit=limit, offset=offset)
    assert [one.id for one in expected[offset : offset + limit]] == [one.trace.id for one in page]


MADE = st.fixed_dictionaries({"tags": st.dictionaries(st.sampled_from(["a", "b"]), WORDS, max_size=2),
                              "at": st.integers(0, 2), "run_id": st.sampled_from(["", "r1", "r2"])})  # fmt: skip


@pytest.mark.usefixtures("many")
@SETTINGS
@given(
    made=st.lists(st.tuples(st.sampled_from("mno"), MADE), max_size=7),
    where=st.sampled_from(
        ["", "tags.a = 'x'", "tags.a != 'x'", "tags.b IS NULL", "name LIKE 'm%'", "name IN ('m', 'o')"]
    ),
    order=st.sampled_from(["", "name DESC", "creation_timestamp ASC", "last_updated_timestamp DESC"]),
    prompts=st.sets(st.sampled_from("mno"), max_size=2),
)
def test_models_and_versions_are_found_as_by_a_reader(
    database: Database, clock: StandingClock, made: list[tuple[str, dict[str, Any]]], where: str, order: str,
    prompts: set[str],
) -> None:  # fmt: skip
    """Prompts are hidden, whether they say so themselves or a version does."""
    book, _ = desk(database, clock)
    now, numbers, known = clock.now(), dict[str, int](), list[ModelVersion]()
    for name, facts in made:
        numbers[name] = numbers.get(name, 0) + 1
        at = now + timedelta(milliseconds=facts["at"])
        known.append(
            ModelVersion(
                workspace=book.workspace, name=name, version=numbers[name], digest=None, signature=None, format="",
                run_id=facts["run_id"], seed=None, created_at=at, tags=facts["tags"],
            )
        )  # fmt: skip
    models = [
        RegisteredModel(
            workspace=book.workspace, name=name, created_at=now + timedelta(milliseconds=len(name)), changed_at=now,
            tags={"a": "x", **({"mlflow.prompt.is_prompt": "True"} if name in prompts else {})}, last=last,
        )
        for name, last in numbers.items()
    ]  # fmt: skip
    with book.write() as tx:
        for version in known:
            VERSIONS.put(tx, version)
        for model in models:
            MODELS.put(tx, model)
        tx.record("thing.made", "thing:1")
    room = Catalogue(book, clock, SqlModels())

    def wanted(thing: ModelVersion | RegisteredModel) -> bool:
        clauses = parse_filter(where, MODELS_GRAMMAR)
        return thing.name not in prompts and all(
            compares(thing.name if one.subject.entity == "attribute" else thing.tags.get(one.subject.key), one)
            for one in clauses
        )

    def arranged(things: list[Any], usual: Callable[[Any], Any]) -> list[Any]:
        things = sorted(filter(wanted, things), key=usual)
        field, _, direction = order.partition(" ")
        read = {"name": lambda one: one.name, "creation_timestamp": lambda one: one.created_at,
                "last_updated_timestamp": lambda one: one.changed_at or one.created_at}.get(field)  # fmt: skip
        return sorted(things, key=read, reverse=direction == "DESC") if read else things

    criteria = [order] if order else []
    assert arranged(models, lambda one: one.name) == [page.model for page in room.search_models(where, criteria)]
    usual = arranged(known, lambda one: (one.name, -one.version))
    if not order:
        usual.sort(key=lambda one: one.created_at, reverse=True)
    assert usual == room.search_versions(where, criteria)
    for page in room.search_models(where):
        own = [one for one in known if one.name == page.model.name]
        assert (len(own), tuple(own[-1:])) == (page.versions, page.latest)


def plans(database: Database, ask: Callable[[Any], object]) -> str:
    """How the database answers the last question of a search."""
    statements: list[Any] = []

    class Watching:
        workspace = "default"

        def execute(self, statement: Any, parameters: Any = None) -> Any:
            statements.append(statement)
            with database.read("default") as reader:
                return reader.execute(statement, parameters)

    ask(Watching())
    with database.snapshot() as session:
        dialect = session.connection.dialect
        text = statements[-1].compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if dialect.name == "sqlite" else "EXPLAIN"
        rows = session.connection.execute(sa.text(f"{explain} {str(text).replace(':', chr(92) + ':')}")).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("", "traces_by_experiment_and_at_and_id"),
        ("timestamp_ms > 100", "traces_by_experiment_and_at_and_id"),
        ("tags.rare = '7'", "trace_values_by_head"),
        ("execution_time_ms > 298", "trace_values_by_number"),
        ("feedback.rare = 'yes'", "assessment_values_by_head"),
    ],
)
def test_conditions_look_into_an_index(database: Database, clock: StandingClock, where: str, index: str) -> None:
    """Among many traces none reads all of them."""
    book = WorkspaceBook(database, "default", "anna")
    traces = [
        {"experiment": "0", "at": number, "duration": number, "tags": {"rare": str(number), "kind": "web"}}
        for number in range(300)
    ]
    said = [{"of": 3, "name": "rare", "kind": "feedback", "value": '"yes"', "valid": True}]
    said += [
        {"of": number % 300, "name": f"usual {number % 9}", "kind": "feedback", "value": '"yes"', "valid": True}
        for number in range(2000)
    ]
    keep(book, traces, said)
    with database.write("default", "anna") as tx:
        tx.execute(sa.text("ANALYZE"))
        tx.record("thing.made", "thing:2")

    plan = plans(
        database,
        lambda reader: SqlTraces().find(
            reader, ["0"], where=parse_filter(where, GRAMMAR), order=(), limit=10, offset=0
        ),
    )

    assert index in plan, plan
    assert "trace_values USING PRIMARY KEY (workspace=?)" not in plan


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("run_id = 'r7'", "version_values_by_head"),
        ("tags.number = '7'", "version_values_by_head"),
        ("name = 'model 7'", "model_versions"),
    ],
)
def test_versions_are_looked_up(database: Database, where: str, index: str) -> None:
    """Neither all versions are read nor all that is said of them."""
    book = WorkspaceBook(database, "default", "anna")
    with book.write() as tx:
        for number in range(600):
            VERSIONS.put(
                tx,
                ModelVersion(
                    workspace="default", name=f"model {number}", version=1, digest=None, signature=None, format="",
                    run_id=f"r{number}", seed=None, created_at=StandingClock().now(), tags={"number": str(number)},
                ),
            )  # fmt: skip
        tx.execute(sa.text("ANALYZE"))
        tx.record("thing.made", "thing:1")

    plan = plans(
        database,
        lambda reader: SqlModels().versions(
            reader, where=parse_filter(where, VERSIONS_GRAMMAR), order=(), prompts=False, limit=10, offset=0
        ),
    )

    assert index in plan, plan
    for whole_table in ("SCAN model_versions", "Seq Scan on model_versions", "Seq Scan on version_values"):
        assert whole_table not in plan
    assert "version_values USING PRIMARY KEY (workspace=?)" not in plan


@pytest.fixture
def whole(database: Database, clock: StandingClock) -> WorkspaceBook:
    """A workspace with some of everything that is sought."""
    book = WorkspaceBook(database, "default", "anna")
    odd = {"a": "x" * 70, "é": "nul \x00", "k" * 250: "\U0001f600" * 64, "mlflow.traceName": "n"}
    keep(
        book,
        [{"experiment": "0", "at": 1, "duration": 2, "tags": odd, "client_id": "c",
          "metadata": {"mlflow.sourceRun": "r", "\U0001f600" * 250: "y"}, "state": "ok"},
         {"experiment": "0", "at": 2, "tags": {"mlflow.linkedPrompts": '[{"name": "p", "version": "1"}]'}}],
        [{"of": 0, "name": name, "kind": kind, "value": value, "valid": valid} for name, kind, value, valid in (
            ("n" * 500, "feedback", "1e400", True), ("b", "expectation", '{"é": [1]}', True), ("i", "issue", '"t"', True),
            ("c", "feedback", "true", False), ("d", "feedback", "NaN", True), ("e", "feedback", "1" + "0" * 400, True))],
    )  # fmt: skip
    catalogue = Catalogue(book, clock, SqlModels())
    catalogue.create("delay", tags={"team": "a"})
    catalogue.add("delay", "s3://bucket/model", tags={"b": "c"})
    models = LoggedModels(book, clock, SqlLogged())
    models.delete(models.create(experiment="0", name="m", params=[("p", "q")]).id)
    models.create(experiment="0", name="n", model_type="t", source_run="r", tags=[("t", "u")])
    sets = Evaluations(book, clock, SqlEvaluations())
    sets.create("set", tags={"k": "v"}, of=["0"])
    return book


TABLES = (
    "trace_values",
    "assessment_values",
    "registered_values",
    "version_values",
    "logged_values",
    "evaluation_values",
)


def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    with database.snapshot() as session:
        return {
            table: sorted(map(repr, session.run(f"SELECT * FROM {table}").fetchall()))  # type: ignore[misc]
            for table in TABLES
        }


def test_an_older_workspace_is_found_alike(database: Database, whole: WorkspaceBook) -> None:
    """What the migration makes of documents is what writing them makes, for every kind, odd texts and numbers too."""
    before = rows_of(database)
    assert all(before.values())
    with database._change() as change:
        for table in TABLES:
            change.session.run(f"DROP TABLE {table}")
        for index in ("traces_by_experiment_and_at_and_id", "logged_models_by_experiment_and_created_at_and_id"):
            change.session.run(f"DROP INDEX {index}")
        change.session.run("UPDATE meta SET value = '4' WHERE key = 'schema'")

    done = database.migrate()

    assert ("4", migrations.CURRENT) == (done.before, done.after)
    assert before == rows_of(database)


def test_what_goes_is_found_no_more(database: Database, whole: WorkspaceBook) -> None:
    """Nothing is left of what was said of a thing that is gone."""
    from stellwerk.tracking import traced

    with whole.write() as tx:
        for shelf in (traced.TRACES, ASSESSMENTS, MODELS, VERSIONS):
            shelf.remove_all(tx)
        tx.record("thing.gone", "thing:1")

    left = rows_of(database)
    assert [] == [row for table in TABLES[:4] for row in left[table]]


def test_logged_models_are_ordered_by_what_was_measured(database: Database, clock: StandingClock) -> None:
    """By the newest value; models without one are last, and the newest of them first."""
    book = WorkspaceBook(database, "default", "anna")
    models = LoggedModels(book, clock, SqlLogged())
    made = []
    for number, value in enumerate((0.5, float("inf"), None, float("-inf"), None)):
        clock.advance(timedelta(seconds=1))
        made.append(models.create(experiment="0", name=str(number)))
        if value is not None:
            with book.write() as tx:
                SqlPoints().score(tx, [Score(made[-1].id, "r", "auc", value, 1, 0)])

    assert ["3", "0", "1", "4", "2"] == [
        one.name for one in models.search(among=["0"], order=[Criterion("metrics.auc")])
    ]
    assert ["1"] == [one.name for one in models.search(among=["0"], where="metrics.auc > 1e300")]
