"""What is shown of a file: by its bytes, within limits, and never as more than text."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.store.ports import Blobs
from stellwerk.testing.fakes import MemoryBlobs
from stellwerk.tracking import notebooks, pictures, previews
from stellwerk.tracking.previews import Preview, preview


def png(width: int, height: int) -> bytes:
    """A picture without any pixel: nobody here unpacks it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xc0\x00\x0b\x08\x00\x20\x00\x40\x01\x01\x11\x00"
GIF = b"GIF89a" + struct.pack("<HH", 64, 32) + bytes(20)
WEBP = b"RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\x3f\x00\x00\x1f\x00\x00" + bytes(8)
LOSSY = b"RIFF\x20\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00" + b"\x00\x00\x00\x9d\x01\x2a\x40\x00\x20\x00" + bytes(8)
LOSSLESS = b"RIFF\x20\x00\x00\x00WEBPVP8L\x0a\x00\x00\x00\x2f" + struct.pack("<I", 63 | 31 << 14) + bytes(12)


def look(data: bytes, name: str) -> Preview:
    """The preview of these bytes under this name."""
    blobs: Blobs = MemoryBlobs()
    return preview(blobs, blobs.put(data), name)


@pytest.mark.parametrize(
    ("data", "media"),
    [(png(64, 32), "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"),
     (WEBP, "image/webp"), (LOSSY, "image/webp"), (LOSSLESS, "image/webp")],
)  # fmt: skip
def test_pictures_are_told_by_their_bytes(data: bytes, media: str) -> None:
    """Whatever they are called; with the size that they say."""
    found = look(data, "notes.txt")

    assert ("picture", media, 64, 32) == (found.shows, found.media, found.width, found.height)


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"GIF89a<script>alert(1)</script>"[:6] + b"/*",
        b"BM" + bytes(60),
        b"\x00\x00\x01\x00",
    ],
)
def test_what_is_no_picture_is_none_by_its_name(data: bytes) -> None:
    """SVG, HTML, icons and beginnings of pictures are text or bytes, even where they are called a picture."""
    assert look(data, "plot.png").shows in ("text", "bytes")


def test_a_picture_that_unfolds_too_far_is_not_shown() -> None:
    """A small file of fifty thousand by fifty thousand is bytes; so is one of no size."""
    assert "bytes" == look(png(50_000, 50_000), "bomb.png").shows
    assert "bytes" == look(png(0, 5), "none.png").shows
    assert "picture" == look(png(5_000, 5_000), "large.png").shows


@given(st.binary(max_size=200), st.sampled_from([png(64, 32), JPEG, GIF, WEBP, LOSSY, LOSSLESS]), st.integers(0, 60))
def test_damaged_pictures_do_no_harm(noise: bytes, data: bytes, cut: int) -> None:
    """Cut off or scribbled over: a picture of sizes that may be shown, or none."""
    found = pictures.read(data[:cut] + noise)

    assert found is None or 0 < found.width * found.height <= pictures.MAX_PIXELS


def test_a_table_shows_its_first_rows() -> None:
    """Quotes, separators and line ends in cells are those of the file; what is more is said."""
    text = 'name,score\n"a,b",1\n"c\nd",2\n'
    found = look(text.encode(), "x.csv")
    assert (("name", "score"), (("a,b", "1"), ("c\nd", "2"))) == (found.header, found.rows)
    assert not found.more_rows

    odd = look("a,b\n1,x\u2028y\x0cz\n".encode(), "x.csv")  # which end lines for others
    assert (("1", "x\u2028y\x0cz"),) == odd.rows

    long = look(b"a\tb\n" + b"1\t2\n" * 1000, "x.tsv")
    assert previews.MAX_ROWS == len(long.rows)
    assert long.more_rows
    wide = look((",".join(map(str, range(500))) + "\n").encode() * 2, "x.csv")
    assert (previews.MAX_COLUMNS, 400) == (len(wide.header), wide.more_columns)


def test_a_table_that_goes_on_ends_with_a_whole_row() -> None:
    """Bytes are cut somewhere; no row is shown of which only a part was read."""
    found = look(b"a,b\n" + b"x" * 7000 + b",1\n" + (b"y" * 9000 + b",2\n") * 200, "x.csv")

    assert all(row[1] in ("1", "2") for row in found.rows)
    assert found.left > 0
    assert all(len(cell) <= previews.MAX_CELL for row in found.rows for cell in row)


def test_tables_of_mlflow_are_tables() -> None:
    """`log_table` writes columns and data; other JSON is text."""
    found = look(json.dumps({"columns": ["q", "a"], "data": [["one", 1], [None, {"b": 2}]]}).encode(), "eval.json")

    assert (("q", "a"), (("one", "1"), ("null", '{"b": 2}'))) == (found.header, found.rows)
    assert "text" == look(b'{"columns": 1, "data": []}', "x.json").shows


def test_json_is_indented_as_it_was_written() -> None:
    """Numbers keep their digits and members their order, also such as stand twice."""
    assert (
        '{\n  "a": 1.10000000000000000001,\n  "a": [\n    1,\n    "x, {y"\n  ],\n  "b": {}\n}'
        == previews.indented('{"a":1.10000000000000000001,"a":[1,"x, {y"],"b":{}}')
    )
    assert previews.indented("{a: 1}") is None


def test_json_that_becomes_too_long_is_shown_as_it_is() -> None:
    """Nothing of it is left out without a word."""
    data = b"[" * 50 + b"1," * 100_000 + b"1" + b"]" * 50

    found = look(data, "x.json")

    assert (data.decode(), 0) == (found.text, found.left)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.booleans())
