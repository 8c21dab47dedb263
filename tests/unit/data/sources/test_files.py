"""Files as sources: what is read, what is found when it changed, and where nobody may look."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError
from stellwerk.data.adapters.files import FileReader
from stellwerk.data.sources import rules, service
from stellwerk.testing.sources import ROWS, SourceContract


class Folder:
    """Rows in two files of a folder."""

    def __init__(self, path: Path, ending: str) -> None:
        self.path, self.ending = path / "rows", ending
        self.source = f"file:{self.path}"

    def fill(self, rows: pl.DataFrame) -> None:
        self.path.mkdir(exist_ok=True)
        for name, part in (("a", rows.head(2)), ("b", rows.tail(2))):
            file = self.path / f"{name}.{self.ending}"
            {"parquet": part.write_parquet, "jsonl": part.write_ndjson, "csv": part.write_csv}[self.ending](file)

    def remove(self) -> None:
        for file in self.path.iterdir():
            file.unlink()
        self.path.rmdir()


@pytest.fixture
def reader() -> FileReader:
    return FileReader()


class TestParquetFolder(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path, "parquet")


class TestJsonLinesFolder(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path, "jsonl")


class TestPattern(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Folder:
        folder = Folder(tmp_path, "parquet")
        folder.source = f"file:{tmp_path}/*/?.parquet"
        return folder


class TestOneFile(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> OneFile:
        return OneFile(tmp_path / "rows.csv")


class OneFile:
    def __init__(self, path: Path) -> None:
        self.path, self.source = path, f"file:{path}"

    def fill(self, rows: pl.DataFrame) -> None:
        rows.write_csv(self.path)

    def remove(self) -> None:
        self.path.unlink()


class TestBelowAFolder(SourceContract):
    """A reader that is held to a folder keeps all promises below it."""

    @pytest.fixture
    def reader(self, tmp_path: Path) -> FileReader:
        return FileReader([tmp_path])

    @pytest.fixture
    def place(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path, "parquet")


def pinned(source: str, reader: FileReader) -> service.Pinned:
    return service.pin(rules.parse(source), lambda _: reader)[0]


def test_only_table_files_of_a_folder_count(tmp_path: Path, reader: FileReader) -> None:
    """Hidden files, books of table formats and other endings are no rows; folders below are."""
    (tmp_path / "deep" / "_delta_log").mkdir(parents=True)
    for name in ("b.csv", "deep/a.csv"):
        (tmp_path / name).write_text("x\n1\n")
    for name in (".hidden.csv", "_SUCCESS", "read.me", "deep/_delta_log/0.csv"):
        (tmp_path / name).write_text("x\n9\n")

    found = pinned(f"file:{tmp_path}", reader)

    assert [("b.csv", 1), ("deep/a.csv", 1)] == [(part.name, part.rows) for part in found.parts]


def test_a_change_is_named(tmp_path: Path, reader: FileReader) -> None:
    """The part, and how it differs: another size, other bytes, gone."""
    for name in "abcd":
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    found = pinned(f"file:{tmp_path}", reader)
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    (tmp_path / "b.csv").write_text("x\n2\n")
    (tmp_path / "c.csv").unlink()

    report = service.verify(found, lambda _: reader)

    assert [
        ("a.csv", "it has 6 bytes (expected 4)"),
        ("b.csv", "its bytes are others, though as many"),
        ("c.csv", "it is gone"),
    ] == [(change.part, change.what) for change in report.changes]
    with pytest.raises(Conflict, match=r"of 'a\.csv', it has 6 bytes"):
        service.frame(found, lambda _: reader)


def test_new_files_are_not_what_was_pinned(tmp_path: Path, reader: FileReader) -> None:
    """A file that comes later belongs to the next version, not to this one."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    found = pinned(f"file:{tmp_path}", reader)
    (tmp_path / "b.csv").write_text("x\n2\n")

    assert [1] == service.frame(found, lambda _: reader)["x"].to_list()
    assert 2 == len(pinned(f"file:{tmp_path}", reader).parts)


