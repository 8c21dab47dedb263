"""Files, runs and models of a workspace."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.testing import worlds
from stellwerk.testing.workspaces.data import Data
from stellwerk.testing.workspaces.life import Life
from stellwerk.testing.worlds import ENDPOINT
from stellwerk.workspace.facade import Workspace


class Runs(Data):
    """What ran is found, and what it made has a name."""

    def test_files_are_versions_too(self, data: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder is kept, compared, brought back, listed and read in parts, wherever the workspace is."""
        monkeypatch.setenv("HOME", str(tmp_path))
        images = tmp_path / "pictures"
        (images / "train").mkdir(parents=True)
        (images / "train" / "cat.bin").write_bytes(bytes(range(256)) * 20)
        (images / "table.csv").write_text("a,b\n1,2\n3,4\n")

        first = data.data.add_files(images)
        again = data.data.add_files(images)
        (images / "table.csv").write_text("a,b\n1,2\n3,5\n")
        (changed,) = data.data.status(images)
        second = data.data.add_files(images)
        diff = data.data.changes("pictures@1", "pictures@2")
        data.data.checkout(images, version=1)
        with data.data.open("pictures@2", "train/cat.bin") as file:
            file.seek(-6, 2)
            tail = file.read(4)
        data.data.fetch("pictures@2", "table.csv", tmp_path / "got.csv")

        assert (1, 1, 2) == (first.version.version, again.version.version, second.version.version)
        assert ("changed", 1) == (changed.state, changed.changed)
        assert [("table.csv", "changed")] == [(one.path, one.change) for one in diff.changes]
        assert [("table.csv", 1, 1)] == [(path, t.rows_added, t.rows_removed) for path, t in diff.tables]
        assert "a,b\n1,2\n3,4\n" == (images / "table.csv").read_text()
        assert ["same"] == [one.state for one in data.data.status(images)]
        assert bytes([250, 251, 252, 253]) == tail
        assert "a,b\n1,2\n3,5\n" == (tmp_path / "got.csv").read_text()
        assert ["table.csv", "train/cat.bin"] == [entry.path for entry in data.data.files("pictures")]
        assert [1, 2] == [version.version for version in data.data.log("pictures")]

    def test_the_second_run_executes_nothing(self, life: Life, data: Workspace) -> None:
        """Every step is found under its key, the model has the same bytes and the same version."""
        assert (False, True) == (life.first.cached, life.second.cached)
        assert life.first.model == life.second.model
        assert life.first.evaluation == life.second.evaluation
        assert life.first.evaluation["metrics"]["auroc"] > 0.8
        assert {"finished"} == {run.status for run in data.runs(experiment=ENDPOINT, limit=100)}

    def test_runs_are_found(self, life: Life, data: Workspace) -> None:
        """By experiment and parent, newest first; the page of a run shows its steps as a graph."""
        parents = [run for run in data.runs(experiment=ENDPOINT) if run.parent is None]
        page = data.run_page(life.first.run.id)
        steps = {child.name for child in page.children}

        assert [life.second.run.id, life.first.run.id] == [run.id for run in parents]
        assert {"train", "split", "evaluate", "register"} <= steps
        assert len(page.children) == len(data.runs(parent=life.first.run.id))
        assert len(page.children) == len(page.graph.nodes)
        assert page.graph.edges
        assert dict(page.outputs)["model"] == life.first.model.digest

    def test_runs_are_found_by_what_they_logged(self, life: Life, data: Workspace) -> None:
        """By conditions and in an order, in pages; a wrong condition says what was expected."""
        auroc = life.first.evaluation["metrics"]["auroc"]
        asked = f"metrics.auroc >= {auroc!r} AND parent IS NULL AND experiment = '{ENDPOINT}' AND status = 'FINISHED'"
        found = [run.id for run in data.runs(asked, order=["start_time", "run_id"])]

        assert [life.first.run.id, life.second.run.id] == found
        assert found[1:] == [run.id for run in data.runs(asked, order=["start_time", "run_id"], limit=1, offset=1)]
        assert () == data.runs(f"metrics.auroc > {auroc!r} AND parent IS NULL")
        assert {"train"} == {run.kind for run in data.runs("attributes.kind = 'train'")}
        with pytest.raises(Invalid) as caught:
            data.runs("metrics.auroc >")
        assert "invalid-filter" == caught.value.code

    def test_models_are_named(self, life: Life, data: Workspace) -> None:
        """By name, version, alias and digest; an alias moves."""
        alias = data.models.alias(ENDPOINT, "champion", 1)
        names = (ENDPOINT, f"{ENDPOINT}@1", f"{ENDPOINT}@champion", f"{ENDPOINT}@latest", life.first.model.digest)

        assert (ENDPOINT, "champion", 1) == (alias.name, alias.alias, alias.version)
        assert {life.first.model.digest} == {data.models.get(name).digest for name in names}
        assert [life.first.model] == [item for item in data.models.list() if item.name == ENDPOINT]
        assert ("distance", "weight", "depot") == tuple(c.name for c in life.first.model.signature.inputs)

    def test_who_moved_which_alias_when(self, life: Life, data: Workspace, place: Path) -> None:
        """Moves are told in order, what an alias meant is found by time, and what was taken away is gone."""
        clock, second = worlds.clock(place), timedelta(seconds=1)
        before = data.now()
        clock.set(before + second)
        data.models.alias(ENDPOINT, "canary", 1)
        clock.set(before + 3 * second)
        gone = data.models.unalias(ENDPOINT, "canary")
        moves = data.models.history(ENDPOINT, "canary")

        assert ("canary", 1) == (gone.alias, gone.version)
        assert [(None, 1, before + second), (1, None, before + 3 * second)] == [
            (move.before, move.version, move.at) for move in moves
        ]
        assert 1 == len({move.by for move in moves})
        assert "canary" not in {alias.alias for alias in data.models.aliases(ENDPOINT)}
        for at in (1, 2):
            assert life.first.model == data.models.get(f"{ENDPOINT}@canary", as_of=before + at * second)
        for name, at in (("canary", 0), ("canary", 3), ("never", 2), ("99", 2)):
            with pytest.raises(NotFound):
                data.models.get(f"{ENDPOINT}@{name}", as_of=before + at * second)
        with pytest.raises(NotFound):
            data.models.get(f"{ENDPOINT}@canary")
        made = life.first.model.created_at
        assert 1 == data.models.get(ENDPOINT, as_of=made).version
        with pytest.raises(NotFound):
            data.models.get(ENDPOINT, as_of=made - second)

    def test_another_strength_is_another_model(self, life: Life, data: Workspace, place: Path) -> None:
        """Only what depends on the changed parameter runs again; a comparison names the parameter."""
        ran = data.run(worlds.plan(place, strength=0.01))
        executed = {task.task for task in ran.report.tasks if task.status != "cached"}
        found = data.models.compare(f"{ENDPOINT}@1", f"{ENDPOINT}@2")
        different = {row.what for row in found.differences if not row.equal}

        assert 2 == ran.model.version if ran.model else None
        assert {"train", "evaluate"} == executed
        assert {"model bytes", "train strength"} <= different
        assert "data" not in different
