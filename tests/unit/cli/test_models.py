"""`models` and `alias` as typed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli.main import main
from stellwerk.testing import worlds


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two versions of a model, made a day apart."""
    folder = worlds.project(tmp_path_factory.mktemp("models"))
    with worlds.workspace(folder) as live:
        live.data.add(worlds.DATASET, worlds.World().parcels(400, 1))
        live.data.confirm(worlds.DATASET)
        live.run(worlds.plan(folder))
        worlds.clock(folder).set(live.now() + timedelta(days=1))
        live.run(worlds.plan(folder, strength=0.01))
    return folder


def test_an_alias_is_moved_and_its_past_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first move to the last, with what it meant in between."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("STELLWERK_ACTOR", worlds.OWNER)

    def shown(*words: str) -> Any:
        assert 0 == main([*words, "--json"])
        return json.loads(capsys.readouterr().out)

    now = worlds.clock(home).now()
    shown("alias", "tardy@1", "champion")
    worlds.clock(home).set(now + timedelta(days=2))
    assert 2 == shown("alias", "tardy", "champion")["version"]
    assert 0 == main(["models", "tardy"])
    table = capsys.readouterr().out
    then = (now + timedelta(days=1)).strftime("%Y-%m-%d")

    for line in ("tardy@2  champion", "champion  1     2", "champion  –     1"):
        assert line in table
    assert 1 == shown("models", "tardy@champion", "--as-of", then)["version"]
    assert 2 == shown("models", "tardy@champion")["version"]
    shown("alias", "tardy@champion", "--remove")
    assert 4 == main(["models", "tardy@champion"])
    assert [None, 2, 1] == [move["version"] for move in reversed(shown("models", "tardy")["history"])]
    assert 2 == main(["alias", "tardy@1", "7"])