def test_indenting_changes_nothing_but_blanks(value: object, ascii_only: bool) -> None:
    """What is read from the lines is what was read from the text."""
    lines = previews.indented(json.dumps(value, ensure_ascii=ascii_only))

    assert lines is not None
    assert value == json.loads(lines)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"9" * 10_000, b'{"a":' * 5000])
def test_json_that_wants_to_break_its_reader_is_text(data: bytes) -> None:
    """Depth, and numbers that nobody can read, are shown as they stand."""
    found = look(data, "x.json")

    assert ("text", data.decode()) == (found.shows, found.text)


def test_a_log_shows_its_end() -> None:
    """In whole lines; what is left out before it is said, and adds up."""
    data = b"".join(b"line %d \xc3\xa9\n" % number for number in range(50_000))
    found = look(data, "logs/output.log")

    assert found.text.endswith("line 49999 é\n")
    assert found.text.startswith("line ")
    assert len(data) == found.skipped + len(found.text.encode())
    assert "line 0 é" == look(data, "notes.txt").text.split("\n")[0]


@given(st.text(min_size=1), st.integers(0, 40), st.integers(1, 40))
def test_a_cut_in_a_character_is_no_damage(text: str, start: int, length: int) -> None:
    """UTF-8 from any byte to any other is still read as text."""
    data = text.encode()
    found = previews.decoded(data[start : start + length], begun=start > 0, ends=start + length >= len(data))

    assert found is not None or "\x00" in text


def test_bytes_are_bytes() -> None:
    """Nothing is guessed of what is neither text nor a picture; an empty file is an empty text."""
    assert "bytes" == look(b"\x80\x03cbuiltins\neval", "model.pkl").shows
    assert "bytes" == look(b"PK\x03\x04\x00\x00", "model.skops").shows
    assert "bytes" == look("text".encode("utf-16"), "x.txt").shows
    assert ("text", "") == (look(b"", "x.txt").shows, look(b"", "x.txt").text)


def test_a_huge_file_is_read_in_part() -> None:
    """However long it is, a bounded number of bytes becomes a page."""

    class Counting(MemoryBlobs):
        read = 0

        def stream(self, digest: str, *, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]
            for piece in super().stream(digest, start=start, stop=stop):
                Counting.read += len(piece)
                yield piece

    blobs = Counting()
    found = preview(blobs, blobs.put(b"word \n" * 4_000_000), "x.txt")

    assert previews.MAX_TEXT == len(found.text)
    assert 24_000_000 - previews.MAX_TEXT == found.left
    assert Counting.read <= 2 * previews.MAX_TEXT


def notebook(*cells: dict[str, object], version: int = 4) -> bytes:
    """A notebook file of these cells."""
    return json.dumps({"nbformat": version, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}).encode()


def code(*outputs: dict[str, object], source: object = "a") -> dict[str, object]:
    return {"cell_type": "code", "source": source, "execution_count": 3, "metadata": {}, "outputs": list(outputs)}


def test_a_notebook_shows_code_texts_and_pictures() -> None:
    """Colours are left out, prints in a row are one text, pictures are those that the bytes say."""
    picture = base64.b64encode(png(4, 2)).decode()

    found = look(
        notebook(
            {"cell_type": "markdown", "source": ["# A\n", "b"], "metadata": {}},
            code(
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {
                    "output_type": "execute_result",
                    "data": {"text/plain": "\x1b[31m2\x1b[0m", "text/html": "<b>2</b>"},
                },
                {"output_type": "display_data", "data": {"image/png": picture, "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[0;31mE\x1b[0m: v"]},
            ),
        ),
        "run.ipynb",
    )

    first, second = found.cells
    assert ("notebook", "text", "# A\nb", ()) == (found.shows, first.kind, first.text, first.outputs)
    shown = [(one.shows, one.text, one.picture, one.width) for one in second.outputs]
    address = f"data:image/png;base64,{picture}"
    assert [("text", "1\n2", "", 0), ("picture", "", address, 4), ("error", "E: v", "", 0)] == shown
    assert 3 == second.number


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"image/png": base64.b64encode(b"<svg onload=alert(1)>").decode()}, "image/png"),
        ({"image/png": "https://evil.example/x.png"}, "image/png"),
        ({"image/svg+xml": "<svg/>", "application/javascript": "alert(1)"}, "image/svg+xml, application/javascript"),
        ({"text/html": "<script>1</script>"}, "text/html"),
    ],
)
def test_what_a_notebook_must_not_show_is_named(data: dict[str, str], why: str) -> None:
    """Markup, scripts, and pictures that are none."""
    found = look(notebook(code({"output_type": "display_data", "data": data})), "run.ipynb")

    assert [("nothing", why, "")] == [(one.shows, one.text, one.picture) for one in found.cells[0].outputs]


@pytest.mark.parametrize(
    "data", [notebook(version=3), b'{"nbformat": 4}', b"[" * 100_000, b'{"nbformat": 4, "cells": [1]}', b"no"]
)
def test_what_is_no_notebook_is_text(data: bytes) -> None:
    """Whatever its name ends with."""
    assert "text" == look(data, "run.ipynb").shows


def test_a_long_notebook_is_cut() -> None:
    """Its cells, and each of them."""
    cells = [code({"output_type": "stream", "text": "y" * 30_000}, source="x" * 60_000)] * 600

    found = notebooks.read(notebook(*cells).decode())

    assert found is not None
    assert notebooks.MAX_CELLS == len(found)
    assert "… 10,000 more characters" == found[0].text.splitlines()[-1] == found[0].outputs[0].text.splitlines()[-1]
