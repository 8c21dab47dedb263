"""Notebooks as code: what counts of them, what they name, and what may be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines import notebooks
from stellwerk.pipelines.authoring import Pipeline
from stellwerk.pipelines.authoring.notebooks import notebook


def document(*texts: str, tags: dict[int, str] | None = None) -> dict[str, Any]:
    """A notebook of these cells; tags by their number from 0."""
    made = notebooks.document(texts)
    for place, tag in (tags or {}).items():
        made["cells"][place]["metadata"]["tags"] = [tag]
    return made


def cells(*texts: str, tags: dict[int, str] | None = None) -> tuple[notebooks.CodeCell, ...]:
    return notebooks.read(json.dumps(document(*texts, tags=tags)).encode(), "a.ipynb")


def test_only_code_counts() -> None:
    """Neither comments and formatting, nor texts, outputs, numbers, empty cells; any other change does."""
    made = document("a = 1", "print( a )")
    other = document("# one\na   =  1", "", "print(a)  # it")
    other["cells"].insert(0, {"cell_type": "markdown", "source": "# Title", "metadata": {}})
    other["cells"][1] |= {"execution_count": 7, "outputs": [{"output_type": "stream", "text": "x"}]}
    read = [notebooks.code(notebooks.read(json.dumps(one).encode(), "n")) for one in (made, other)]

    assert read[0] == read[1] == ["a = 1", "print(a)"]
    assert read[0] != notebooks.code(cells("a = 2", "print(a)"))
    assert notebooks.code(cells("%time f( 1 )\n# no\n!ls")) == ["%time f( 1 )\n!ls"]


@pytest.mark.parametrize(
    "text",
    [
        "%%writefile rates.txt\n# rate {}\n",
        "%%bash\necho a\n\n\n# {}\n",
        "%time f()\nNOTE = '''\n# {}\n'''\nprint(NOTE)",
        "!ls {}\nprint(1)",
        "files = !ls\nTEXT = '''\n# {}\n'''",
    ],
)
def test_what_is_no_comment_of_python_counts(text: str) -> None:
    """In cells for other programs, and in texts beside lines for IPython."""
    one, again, other = (notebooks.code(cells(text.format(what))) for what in ("a", "a", "b"))

    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "is no notebook"),
        (b'{"nbformat": 3}', "format 3"),
        (b'{"nbformat": 4, "cells": 1}', "is no notebook"),
        (b'{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "'R'"),
        (b"[" * 100_000, "is no notebook"),
    ],
)
def test_what_is_no_notebook_is_refused(data: bytes, why: str) -> None:
    """With what it is instead."""
    with pytest.raises(Invalid, match=why):
        notebooks.read(data, "a.ipynb")


def test_modules_and_files_that_are_named_come_along(tmp_path: Path) -> None:
    """Through modules that import modules, in packages too; texts that are no paths of files are texts."""
    (tmp_path / "deep").mkdir()
    for name, text in {
        "tools.py": "import deep.inner  # why\n", "deep/__init__.py": "", "deep/inner.py": "from . import more\n",
        "deep/more.py": "X = 'data.csv'\n", "unused.py": "", "data.csv": "x\n", "other.csv": "x\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text, "utf-8")

    found = notebooks.modules(["%matplotlib inline\nimport tools, numpy"], tmp_path)

    assert ["deep/__init__.py", "deep/inner.py", "deep/more.py", "tools.py"] == list(found)
    assert "import deep.inner" == found["tools.py"]
    texts = ["open('other.csv')", "'../data.csv', '/etc/passwd', 'no.csv', 'tools.py', 'a' * 3, 'x\\x00'"]
    assert ["data.csv", "other.csv"] == notebooks.named_files([*texts, *found.values()], tmp_path)


@pytest.mark.parametrize(
    ("texts", "tags", "expected"),
    [
        (["import a\ndepth = 1\nname = 'x'"], {}, {"depth": 1, "name": 1}),
        (["depth = 1\nf(depth)"], {}, {}),
        (["depth = 1", "depth = 2"], {}, {}),
        (["depth = 1\nf(depth)", "rate = 2"], {0: "parameters"}, {"depth": 1}),
        (["x = f()"], {}, {}),
    ],
)
def test_what_is_set_in_a_cell_of_its_own_can_be_given(
    texts: list[str], tags: dict[int, str], expected: dict[str, int]
) -> None:
    """So that what is given comes before it is used, and is not set again."""
    assert expected == notebooks.settable(cells(*texts, tags=tags))


def test_given_values_stand_behind_what_they_replace() -> None:
    """And nothing else of the notebook is changed; what is kept is the notebook again."""
    made = notebooks.prepared(document("depth = 1", "print(depth)"), {"depth": 4}, "first", "last")

    assert ["first", "depth = 1", "depth = 4", "print(depth)", "last"] == [one["source"] for one in made["cells"]]
    made["metadata"]["papermill"] = {"start_time": "now"}
    kept = json.loads(notebooks.executed(made))
    assert ["depth = 1", "depth = 4", "print(depth)"] == [one["source"] for one in kept["cells"]]
    assert "papermill" not in kept["metadata"]


def test_outputs_are_found_in_the_code() -> None:
    """Where they are given by their names."""
    texts = ["sw.output('score', 1)\nstellwerk.output('model', m)", "sw.output(name, 1)\nx.output('no', 1)"]
    assert ["score", "model"] == notebooks.given_outputs(texts)


def plan(folder: Path, **options: Any) -> Any:
    """The only node of a pipeline of a notebook."""
    made = Pipeline(lambda: notebook("a.ipynb", folder=folder, **options)["notebook"], "one").plan()
    return next(node for node in made.nodes if node.function == "builtin:notebook")


def test_a_notebook_is_a_node_that_any_executor_can_run(tmp_path: Path) -> None:
    """Its code is in the plan, its files are inputs, and no path of this machine is anywhere."""
    (tmp_path / "a.ipynb").write_text(json.dumps(document("depth = 1", "open('b.csv')  # it")), "utf-8")
    (tmp_path / "b.csv").write_text("x", "utf-8")

    node = plan(tmp_path, params={"depth": 2}, outputs=("score",), timeout="5m", kind="train")

    assert ["depth = 1", "open('b.csv')"] == node.params["cells"]
    assert ({"depth": 2}, ["b.csv"]) == (node.params["params"], node.params["paths"])
    assert (("score", "notebook"), "5m", "train", "a") == (node.outputs, node.timeout, node.kind, node.step)
    assert str(tmp_path) not in json.dumps(node.params)
    assert ["files[0]"] == list(node.inputs)


def test_what_does_not_fit_is_refused_while_planning(tmp_path: Path) -> None:
    """With what was expected."""
    (tmp_path / "a.ipynb").write_text(json.dumps(document("depth = 1")), "utf-8")
    for options, why in (
        ({"params": {"dept": 2}}, "sets no 'dept'.*did you mean 'depth'"),
        ({"depht": 2}, "argument 'depht' of a.ipynb is unknown"),
        ({"outputs": "score"}, "outputs are 'score'"),
        ({"outputs": ("notebook",)}, "'notebook' is no name"),
        ({"inputs": {"path": 1}}, "'path' is no name"),
        ({"timeout": "soon"}, "duration"),
    ):
        with pytest.raises(Invalid, match=why):
            plan(tmp_path, **options)
    with pytest.raises(NotFound, match="there is no notebook"):
        Pipeline(lambda: notebook("b.ipynb", folder=tmp_path)["notebook"], "one").plan()
    with pytest.raises(Invalid, match="only works inside a pipeline"):
        sw.notebook("a.ipynb", folder=tmp_path)


def test_an_output_outside_of_a_step_is_the_value() -> None:
    """So that the notebook runs by hand as well."""
    assert 3 == sw.output("anything", 3)
