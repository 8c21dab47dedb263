"""Finding runs by what they logged: the answer of SQL is that of somebody who reads every run, on both databases."""

from __future__ import annotations

import itertools
import math
import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import StellwerkError
from stellwerk.core.search import Clause, Subject, parse_filter
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking.adapters import finding
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.model import Point, Run
from stellwerk.tracking.rules import INDEXED
from stellwerk.tracking.service import Runs

LIMIT = 10_000


@pytest.fixture
def runs(database: Database, clock: StandingClock) -> Runs:
    return of(database, clock)


def of(database: Database, clock: StandingClock, workspace: str = "default") -> Runs:
    return Runs(WorkspaceBook(database, workspace, "anna"), clock, SqlFinder(), SqlPoints())


def log(runs: Runs, clock: StandingClock, name: str = "fit", **facts: Any) -> Run:
    clock.advance(timedelta(seconds=1))
    return runs.record(experiment="delay", name=name, kind="train", started_at=clock.now(), **facts)


def names(runs: Runs, where: str, *order: str, **further: Any) -> list[str]:
    return [run.name for run in runs.search(where=where, order=order, **further)]


@pytest.fixture
def three(runs: Runs, clock: StandingClock) -> Runs:
    log(
        runs,
        clock,
        "one",
        metrics={"auc": 0.7, "loss": 3.0},
        params={"depth": 6, "note": "100% [sic]"},
        tags={"team": "Risk", "fruit": "ÄPFEL"},
    )
    log(
        runs,
        clock,
        "two",
        metrics={"auc": 0.9},
        params={"depth": 10, "note": "a_b*c?"},
        tags={"team": "risk", "o'hara": "x"},
    )
    log(runs, clock, "three", metrics={"loss": 1.0}, params={"long": "x" * 6000}, tags={})
    return runs


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", "three two one"),
        ("metrics.auc > 0.7", "two"),
        ("metrics.auc >= 0.7", "two one"),
        ("metrics.auc != 0.7", "two"),
        ("metrics.auc IS NULL", "three"),
        ("metrics.auc IS NOT NULL AND metrics.loss < 10", "one"),
        ("params.depth = '6'", "one"),
        ("params.depth != '6'", "two"),
        ("params.note LIKE '100% [%'", "one"),
        ("params.note LIKE '%b*c?'", "two"),
        ("params.note LIKE '%B*C?'", ""),
        ("params.note ILIKE '%B*C?'", "two"),
        ("params.note LIKE 'a\\_b%'", ""),
        ("params.note LIKE '[a]%'", ""),
        ("params.note LIKE '_______'", ""),
        ("params.note LIKE '______'", "two"),
        (f"params.long = '{'x' * 6000}'", "three"),
        (f"params.long = '{'x' * 5999}'", ""),
        ("tags.team = 'risk'", "two"),
        ("tags.team ILIKE 'RISK'", "two one"),
        ("tags.\"o'hara\" = 'x'", "two"),
        ("tags.`' OR 1=1 --` IS NULL", "three two one"),
        ("tags.fruit ILIKE 'ÄPFEL'", "one"),
        ("tags.fruit ILIKE 'Äpf%'", "one"),
        ("run_name IN ('one', 'three')", "three one"),
        ("run_name NOT IN ('one', 'three')", "two"),
        ("run_name LIKE 't%'", "three two"),
        ("status = 'FINISHED' AND user_id = 'anna' AND kind = 'train'", "three two one"),
        ("status != 'finished'", ""),
        ("experiment = 'delay' AND parent IS NULL", "three two one"),
        ("end_time IS NULL", ""),
        ("start_time > 0 AND end_time >= 1", "three two one"),
    ],
)
def test_conditions(three: Runs, where: str, found: str) -> None:
    """Each kind of condition, with texts that some database takes for something else."""
    assert found.split() == names(three, where)


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (("metrics.auc",), "one two three"),
        (("metrics.auc DESC",), "two one three"),
        (("metrics.loss",), "three one two"),
        (("metrics.loss DESC",), "one three two"),
        (("params.depth",), "two one three"),
        (("run_name",), "one three two"),
        (("status", "start_time"), "one two three"),
        (("tags.nobody",), "three two one"),
    ],
)
def test_order(three: Runs, order: tuple[str, ...], found: str) -> None:
    """What is missing comes last in both directions; equals are newest first."""
    assert found.split() == names(three, "", *order)


def test_what_a_run_can_keep_can_be_entered(runs: Runs, clock: StandingClock) -> None:
    """Values that JSON does not know, names that no database takes or that would burst an index."""
    odd = {
        "day": [date(2013, 4, 1)],
        "mixed": {1: 2, "a": 3},
        "pair": (1, 2),
        "a\0b": "nul",
        "\U0001f600" * 500: "long",
    }
    run = runs.start(experiment="delay", name="odd", kind="train", params={**odd, "k" * 500: "\U0001f600" * 300})
    before = names(runs, "params.pair = '[1, 2]' AND params.day = '[\"2013-04-01\"]' AND params.mixed IS NOT NULL")

    runs.finish(run.id)

    assert ["odd"] == before == names(runs, "params.pair = '[1, 2]' AND params.day LIKE '%2013%'")
    assert ["odd"] == names(runs, f"params.{'k' * 500} LIKE '\U0001f600%'")


