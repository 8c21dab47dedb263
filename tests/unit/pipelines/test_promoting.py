"""Cells that become steps: what goes in and out of them, what stands in the way, and the file they are written to."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Conflict, Invalid
from stellwerk.pipelines import promoting

BEFORE = [
    "import polars as pl\nfrom math import sqrt, pi",
    "%matplotlib inline\ndepth = 4",
    "def half(x):\n    return x / 2\n\ndef quarter(x):\n    return half(half(x))",
    "table = pl.DataFrame()",
]


def draft(
    cell: str, *outputs: str, known: str = "pl sqrt pi depth half quarter table", **constants: Any
) -> promoting.Draft:
    """A step made of a cell behind `BEFORE`."""
    return promoting.draft(
        cell,
        name="work",
        kind="train",
        before=BEFORE,
        known=known.split(),
        constants=constants,
        outputs=outputs,
    )


@pytest.mark.parametrize(
    ("text", "reads", "makes", "changes"),
    [
        ("x = x + 1", "x", "x", ""),
        ("x = 1\ny = x", "", "x y", ""),
        ("x += 1", "x", "x", ""),
        ("for i in r:\n    s = i", "r", "i s", ""),
        ("y = [i for i in z if i > k]", "k z", "y", ""),
        ("def f(a, b=c):\n    return a + g + f(1)\ny = f(1)", "c g", "f y", ""),
        ("t['a'] = 1\nu = {}\nu['b'] = 2", "t", "u", "t"),
        ("t.fit(X)\nmade.sort()", "X made t", "", "t made"),
        ("del t", "t", "", "t"),
        ("import a.b as c, d.e\nc(d)", "", "c d", ""),
        ("try:\n    f()\nexcept E as e:\n    print(e)", "E f print", "e", ""),
        ("with open(p) as file:\n    x = file.read()", "open p", "file x", ""),
        ("if (n := len(v)) > 1:\n    n", "len v", "n", ""),
        ("f'{a} {b!r}'", "a b", "", ""),
    ],
)
def test_what_goes_in_and_out_is_told_by_the_text(text: str, reads: str, makes: str, changes: str) -> None:
    """In the order in which it happens, through functions and comprehensions."""
    found = promoting.flow(text)

    assert (reads.split(), makes.split(), changes.split()) == (
        [*found.reads],
        [*found.makes],
        [*found.changes],
    )


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%time x = 1", "line 1 is for IPython"),
        ("x = 1\n!ls", "line 2 is for IPython"),
        ("table?", "line 1 is for IPython"),
        ("x = (", "no Python"),
        ("x = await f()", "asynchronous"),
        ("from math import *", "imports everything"),
        ("x = eval('1')", "calls eval"),
        ("x = unknown", "nothing defines unknown"),
        ("x = 1\ntable['a'] = x", "changes table in place"),
        ("def f():\n    global depth\n    depth = 1\nx = 1", "changes what depth means"),
        ("x = 2", "makes no y"),
    ],
)
def test_what_cannot_be_followed_is_refused(cell: str, why: str) -> None:
    """With the line or the name that is in the way."""
    with pytest.raises(Invalid, match=why) as refused:
        draft(cell, "y" if "no y" in why else "x")
    assert "cell-not-traceable" == refused.value.code


def test_a_helper_that_reads_a_variable_is_refused() -> None:
    """A step's file would not have it."""
    with pytest.raises(Invalid, match="scaled reads the variable table"):
        promoting.draft(
            "y = scaled(1)", name="work", kind="step", before=["table = 1\ndef scaled(x):\n    return x * table"],
            known=["table", "scaled"], constants={}, outputs=["y"],
        )  # fmt: skip


def test_a_cell_becomes_a_function(tmp_path: Path) -> None:
    """Imports and helpers come along, values are arguments, plain ones with what the notebook says; comments stay."""
    step = draft("# a comment\nroot = sqrt(quarter(table.height))\ntext = '''one\ntwo'''", "root", "text", depth=4)

    text = promoting.merged("", step)

    assert (
        '"""Steps that were cells of notebooks."""\n\n'
        "from math import sqrt\n"
        "import stellwerk as sw\n\n\n"
        "def half(x):\n    return x / 2\n\n\n"
        "def quarter(x):\n    return half(half(x))\n\n\n"
        '@sw.step(kind="train", outputs=("root", "text"))\n'
        "def work(table):\n"
        "    # a comment\n    root = sqrt(quarter(table.height))\n    text = '''one\ntwo'''\n"
        '    return {"root": root, "text": text}\n'
    ) == text
    assert "def work(table, depth: int = 4):" in draft("x = [table] * depth", "x", depth=4).text
    assert "def work(table):" in draft("table['x'] = 1", "table").text


def test_a_file_keeps_what_else_it_holds() -> None:
    """A step of the same name is replaced where that is wanted, and refused where not."""
    head = '"""Mine."""\n\nimport stellwerk as sw\n\nLIMIT = 3\n'
    old = f"{head}\n\n@sw.step\ndef work():\n    return 1\n\n\ndef other():\n    pass\n"
    step = draft("x = table", "x")

    with pytest.raises(Conflict, match="defines work already"):
        promoting.merged(old, step)
    text = promoting.merged(old, step, replace=True)

    assert (
        ["LIMIT", "other", "work"]
        == sorted(
            getattr(node, "name", None) or node.targets[0].id  # type: ignore[attr-defined]
            for node in ast.parse(text).body[2:]
        )
    )
    assert text.startswith(head)
    assert text == promoting.merged(text, step, replace=True)
