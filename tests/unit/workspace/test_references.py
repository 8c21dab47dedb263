"""Datasets whose rows live elsewhere: in the book, under contracts, in pipelines, over HTTP, and back in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import stellwerk as sw
from stellwerk.core.clock import ReplayClock
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.data.history import made_by
from stellwerk.data.model import DatasetVersion
from stellwerk.data.sources import rules
from stellwerk.data.sources.model import Content, Source
from stellwerk.data.sources.service import pin
from stellwerk.testing import worlds
from stellwerk.workspace import operations as ops
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import read
from stellwerk.workspace.sourcing import Readers, placed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Workspace]:
    with worlds.workspace(tmp_path / "house", replay=True) as found:
        yield found


@pytest.fixture
def months(tmp_path: Path) -> Path:
    """A folder with two files of two rows each."""
    folder = tmp_path / "months"
    folder.mkdir()
    for name, values in (("01", [1, 2]), ("02", [3, 4])):
        pl.DataFrame({"x": values, "y": ["a", "b"]}).write_parquet(folder / f"{name}.parquet")
    return folder


def rooms_of(workspace: Workspace) -> Rooms:
    rooms: Rooms = workspace._caller.rooms  # type: ignore[attr-defined]
    return rooms


def stored(workspace: Workspace) -> int:
    """Bytes of all blobs."""
    blobs = rooms_of(workspace).blobs
    return sum(blobs.size(digest) for digest in blobs)


def test_a_reference_is_a_version_without_copies(house: Workspace, months: Path) -> None:
    """It has rows, columns, parts and a source like any version; the store gains the pin alone; the book says so."""
    before = stored(house)
    made = house.data.refer("flights", f"file:{months}")

    assert ("flights", 1, "reference", 4, 2) == (made.name, made.version, made.kind, made.rows, made.files)
    assert (f"file:{months}", ("x", "y")) == (made.source, tuple(name for name, _ in made.columns))
    assert [1, 2, 3, 4] == house.data.frame("flights")["x"].to_list()
    pin = rooms_of(house).blobs.size(made.digest)
    assert before + pin == stored(house)
    entry = rooms_of(house).book.entries(kinds=["data."])[-1]
    assert ("data.added", "dataset:flights@1", made.digest) == (entry.kind, entry.subject, entry.body["digest"])
    assert made == house.data.get("flights")
    trace = house.trace("flights@1")
    assert ((), (), [made.digest]) == (trace.failed, trace.unproven, [node.digest for node in trace.graph.nodes])
    assert ((), ()) == (house.verify().findings, house.fsck())


def test_the_same_rows_are_the_same_version(house: Workspace, months: Path) -> None:
    """Referring again makes a version only where something changed."""
    first = house.data.refer("flights", f"file:{months}")
    again = house.data.refer("flights", f"file:{months}")
    pl.DataFrame({"x": [5], "y": ["c"]}).write_parquet(months / "03.parquet")
    third = house.data.refer("flights", f"file:{months}")

    assert first == again
    assert (2, 5, first.digest) == (third.version, third.rows, third.parent)
    assert 4 == house.data.frame("flights", 1).height
    assert {"rows_added": 1, "rows_removed": 0} == {
        key: getattr(house.data.diff("flights", 1), key) for key in ("rows_added", "rows_removed")
    }


def test_changed_rows_never_come(house: Workspace, months: Path) -> None:
    """Reading stops with what changed; a comparison lists it; a version of what is there now can be made."""
    house.data.refer("flights", f"file:{months}")
    pl.DataFrame({"x": [9, 9], "y": ["a", "b"]}).write_parquet(months / "02.parquet")

    with pytest.raises(Conflict, match=r"02\.parquet") as caught:
        house.data.frame("flights")
    assert "source-changed" == caught.value.code
    report = house.data.verify("flights")
    assert (2, ["02.parquet"]) == (report.parts, [change.part for change in report.changes])
    assert [1, 2, 9, 9] == house.data.frame("flights", house.data.refer("flights", f"file:{months}").version)[
        "x"
    ].to_list()


def test_contracts_hold_for_references(house: Workspace, months: Path) -> None:
    """The first one drafts a contract; rows that break a confirmed one are refused, and nothing is added."""
    house.data.refer("flights", f"file:{months}")
    drafted = house.data.contract("flights")
    assert drafted is not None
    assert "draft" == drafted.status
    house.data.confirm("flights", {"x": {"maximum": 4}})
    pl.DataFrame({"x": [1000], "y": ["a"]}).write_parquet(months / "03.parquet")

    with pytest.raises(Refused) as caught:
        house.data.refer("flights", f"file:{months}")
    assert "contract-broken" == caught.value.code
    assert 1 == house.data.get("flights").version


def test_a_copy_needs_the_source_no_more(house: Workspace, months: Path) -> None:
    """The next version holds the rows, part by part, and descends from the reference; without proof nothing is copied."""
    reference = house.data.refer("flights", f"file:{months}")
    rows = house.data.frame("flights")
    copied = house.data.copy("flights")
    for file in months.iterdir():
        file.unlink()

    assert ("table", 2, 4, reference.digest, 2) == (
        copied.kind, copied.version, copied.rows, copied.parent, len(copied.partitions)
    )  # fmt: skip
    assert_frame_equal(rows, house.data.frame("flights"))
    with pytest.raises(NotFound) as caught:
        house.data.frame("flights", 1)
    assert "source-gone" == caught.value.code
    trace = house.trace("flights@2")
    assert ((), ()) == (trace.failed, trace.unproven)
    assert {reference.digest, copied.digest} <= {node.digest for node in trace.graph.nodes}
    with pytest.raises(Invalid) as caught_too:
        house.data.copy("flights")
    assert "not-a-reference" == caught_too.value.code
    assert () == house.fsck()


def test_rows_elsewhere_have_no_files_here(house: Workspace, months: Path, tmp_path: Path) -> None:
    """Commands about files say so, with what to do instead; the rows can be written as one file."""
    house.data.refer("flights", f"file:{months}")
    asked: list[Callable[[], object]] = [
        lambda: list(house.data.files("flights")),
        lambda: house.data.folder("flights"),
        lambda: house.data.fetch("flights", "01.parquet", tmp_path / "out"),
        lambda: house.data.checkout_version("flights", tmp_path / "out"),
        lambda: house.data.changes("flights@1", "flights@1"),
        lambda: house.data.open("flights", "01.parquet"),
    ]
    for act in asked:
        with pytest.raises(Invalid) as caught:
            act()
        assert "is-reference" == caught.value.code
    assert not (tmp_path / "out").exists()
    with pytest.raises(Invalid) as caught:
        house.data.export("flights", tmp_path / "out")
    assert "unknown-format" == caught.value.code
    for ending, read_back in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        house.data.export("flights@1", tmp_path / f"out{ending}")
        assert_frame_equal(house.data.frame("flights"), read_back(tmp_path / f"out{ending}"))


def test_pins_are_no_garbage(house: Workspace, months: Path) -> None:
    """A collection keeps the pins of all versions; the rows are read as before."""
    house.data.refer("flights", f"file:{months}")
    pl.DataFrame({"x": [5], "y": ["c"]}).write_parquet(months / "03.parquet")
    house.data.refer("flights", f"file:{months}")
    house.collect(days=0, consent=True)

    assert [4, 5] == [house.data.frame("flights", version).height for version in (1, 2)]
    assert () == house.fsck()


def test_rows_are_not_added_to_a_reference(house: Workspace, months: Path) -> None:
    """Half here and half there would be neither; starting anew is fine."""
    house.data.refer("flights", f"file:{months}")
    rows = pl.DataFrame({"x": [7], "y": ["z"]})

    with pytest.raises(Invalid) as caught:
        house.data.add("flights", rows, partition="03")
    assert "is-reference" == caught.value.code
    assert ("table", 2) == (house.data.add("flights", rows, replace=True).kind, house.data.get("flights").version)


@sw.step
def doubled(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col("x") * 2)


@sw.pipeline
def double():
    return doubled(sw.dataset("flights"))


@sw.pipeline
def double_then():
    return doubled(sw.dataset("flights", as_of=datetime(2026, 5, 1, tzinfo=UTC)))


def test_pipelines_read_references(house: Workspace, months: Path) -> None:
    """A step gets the proven rows; lineage leads from its result to the pin; changed rows stop the run."""
    made = house.data.refer("flights", f"file:{months}")
    ran = house.run(double.plan())
    trace = house.trace(made.digest, down=True)

    assert "finished" == ran.run.status
    ((result,),) = [tuple(run.outputs.values()) for run in house.runs() if run.name == "doubled"]
    assert result in {node.digest for node in trace.graph.nodes}
    assert () == trace.failed
    (months / "01.parquet").unlink()
    house.data.refer("flights", f"file:{months}")
    (months / "02.parquet").unlink()
    with pytest.raises(NotFound) as caught:
        house.run(double.plan())
    assert "source-gone" == caught.value.code


# Elsewhere


def test_a_path_is_not_read_on_the_word_of_a_caller_from_elsewhere(house: Workspace, months: Path) -> None:
    """Over HTTP no path of the server is opened, to pin, to verify, to read, to copy, or to compare."""
    rooms = rooms_of(house)
    house.data.refer("flights", f"file:{months}")
    asked: list[tuple[Any, dict[str, Any]]] = [
        (ops.refer_data, {"name": "mine", "source": f"file:{months}"}),
        (ops.verify_data, {"name": "flights"}),
        (ops.table_of_data, {"name": "flights"}),
        (ops.import_data, {"name": "flights"}),
        (ops.diff_data, {"name": "flights", "old": 1, "new": 1}),
    ]
    for operation, arguments in asked:
        with pytest.raises(Refused) as caught:
            operation.perform(rooms, operation.read(arguments))
        assert "local-source" == caught.value.code
        assert str(months) not in str(caught.value)
        with pytest.raises(Invalid):
            operation.read({**arguments, "local": True})


def test_folders_that_the_operator_names_are_open(
    tmp_path: Path, months: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below `STELLWERK_SOURCE_FOLDERS` callers from elsewhere may refer to files; beside it not."""
    monkeypatch.setenv("STELLWERK_SOURCE_FOLDERS", str(months))
    (tmp_path / "beside.csv").write_text("x\n1\n")
    worlds.workspace(tmp_path / "house").close()
    with sw.connect(tmp_path / "house", actor=worlds.OWNER) as house:
        rooms = rooms_of(house)
        made = ops.refer_data.perform(rooms, {"name": "flights", "source": f"file:{months}"})
        with pytest.raises(Refused):
            ops.refer_data.perform(rooms, {"name": "beside", "source": f"file:{tmp_path}/beside.csv"})

    assert 4 == made.rows