def test_pages_do_not_overlap(three: Runs) -> None:
    """Limit and offset cut one order into pages."""
    pages = [names(three, "", "metrics.auc", limit=2, offset=start) for start in (0, 2, 4)]

    assert [["one", "two"], ["three"], []] == pages


def test_a_run_is_found_by_what_it_has_now(runs: Runs, clock: StandingClock) -> None:
    """What a run ends with is found, and that it has ended."""
    run = runs.start(experiment="delay", name="fit", kind="train", params={"depth": 3})
    assert ["fit"] == names(runs, "status = 'running' AND params.depth = '3' AND end_time IS NULL")

    clock.advance(timedelta(minutes=1))
    runs.finish(run.id, metrics={"auc": 0.5})

    assert [] == names(runs, "status = 'running'")
    assert ["fit"] == names(runs, "status = 'finished' AND metrics.auc = 0.5 AND params.depth = '3'")
    assert ["fit"] == names(runs, "end_time IS NOT NULL")


def test_other_workspaces_are_not_seen(database: Database, clock: StandingClock) -> None:
    """Neither by conditions nor by their absence."""
    log(of(database, clock), clock, "ours", metrics={"auc": 0.5})
    log(of(database, clock, "theirs"), clock, "theirs", metrics={"auc": 0.6})

    for where in ("", "metrics.auc > 0", "metrics.auc IS NOT NULL", "metrics.loss IS NULL", "kind = 'train'"):
        assert ["ours"] == names(of(database, clock), where, "metrics.auc DESC")


def test_a_wrong_filter_is_refused_before_anything_is_read(runs: Runs) -> None:
    """With the error of the language."""
    with pytest.raises(StellwerkError) as caught:
        runs.search(where="metrics.auc >")

    assert "invalid-filter" == caught.value.code


KEYS = ("a", "b.c", "d e")
TEXTS = ("", "x", "X", "x%", "x_y", "é", "[x]", "\\", "'")
FACTS = st.fixed_dictionaries(
    {
        "metrics": st.dictionaries(
            st.sampled_from(KEYS), st.sampled_from([-1e300, -1.0, 0.0, 0.5, 1e300]), max_size=3
        ),
        "params": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS), max_size=3),
        "tags": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS), max_size=3),
    }
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """A condition that can be asked."""
    key = draw(st.sampled_from(KEYS))
    entity = draw(st.sampled_from(["metrics", "params", "tags"]))
    if draw(st.booleans()):
        return f"{entity}.`{key}` IS {draw(st.sampled_from(['NULL', 'NOT NULL']))}"
    if entity == "metrics":
        sign = draw(st.sampled_from(["=", "!=", ">", ">=", "<", "<="]))
        return f"metrics.`{key}` {sign} {draw(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1e300]))!r}"
    text = draw(st.sampled_from([*TEXTS, "%", "_", "%x%", "x\\%"])).replace("'", "''")
    return f"{entity}.`{key}` {draw(st.sampled_from(['=', '!=', 'LIKE', 'ILIKE']))} '{text}'"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(facts=st.lists(FACTS, max_size=5), asked=st.lists(conditions(), max_size=3))
def test_sql_finds_what_a_reader_finds(
    database: Database, clock: StandingClock, facts: list[dict[str, Any]], asked: list[str]
) -> None:
    """A workspace of its own for each example; the order is that of age."""
    clock.advance(timedelta(seconds=1))
    workspace = f"example{int(clock.now().timestamp())}"
    runs = of(database, clock, workspace)
    for number, one in enumerate(facts):
        log(runs, clock, f"run{number}", **one)
    where = " AND ".join(asked)

    expected = [run.name for run in runs.search(limit=LIMIT) if all(meets(run, one) for one in parse_filter(where))]

    assert expected == names(runs, where, limit=LIMIT)


