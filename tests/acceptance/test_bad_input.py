"""Whatever comes in, and whatever breaks: a clear error with a code and what to do, nothing half done, a whole book."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import stellwerk as sw
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, World
from stellwerk.workspace import shipping
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

WORLD = World()


def error_of(act: Callable[[], Any], kind: type[StellwerkError] = Invalid) -> StellwerkError:
    """What was raised: of the right class, with words and a hint."""
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.message
    assert caught.value.hint, f"{caught.value.code}: {caught.value.message}"
    return caught.value


# Files and tables


def table(**changes: Any) -> str:
    """Parcels as CSV text, with some columns changed."""
    return WORLD.parcels(300, 5).with_columns(**changes).write_csv()


def wide(columns: int) -> str:
    """A table of very many columns, the last of which is the target."""
    rng = np.random.default_rng(1)
    names = [f"c{k}" for k in range(columns - 1)]
    rows = rng.integers(0, 9, (60, columns - 1))
    lines = [",".join([*map(str, row), str(int(rng.random() < 0.5))]) for row in rows]
    return "\n".join([",".join([*names, "late"]), *lines]) + "\n"


FILES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "late", "empty-table"),
    "only white space": (b" \n\n", "late", "empty-table"),
    "only a header": (b"distance,late\n", "late", "empty-table"),
    "unknown target": (table().encode(), "lat", "unknown-column"),
    "one class": (table(late=pl.lit(value=True)).encode(), "late", "one-class"),
    "missing target": (
        table(late=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("late")).encode(),
        "late",
        "target-null",
    ),
    "target not a number": (table(late=pl.col("distance").log()).encode(), "late", "target-null"),
    "duplicate columns": (b"a,a,late\n" + b"1,2,0\n3,4,1\n" * 60, "late", "duplicate-column"),
    "not UTF-8": ("größe,late\n".encode("latin-1") + b"1,0\n2,1\n" * 60, "late", "not-utf8"),
    "UTF-16": (table().encode("utf-16"), "late", "not-utf8"),
    "ragged": (b"a,late\n" + b"1,0\n2,1,9\n" * 60, "late", "ragged-rows"),
    "zipped": (b"PK\x03\x04" + bytes(100), "late", "unknown-format"),
    "too few rows": (b"a,late\n" + b"1,0\n2,1\n" * 20, "late", "too-few-cases"),
    "a class per row": (
        table(late=pl.int_range(pl.len()).cast(pl.String) + "x").encode(),
        "late",
        "too-many-classes",
    ),
    "too many columns": (wide(20_001).encode(), "late", "too-many-columns"),
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_cannot_be_shipped(house: Workspace, tmp_path: Path, what: str) -> None:
    """Each is refused before anything is written: no project, no dataset, no run."""
    data, target, code = FILES[what]
    file = tmp_path / "parcels.csv"
    file.write_bytes(data)
    before = house.board().entries
    error = error_of(lambda: shipping.prepare(file, tmp_path / "project", target=target, owner="anna"))

    assert code == error.code
    assert not (tmp_path / "project").exists()
    assert before == house.board().entries


def test_files_that_are_not_there(house: Workspace, tmp_path: Path) -> None:
    """A missing file is not found, a folder is no file; the messages show no path of this machine."""
    missing = error_of(
        lambda: shipping.prepare(tmp_path / "no.csv", tmp_path / "p", target="late", owner="anna"), NotFound
    )
    with pytest.raises(Invalid) as caught:
        house.data.add("x", tmp_path)

    assert ("file-not-found", "not-a-file") == (missing.code, caught.value.code)
    assert str(tmp_path) not in missing.message + caught.value.message


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"time": "late"}, "target-twice"),
        ({"time": "whenever"}, "unknown-column"),
        ({"entity": ["nobody"]}, "unknown-column"),
        ({"slices": ["depots"]}, "unknown-column"),
        ({"exclude": ["late"]}, "target-twice"),
        ({"name": "no good name"}, "invalid-name"),
    ],
)
def test_options_that_make_no_sense(house: Workspace, tmp_path: Path, options: dict[str, Any], code: str) -> None:
    """Columns that are not there, and columns asked to be two things, are Invalid before anything is written."""
    file = tmp_path / "parcels.csv"
    file.write_text(table(), "utf-8")
    with pytest.raises(Invalid) as caught:
        shipping.prepare(file, tmp_path / "project", target="late", owner="anna", **options)

    assert code == caught.value.code
    assert not (tmp_path / "project").exists()


def test_ten_thousand_columns_are_carried(house: Workspace, tmp_path: Path) -> None:
    """A wide table is added, comes back, and is compared, without trouble."""
    file = tmp_path / "wide.csv"
    file.write_text(wide(10_000), "utf-8")
    order = shipping.prepare(file, tmp_path / "project", target="late", owner="anna")
    version = house.data.add("wide", file)

    assert "binary" == order.task
    assert (60, 10_000) == house.data.frame("wide").shape
    assert (1, 60) == (version.version, version.rows)


@pytest.mark.parametrize(
    ("changes", "code", "kind"),
    [
        ({"distance": pl.lit("far")}, "contract-broken", Refused),
        ({"distance": pl.lit(1e9)}, "contract-broken", Refused),
        ({"depot": pl.lit("Mars")}, "contract-broken", Refused),
        ({"distance": pl.lit(float("nan"))}, "contract-broken", Refused),
        ({"weight": pl.lit(None, dtype=pl.Float64)}, "contract-broken", Refused),
    ],
)
def test_parts_that_do_not_fit(house: Workspace, changes: dict[str, Any], code: str, kind: Any) -> None:
    """Wrong types and broken contracts add nothing."""
    versions = house.data.list()
    error = error_of(
        lambda: house.data.add(DATASET, WORLD.parcels(200, 6).with_columns(**changes), partition="next"), kind
    )

    assert code == error.code
    assert versions == house.data.list()


def test_shipping_into_another_project(house: Workspace, tmp_path: Path) -> None:
    """The files of the user's own project win; an endpoint that it does not have is a Conflict."""
    file = tmp_path / "other.csv"
    file.write_text(table(), "utf-8")
    worlds.project(tmp_path)
    error = error_of(lambda: shipping.prepare(file, tmp_path, target="late", owner="anna"), Conflict)

    assert "other-project" == error.code
    assert worlds.PROJECT == (tmp_path / "stellwerk.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("pipeline", "kind", "code"),
    [
        ('"""Nothing in here."""\n', NotFound, "unknown-pipeline"),
        (
            "import stellwerk as sw\n\n\n@sw.pipeline\ndef parcels():\n    return sw.dataset('parcels')\n",
            Invalid,
            "no-model",
        ),
        ("this is not Python\n", StellwerkError, "pipeline-not-loadable"),
    ],
)
def test_projects_that_lack_what_they_declare(tmp_path: Path, pipeline: str, kind: Any, code: str) -> None:
    """Shipping ends before anything is proven: no model, no verdict, no release; the data stay."""
    file = tmp_path / "parcels.csv"
    file.write_text(table(), "utf-8")
    order = shipping.prepare(file, tmp_path, target="late", owner="anna", exclude=["parcel"])
    (tmp_path / "pipeline.py").write_text(pipeline, "utf-8")
    create(tmp_path, Settings(actor="anna"))
    with sw.connect(tmp_path, actor="anna") as house:
        with pytest.raises(kind) as caught:
            shipping.ship(house, order, file, tmp_path, say=lambda text: None)

        assert code == caught.value.code
        assert caught.value.hint or "pipeline.py" in caught.value.message
        assert ((), ()) == (house.models.list(), house.releases("parcels"))
        assert 300 == house.data.get("parcels").rows
        assert ((), ()) == (house.verify().findings, house.fsck())