def test_buckets_and_tables_of_the_server_are_not_open_either(house: Workspace, tmp_path: Path) -> None:
    """Its credentials and its files are not lent to callers from elsewhere."""
    pytest.importorskip("obstore", reason="the extra `s3` is not installed")
    pytest.importorskip("deltalake", reason="the extra `delta` is not installed")
    settings = read({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "canary"})
    codes = set()
    for source in ("s3://lake/x.csv", f"delta:{tmp_path}/t", f"sqlite:{tmp_path}/a.db?query=SELECT 1 AS x"):
        with pytest.raises(Refused) as caught:
            pin(rules.parse(source), Readers(settings, local=False))
        codes.add(caught.value.code)

    assert {"foreign-bucket", "local-source"} == codes


@pytest.mark.parametrize("source", ["s3://lake/x.csv", "sql:lake?query=SELECT 1 AS x", "iceberg:lake/a.b"])
def test_what_is_not_configured_says_what_to_set(source: str) -> None:
    """Credentials, a database, a catalogue: the hint names the variable."""
    pytest.importorskip("obstore", reason="the extra `s3` is not installed")
    pytest.importorskip("pyiceberg", reason="the extra `iceberg` is not installed")

    with pytest.raises((Unavailable, Invalid)) as caught:
        pin(rules.parse(source), Readers(read({"HOME": "/nowhere", "STELLWERK_S3_PROFILES": "/none"}), local=True))
    assert any(
        word in caught.value.hint for word in ("AWS_ACCESS_KEY_ID", "STELLWERK_SQL_LAKE", "STELLWERK_ICEBERG_LAKE")
    )


