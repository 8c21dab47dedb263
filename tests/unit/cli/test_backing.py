"""`init --database`, `migrate`, `backup` and `restore` as typed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli.main import main
from stellwerk.ledger import migrations
from stellwerk.testing.old import unpack
from stellwerk.testing.postgres import Server

OLD = Path(__file__).parents[2] / "compat" / "schema-1" / "workspace.tar.gz"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("STELLWERK_") and name != "STELLWERK_STATE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON of a command that ends well."""
    capsys.readouterr()
    assert 0 == main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_there_and_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was backed up is restored, verified; the words say that keys stay at home."""
    assert 0 == main(["init", "first"])
    assert 0 == main(["-w", "first", "backup", "monday.tar"])
    assert "keys" in capsys.readouterr().err
    told = shown(capsys, "restore", "monday.tar", "second")

    assert (2, False) == (told["entries"], told["keys"])
    assert 5 == main(["-w", "first", "backup", "monday.tar"])
    assert 5 == main(["restore", "monday.tar", "second"])
    assert 4 == main(["restore", "missing.tar", "third"])
    (here / "noise.tar").write_bytes(b"x" * 5000)
    assert 7 == main(["restore", "noise.tar", "third"])
    assert "Traceback" not in capsys.readouterr().err


def test_migrating(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An old workspace names the command; the dry run changes nothing; after it everything works."""
    unpack(OLD, here)

    assert 8 == main(["runs"])
    assert "stellwerk migrate" in capsys.readouterr().err
    planned = shown(capsys, "migrate", "--dry-run")
    assert ("1", migrations.CURRENT, "") == (planned["before"], planned["after"], planned["copy"])
    assert 8 == main(["runs"])
    done = shown(capsys, "migrate")
    assert (planned["steps"], "ledger.db-schema-1") == (done["steps"], done["copy"])
    assert 0 == main(["runs"])
    assert [] == shown(capsys, "migrate")["steps"]


def test_on_a_server(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, postgres: Server
) -> None:
    """The address comes from the environment, and is written nowhere."""
    url = postgres.new_database().replace("stellwerk@", "stellwerk:secret-word@")
    assert 2 == main(["init", "first", "--database", "postgresql"])
    assert 2 == main(["init", "first", "--database", "mysql://anna:secret-word@host/x"])
    monkeypatch.setenv("STELLWERK_DATABASE_URL", url)
    assert "postgresql" == shown(capsys, "init", "first", "--database", "postgresql")["database"]
    assert 0 == main(["-w", "first", "runs"])
    assert 0 == main(["-w", "first", "verify"])
    assert 5 == main(["init", "second", "--database", "postgresql"])
    assert 0 == main(["-w", "first", "backup", "kept.tar"])

    told = capsys.readouterr()
    assert "secret-word" not in told.out + told.err
    written = b"".join(file.read_bytes() for file in here.rglob("*") if file.is_file())
    assert b"secret-word" not in written
    monkeypatch.delenv("STELLWERK_DATABASE_URL")
    assert 2 == main(["-w", "first", "runs"])
    assert "STELLWERK_DATABASE_URL" in capsys.readouterr().err
