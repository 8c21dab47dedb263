"""Rows that live elsewhere, and times, on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from stellwerk.cli.times import Instant
from stellwerk.core.errors import Invalid
from stellwerk.testing import worlds

CONFLICT, MISSING, USAGE = 5, 4, 2


def stellwerk(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, data and talk of a real process."""
    command = [sys.executable, "-m", "stellwerk", *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T12:00:00+02:00", datetime(2026, 5, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_days_or_instants(text: str, expected: datetime) -> None:
    """A day is its beginning in UTC."""
    assert expected == Instant().convert(text, None, None)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-05-01T12:00:00", "01.05.2026", "2026-05-01x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Also a time of which nobody knows where it is meant."""
    with pytest.raises(Invalid) as caught:
        Instant().convert(text, None, None)
    assert "invalid-time" == caught.value.code


def test_a_life_of_a_reference(tmp_path: Path) -> None:
    """Referred to by a relative path, compared, changed, missed, copied: exit codes for scripts, no trace for people."""
    worlds.workspace(tmp_path).close()
    rows = pl.DataFrame({"x": [1, 2]})
    rows.write_parquet(tmp_path / "rows.parquet")

    code, data, _ = stellwerk(tmp_path, "data", "refer", "flights", "rows.parquet", "--json")
    assert (0, "reference", f"file:{tmp_path}/rows.parquet") == (code, *map(json.loads(data).get, ("kind", "source")))
    assert 0 == stellwerk(tmp_path, "data", "verify", "flights")[0]
    assert 0 == stellwerk(tmp_path, "data", "export", "flights", "out.csv")[0]
    assert "x\n1\n2\n" == (tmp_path / "out.csv").read_text()

    rows.reverse().write_parquet(tmp_path / "rows.parquet")
    code, data, _ = stellwerk(tmp_path, "data", "verify", "flights", "--json")
    assert (CONFLICT, ["rows.parquet"]) == (code, [change["part"] for change in json.loads(data)["changes"]])
    code, data, talk = stellwerk(tmp_path, "data", "import", "flights")
    assert (CONFLICT, "") == (code, data)
    assert "source-changed" in talk
    assert "Traceback" not in talk

    (tmp_path / "rows.parquet").unlink()
    code, _, talk = stellwerk(tmp_path, "data", "export", "flights", "again.csv")
    assert MISSING == code
    assert "source-gone" in talk
    assert MISSING == stellwerk(tmp_path, "data", "export", "flights", "then.csv", "--as-of", "2001-01-01")[0]
    assert USAGE == stellwerk(tmp_path, "data", "export", "flights@1", "then.csv", "--as-of", "2001-01-01")[0]
    assert ["out.csv"] == [file.name for file in tmp_path.glob("*.csv")]