HOSTILE = ["file:///etc/passwd", "file://localhost/etc/passwd", "/etc", "FILE:/etc/passwd", "", "s3://b/../../x",
           "https://127.0.0.1/x", "http://[::1]/x", "file:/x#/../..", "gopher://h/x", "runs:/id/../..", "file:",
           "https://anna:canary@host/x"]  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_sources_are_refused_and_leave_nothing(house: Workspace, source: str) -> None:
    """A clear error without what it guards; no version, no blob."""
    rooms, before = rooms_of(house), stored(house)

    with pytest.raises(StellwerkError) as caught:
        ops.refer_data.perform(rooms, {"name": "x", "source": source})
    assert "bug" != caught.value.code
    assert "canary" not in str(caught.value) + caught.value.hint
    assert ((), before) == (house.data.list(), stored(house))


def test_paths_begin_where_the_caller_stands() -> None:
    """A relative path is that of the caller's folder; other kinds are left alone."""
    here = Path("/here")

    assert [
        "file:/here/a.csv", "file:/here/a.csv", "file:/a.csv", "https://h/a.csv", "sqlite:/here/a.db?query=SELECT 1"
    ] == [
        placed(text, here)
        for text in ("a.csv", "file:./a.csv", "file:/a.csv", "https://h/a.csv", "sqlite:a.db?query=SELECT 1")
    ]  # fmt: skip


