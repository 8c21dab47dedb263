"""What is loaded when: no table is overlooked because its room was not entered, and nothing is loaded for nothing."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from stellwerk.workspace import operations as ops
from stellwerk.workspace.calls import Operation


def told(program: str, folder: Path) -> Any:
    """What a program of its own prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_every_table_is_announced(tmp_path: Path) -> None:
    """Whoever collects garbage, copies or makes tables sees those that any module of ours defines."""
    found = told(
        """
        import importlib, json, pkgutil
        import stellwerk
        from stellwerk.ledger import roster, tables
        from stellwerk.workspace import shelving

        shelving.announce()
        names = roster.names()
        announced = sorted(tables.whole().tables)
        for module in pkgutil.walk_packages(stellwerk.__path__, "stellwerk.", onerror=print):
            if not any(part in module.name for part in ("__main__", ".testing", ".auto", ".frameworks.")):
                importlib.import_module(module.name)
        print(json.dumps([sorted(names), announced, sorted(tables.whole().tables)]))
        """,
        tmp_path,
    )

    assert found[0] == found[1] == found[2]
    assert "runs" in found[0]


@pytest.mark.parametrize(
    ("asked", "unneeded"),
    [
        ("rooms.executions", ("models", "monitoring", "evidence", "releases", "reviews", "triggers", "delivery")),
        ("rooms.registry", ("pipelines", "monitoring", "reviews", "triggers", "delivery")),
    ],
)
def test_a_room_that_is_not_entered_is_not_loaded(asked: str, unneeded: tuple[str, ...], tmp_path: Path) -> None:
    """Starting takes as long as what is used."""
    subprocess.run([sys.executable, "-m", "stellwerk", "init"], cwd=tmp_path, check=True, capture_output=True)

    found = told(
        f"""
        import json, sys
        from pathlib import Path
        from stellwerk.workspace.layout import find
        from stellwerk.workspace.rooms import Rooms
        from stellwerk.workspace.settings import Settings

        rooms = Rooms(find(Path()), Settings(actor="anna"))
        {asked}
        loaded = sorted({{name.split(".")[1] for name in sys.modules if name.startswith("stellwerk.")}})
        rooms.close()
        print(json.dumps(loaded))
        """,
        tmp_path,
    )

    assert set() == {*unneeded} & {*found}


def test_every_operation_is_found_by_its_name() -> None:
    """No module of operations is forgotten by who looks them all up, and those who check types see the same names."""
    names: set[str] = set()
    for module in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}."):
        for name, found in vars(importlib.import_module(module.name)).items():
            if isinstance(found, Operation):
                names.add(name)
                assert found is getattr(ops, name)
                assert found is ops.table()[found.name]
    said = re.findall(r"^    from [a-z_.]+ import (\w+) as \1$", Path(ops.__file__).read_text("utf-8"), re.MULTILINE)

    assert sorted(names) == sorted(said)
    assert len(names) == len(ops.table())