def test_files_of_other_columns_are_no_table(tmp_path: Path, reader: FileReader) -> None:
    """Which column differs is said."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x\n1\n")

    with pytest.raises(Invalid, match="lacks y") as caught:
        pinned(f"file:{tmp_path}", reader)
    assert "mixed-columns" == caught.value.code


def test_a_digest_in_the_name_is_demanded(tmp_path: Path, reader: FileReader) -> None:
    """`#sha256=` lets only these bytes in."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"x\n1\n")
    right = of_bytes(b"x\n1\n").removeprefix("sha256:")

    assert 1 == pinned(f"file:{file}#sha256={right}", reader).rows
    with pytest.raises(Conflict):
        pinned(f"file:{file}#sha256={'0' * 64}", reader)


OUTSIDE = ["/etc/passwd", "//localhost/etc/passwd", "///etc/passwd", "relative.csv", "~/x.csv", "$HOME/x.csv", "",
           "{inside}/../outside/secret.csv", "{inside}/%2e%2e/outside/secret.csv", "{inside}/link.csv",
           "{inside}/folder-link", "{inside}/*/secret.csv", "{inside}/../*/secret.csv", "{outside}", "/",
           "{inside}/..\\outside\\secret.csv", "\\\\host\\share"]  # fmt: skip


@pytest.mark.parametrize("spelling", OUTSIDE)
def test_nothing_outside_is_read(tmp_path: Path, spelling: str) -> None:
    """No spelling, link or pattern leads a reader out of its folders, and the error holds none of the content."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.csv").write_text("canary\n1\n")
    (inside / "link.csv").symlink_to(outside / "secret.csv")
    (inside / "folder-link").symlink_to(outside)
    reader = FileReader([inside])

    for kind in ("file", "FILE"):
        with pytest.raises(StellwerkError) as caught:
            pinned(f"{kind}:{spelling.format(inside=inside, outside=outside)}", reader)
        assert "canary" not in str(caught.value) + caught.value.hint


def test_outside_looks_the_same_whether_it_exists(tmp_path: Path) -> None:
    """Whoever may not look does not learn what is there."""
    reader = FileReader([tmp_path / "inside"])
    (tmp_path / "there.csv").write_text("x\n1\n")
    messages = []
    for name in ("there.csv", "not-there.csv"):
        with pytest.raises(Refused) as caught:
            pinned(f"file:{tmp_path / name}", reader)
        messages.append((caught.value.code, str(caught.value)))

    assert 1 == len(set(messages))


def test_parts_do_not_climb(tmp_path: Path) -> None:
    """A pin that somebody else wrote leads nowhere either."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.csv").write_text("x\n1\n")

    for part in ("../secret.csv", str(tmp_path / "secret.csv")):
        with pytest.raises(StellwerkError):
            FileReader([tmp_path / "in"]).read(rules.parse(f"file:{tmp_path}/in"), part)


def test_what_is_no_regular_file_does_not_block(tmp_path: Path, reader: FileReader) -> None:
    """A named pipe is refused at once, and not waited for."""
    os.mkfifo(tmp_path / "pipe.csv")

    with pytest.raises(Invalid) as caught:
        pinned(f"file:{tmp_path}/pipe.csv", reader)
    assert "not-a-file" == caught.value.code


def test_a_link_that_is_swapped_while_reading_leads_nowhere(tmp_path: Path) -> None:
    """Ten thousand swaps between inside and outside: what was read was always inside."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder, text in ((inside, "x\n1\n"), (outside, "x\n666\n")):
        folder.mkdir()
        (folder / "a.csv").write_text(text)
    reader, source, done = FileReader([inside]), rules.parse(f"file:{inside}/link.csv"), threading.Event()

    def swap() -> None:
        for turn in range(10_000):
            target = (inside, outside)[turn % 2] / "a.csv"
            (inside / "new").symlink_to(target)
            (inside / "new").rename(inside / "link.csv")
        done.set()

    thread = threading.Thread(target=swap)
    thread.start()
    read = set()
    while not done.is_set():
        try:
            read.add(reader.read(source, "link.csv").data)
        except (Refused, Conflict, NotFound, StellwerkError):
            continue
    thread.join()

    assert read <= {b"x\n1\n"}


def test_rows_of_the_contract_are_many_kinds() -> None:
    """The table that readers are tested with has nulls, numbers beyond 2^53 and text that needs quoting."""
    assert ROWS.null_count().row(0) == (0, 1, 1)