def test_third_parties_bring_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with an entry point is found by its kind; an unknown kind names the known ones."""
    (tmp_path / "memo_reader.py").write_text("class MemoReader:\n    pass\n")
    info = tmp_path / "memo_reader-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memo-reader\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stellwerk.sources]\nmemo = memo_reader:MemoReader\n")
    monkeypatch.syspath_prepend(tmp_path)
    readers = Readers(read({}), local=True)

    assert {"memo"} <= metadata.entry_points(group="stellwerk.sources").names
    assert "MemoReader" == type(readers("memo")).__name__
    assert readers("memo") is readers("memo")
    with pytest.raises(Invalid, match="memo") as caught:
        readers("nobody")
    assert "unknown-source-kind" == caught.value.code


class Odd:
    """A reader that answers what it was told to."""

    def __init__(self, names: Any, content: Any) -> None:
        self.names, self.content = names, content

    def list(self, source: Source) -> Any:
        return self.names() if callable(self.names) else self.names

    def read(self, source: Source, part: str, version: str = "") -> Any:
        return self.content() if callable(self.content) else self.content


def fail() -> None:
    raise RuntimeError("canary")


@pytest.mark.parametrize(
    ("names", "content", "code"),
    [
        (fail, None, "reader-failed"), ([1], None, "reader-failed"), (["a"], fail, "reader-failed"),
        (["a"], None, "reader-failed"), (["a"], b"x\n1\n", "reader-failed"), (["a", "a"], None, "invalid-source"),
        (["a\n"], None, "invalid-source"), ([""], None, "invalid-source"), ([], None, "source-gone"),
        (["a"], Content(data="x"), "reader-failed"), (["a"], Content(data=b""), "empty-table"),  # type: ignore[arg-type]
        (["a"], Content(data=pl.DataFrame()), "empty-table"),
        (["a"], Content(data=pl.DataFrame({"x": [[1]]})), "nested-column"),
    ],
)  # fmt: skip
def test_what_a_reader_gets_wrong_is_an_error_of_ours(names: Any, content: Any, code: str) -> None:
    """Whatever a third party's code raises or answers: a code, no trace, and nothing of its text."""
    with pytest.raises(StellwerkError) as caught:
        pin(rules.parse("odd:x"), lambda _: Odd(names, content))

    assert code == caught.value.code
    assert "canary" not in str(caught.value) + caught.value.hint


