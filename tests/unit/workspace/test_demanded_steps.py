"""Policies that demand kinds of steps: what ran for a model, on the way to it or beside it, in the newest of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.testing import worlds
from stellwerk.workspace.facade import Workspace

POLICY = 'policy = ["base@1", "steps@1(split, train, test)"]'
TEST = '''

@sw.step(kind="test", cache=False)
def unit(model: sw.Model) -> bool:
    """A test of the model."""
    assert GOOD, "not good"
    return True
'''


def outcomes(live: Workspace) -> dict[str, str]:
    verdict = live.prove(worlds.ENDPOINT)
    return {reason.check: reason.outcome for reason in verdict.reasons if reason.check.startswith("step:")}


def run_with_test(live: Workspace, folder: Path, good: bool) -> None:
    tested = worlds.PIPELINE.replace("@sw.pipeline", f"GOOD = {good}\n{TEST}\n@sw.pipeline")
    tested = tested.replace("    return sw.evaluate(train(parts", "    unit(model := train(parts")
    tested = tested.replace(
        'strength), parts["select"])', 'strength))\n    return sw.evaluate(model, parts["select"])'
    )
    file = folder / f"{'good' if good else 'bad'}.py"  # a file is loaded once by each process
    file.write_text(tested, "utf-8")
    live.run(find_pipelines(load(file))[worlds.ENDPOINT].plan())


def test_steps_are_demanded_by_a_policy(tmp_path: Path) -> None:
    """A step that nobody ran is unproven; it is proven once it ran beside the cached model, and fails once it failed."""
    with worlds.workspace(tmp_path) as live:
        file = tmp_path / "stellwerk.toml"
        file.write_text(file.read_text("utf-8").replace('deputy = "ben"', f'deputy = "ben"\n{POLICY}'), "utf-8")
        live.data.add(worlds.DATASET, worlds.World().parcels(1000, 1))
        live.data.confirm(worlds.DATASET)
        live.run(worlds.plan(tmp_path))
        live.declare(worlds.declared(tmp_path))

        without = live.prove(worlds.ENDPOINT)
        assert "unproven" == without.outcome
        assert {"step:split": "pass", "step:train": "pass", "step:test": "unproven"} == outcomes(live)

        with pytest.raises(Invalid, match="not good"):
            run_with_test(live, tmp_path, good=False)
        assert {"step:split": "pass", "step:train": "pass", "step:test": "fail"} == outcomes(live)

        run_with_test(live, tmp_path, good=True)
        assert {"step:split": "pass", "step:train": "pass", "step:test": "pass"} == outcomes(live)
        again = live.prove(worlds.ENDPOINT)
        assert ("clear", without.plan, 1) == (again.outcome, again.plan, again.attempt)