def meets(run: Run, clause: Clause) -> bool:
    """The meaning of a condition, written down a second time."""
    shelf: dict[str, Any] = {"metric": run.metrics, "param": run.params, "tag": run.tags}[clause.subject.entity]
    value = shelf.get(clause.subject.key)
    if clause.comparator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (clause.comparator == "IS NULL")
    if value is None:
        return False
    if clause.comparator in ("LIKE", "ILIKE"):
        parts = [{"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in str(clause.value)]
        caseless = re.IGNORECASE if clause.comparator == "ILIKE" else 0
        return re.fullmatch("".join(parts), value, re.DOTALL | caseless) is not None
    wanted: Any = clause.value
    return {
        "=": value == wanted, "!=": value != wanted, ">": value > wanted, ">=": value >= wanted,
        "<": value < wanted, "<=": value <= wanted,
    }[clause.comparator]  # fmt: skip


def test_numbers_that_no_database_keeps_alike(database: Database, clock: StandingClock) -> None:
    """Infinity is the largest number there is; what is no number is found by nothing but its presence, and comes last."""
    runs = of(database, clock)
    made = {name: log(runs, clock, name) for name in ("nan", "infinite", "less", "plain")}
    numbers = {"nan": math.nan, "infinite": math.inf, "less": -math.inf, "plain": 1.0}
    with WorkspaceBook(database, "default", "anna").write() as tx:
        for name, run in made.items():
            SqlPoints().add(tx, run.id, [Point("m", numbers[name], at=0)])

    assert ["infinite"] == names(runs, "metrics.m > 1e300")
    assert ["less"] == names(runs, "metrics.m < -1e300")
    assert ["plain", "less", "infinite", "nan"] == names(runs, "metrics.m IS NOT NULL")
    assert ["infinite", "plain", "less", "nan"] == names(runs, "", "metrics.m DESC")


def test_conditions_look_into_an_index(database: Database, clock: StandingClock) -> None:
    """Among many runs no condition reads all values."""
    import sqlalchemy as sa

    runs = of(database, clock)
    for number in range(300):
        log(runs, clock, f"r{number}", metrics={"auc": number / 300, "loss": 1.0}, params={"depth": str(number)})
    with database.write("default", "anna") as tx:
        tx.execute(sa.text("ANALYZE"))
        tx.record("thing.made", "thing:1")
    for entity, key, comparator, value, index in (
        ("metric", "auc", ">", 0.99, "run_values_by_number"),
        ("param", "depth", "=", "7", "run_values_by_text"),
    ):
        clause = Clause(Subject(entity, key), comparator, value)  # type: ignore[arg-type]
        plan = _plan(database, clause)
        assert index in plan, plan


@pytest.mark.parametrize("comparator", ["=", "!=", "LIKE", "IS NULL", "IS NOT NULL"])
def test_no_condition_reads_all_values_without_statistics(
    database: Database, clock: StandingClock, comparator: str
) -> None:
    """A database that was never analysed looks up what it needs, too."""
    log(of(database, clock), clock, "r", params={"depth": "7"})

    plan = _plan(database, Clause(Subject("param", "depth"), comparator, "7"))  # type: ignore[arg-type]

    assert "run_values USING PRIMARY KEY (workspace=?)" not in plan


def test_an_order_is_the_same_among_many_and_few(
    database: Database, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the index or by looking at each run; what has no value or no number comes last, and equals newest first."""
    runs = of(database, clock)
    alike = "x" * (INDEXED + 5)
    for number in range(12):
        params: dict[str, Any] = {"few": "ab"[number % 2], "long": alike + "cab"[number % 3]} if number % 5 else {}
        metrics = {"auc": number % 3, "loss": number / 12} if number % 4 else {}
        log(runs, clock, f"r{number}", metrics=metrics, params=params)
    orders = (
        "metrics.auc", "metrics.auc DESC", "start_time", "end_time DESC", "metrics.none", "params.few",
        "params.few DESC", "params.long", "params.long DESC", "run_name", "run_name DESC", "params.none",
    )  # fmt: skip
    filters = (
        "",
        "metrics.loss > 0.2",
        "metrics.loss > 0.8",
        "params.few = 'a'",
        "params.few != 'a'",
        "run_name LIKE 'r1%'",
    )
    answers: dict[int, list[list[str]]] = {1: [], 3: [], 1000: []}
    for many, found in answers.items():
        monkeypatch.setattr(finding, "MANY", many)
        for order, where in itertools.product(orders, filters):
            for limit, offset in ((3, 0), (4, 5), (20, 0)):
                found.append(
                    [run.name for run in runs.search(where=where, order=[order], limit=limit, offset=offset)]
                )

    assert answers[1000] == answers[1] == answers[3]


def test_pages_of_many_runs_are_those_of_all(
    database: Database, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of runs that began within one millisecond, of which the last page is found in another way than the first."""
    runs = of(database, clock)
    for number in range(7):
        start = clock.now() + timedelta(microseconds=100 * (number * 3 % 7))
        runs.record(experiment="delay", name=f"r{number}", kind="train", started_at=start)
    monkeypatch.setattr(finding, "MANY", 1)

    for order in ("start_time", "start_time DESC"):
        whole = names(runs, "", order)
        pages = [names(runs, "", order, limit=2, offset=start) for start in range(0, 8, 2)]
        assert whole == [name for page in pages for name in page]


def _plan(database: Database, clause: Clause) -> str:
    import sqlalchemy as sa

    statements: list[Any] = []

    class Watching:
        workspace = "default"

        def execute(self, statement: Any, parameters: Any = None) -> Any:
            statements.append(statement)
            return self

        def all(self) -> list[Any]:
            return []

    SqlFinder().find(Watching(), where=[clause], order=[], limit=10, offset=0)
    (statement,) = statements
    with database.snapshot() as session:
        dialect = session.connection.dialect
        text = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if dialect.name == "sqlite" else "EXPLAIN"
        rows = session.connection.execute(sa.text(f"{explain} {str(text).replace(':', chr(92) + ':')}")).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)