def test_settings_do_not_show_what_opens_doors() -> None:
    """Database URLs are read from the environment and stay out of what settings look like."""
    settings = read({"STELLWERK_SQL_LAKE": "postgresql://u:canary@h/db", "STELLWERK_SOURCE_HOSTS": " a , 10.0.0.0/8"})

    assert "postgresql://u:canary@h/db" == settings.sql["lake"]
    assert ("a", "10.0.0.0/8") == settings.source_hosts
    assert "canary" not in repr(settings)


# Back in time


def at(house: Workspace, instant: datetime) -> None:
    """Move the simulated time."""
    clock = rooms_of(house).clock
    assert isinstance(clock, ReplayClock)
    clock.set(instant)


def test_versions_of_a_time(house: Workspace) -> None:
    """`get`, `frame`, `list` and `diff` see what was newest at that time; before the first there is nothing."""
    start = house.now()
    for day in range(3):
        at(house, start + timedelta(days=day))
        house.data.add("flights", pl.DataFrame({"x": list(range(day + 2))}))
    middle = start + timedelta(days=1, hours=1)

    assert 2 == house.data.get("flights", as_of=middle).version
    assert 3 == house.data.frame("flights", as_of=middle).height
    assert [1, 2] == [version.version for version in house.data.list(as_of=middle)]
    assert 1 == house.data.diff("flights", as_of=middle).rows_added
    assert 1 == house.data.get("flights", as_of=start).version
    with pytest.raises(NotFound):
        house.data.get("flights", as_of=start - timedelta(microseconds=1))
    for wrong in (lambda: house.data.get("flights", 1, as_of=middle),
                  lambda: house.data.get("flights", as_of=middle.replace(tzinfo=None))):  # fmt: skip
        with pytest.raises(Invalid):
            wrong()


def test_pipelines_read_a_time(house: Workspace) -> None:
    """`sw.dataset(…, as_of=…)` is the version of that time, whatever came later."""
    at(house, datetime(2026, 4, 1, tzinfo=UTC))
    house.data.add("flights", pl.DataFrame({"x": [1, 2]}))
    at(house, datetime(2026, 6, 1, tzinfo=UTC))
    house.data.add("flights", pl.DataFrame({"x": [7, 8, 9]}))

    house.run(double_then.plan())
    ((made,),) = [tuple(run.outputs.values()) for run in house.runs() if run.name == "doubled"]
    rows = pl.read_parquet(rooms_of(house).blobs.get(made))

    assert [2, 4] == rows["x"].to_list()


def versions(times: list[int]) -> list[DatasetVersion]:
    """Versions made at these hours, in this order."""
    base = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        DatasetVersion(
            workspace="w", name="n", version=number, digest="sha256:" + "0" * 64, partitions=(), columns=(), rows=0,  # type: ignore[arg-type]
            source="", parent=None, created_at=base + timedelta(hours=hour), created_by="anna",
        )
        for number, hour in enumerate(times, 1)
    ]  # fmt: skip


@given(
    times=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    asked=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_a_later_time_never_shows_an_older_version(times: list[int], asked: tuple[int, int]) -> None:
    """Also where clocks ran backwards; and at the latest time everything is seen."""
    base = datetime(2026, 1, 1, tzinfo=UTC)
    early, late = (base + timedelta(hours=hour) for hour in sorted(asked))
    made = versions(times)

    def newest(moment: datetime) -> int:
        return max((version.version for version in made_by(made, moment)), default=0)

    assert newest(early) <= newest(late)
    assert len(times) == newest(base + timedelta(hours=60))
    if sorted(times) == times:
        assert sum(base + timedelta(hours=hour) <= early for hour in times) == newest(early)


def test_a_clock_that_ran_backwards(house: Workspace) -> None:
    """Order is that of the book: of the versions made by then, the last one counts, however its clock stood."""
    start = house.now()
    for hours in (10, 9, 11):
        at(house, start + timedelta(hours=hours))
        house.data.add("flights", pl.DataFrame({"x": [hours]}))

    seen = {hour: house.data.get("flights", as_of=start + timedelta(hours=hour)).version for hour in (9, 10, 11)}

    assert {9: 2, 10: 2, 11: 3} == seen