def test_too_little_to_prove_is_a_verdict(tmp_path: Path) -> None:
    """Fifty rows, or hardly a late parcel among them: shipped up to the verdict, which is not clear, and no further."""
    file = tmp_path / "parcels.csv"
    WORLD.parcels(60, 5).with_columns(late=pl.int_range(pl.len()) < 2).write_csv(file)
    order = shipping.prepare(file, tmp_path, target="late", owner="anna", exclude=["parcel"])
    create(tmp_path, Settings(actor="anna"))
    with sw.connect(tmp_path, actor="anna") as house:
        shipped = shipping.ship(house, order, file, tmp_path, say=lambda text: None)

        assert "clear" != shipped.verdict.outcome
        assert shipped.release is None
        assert shipped.next_step
        assert "stop" == house.signal("parcels").signal


# The machine


def run_cli(folder: Path, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        worlds.command(folder, "--json", *words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "STELLWERK_ACTOR": worlds.OWNER, "STELLWERK_FAIL": fail, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    "fail",
    ["blob.open:full:1", "blob.write:full:1", "blob.fsync:full:1", "ledger.record:full:1", "ledger.commit:full:1"],
)
def test_a_full_disk(house: Workspace, folder: Path, tmp_path: Path, fail: str) -> None:
    """Exit code 8 with a hint, nothing added; with space again the same command succeeds."""
    file = tmp_path / "more.csv"
    name = f"full-{fail.partition(':')[0].replace('.', '-')}"
    file.write_text(WORLD.parcels(300, sum(map(ord, fail))).write_csv(), "utf-8")
    failed = run_cli(folder, "data", "add", name, str(file), fail=fail)
    told = json.loads(failed.stdout or failed.stderr.strip().splitlines()[-1])

    assert (8, "disk-full") == (failed.returncode, told["code"])
    assert told["hint"]
    assert name not in {version.name for version in house.data.list()}
    again = run_cli(folder, "data", "add", name, str(file))
    assert 0 == again.returncode, again.stderr
    assert name in {version.name for version in house.data.list()}


def test_a_second_server(folder: Path, house: Workspace) -> None:
    """Only one server runs on a workspace; the second says where the first one is, and does it no harm."""
    with worlds.server(folder) as url:
        second = run_cli(folder, "up", "--port", "0")
        status, _, _ = worlds.Client(url).post("/api/v1/views.board", {})

        assert 8 == second.returncode
        assert "server-running" in second.stdout + second.stderr
        assert url in second.stdout + second.stderr
        assert 200 == status
    assert not (folder / ".stellwerk" / "server.json").exists()


def test_requests_that_are_none(released: Path, house: Workspace) -> None:
    """Wrong bodies, unknown operations and unknown arguments are told apart; the server lives on."""
    with worlds.server(released) as url:
        client = worlds.Client(url)
        asked = [
            client.post("/api/v1/data.get", {"nam": DATASET}),
            client.post("/api/v1/data.get", {"name": 7}),
            client.post("/api/v1/data.get", []),
            client.post("/api/v1/no.such", {}),
            client.post(f"/predict/{ENDPOINT}", {"columns": {"distance": [1.0]}}),
            client.post("/predict/nobody", {"columns": {"distance": [1.0]}}),
        ]

        assert [422, 422, 422, 404, 403, 404] == [status for status, _, _ in asked]
        assert all(body["code"] and body["error"] for _, body, _ in asked)
        assert "name" in asked[0][1]["error"]


def test_damaged_workspaces_are_told(tmp_path: Path) -> None:
    """A folder that is none, a description that is none, a book that is gone: an error each, and no new book."""
    missing = error_of(lambda: sw.connect(tmp_path), NotFound)
    worlds.workspace(tmp_path).close()
    database = tmp_path / ".stellwerk" / "ledger.db"
    database.rename(tmp_path / "elsewhere.db")
    gone = error_of(lambda: sw.connect(tmp_path), NotFound)

    assert "no-workspace" == missing.code
    assert gone.code == "not-found"
    assert not database.exists()
    (tmp_path / "elsewhere.db").rename(database)
    (tmp_path / ".stellwerk" / "format.json").write_text("{}", "utf-8")
    with pytest.raises(StellwerkError) as caught:
        sw.connect(tmp_path)
    assert "corrupt-workspace" == caught.value.code
    with pytest.raises(Unavailable):
        sw.connect("http://127.0.0.1:9/")
