"""Pipeline files are loaded once, under stable names, and their functions are found again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines.loading import find_pipelines, load, resolve

Write = Callable[..., ModuleType]

TEXT = """
from stellwerk.pipelines.authoring import pipeline, step

@step
def one(): return 1

@pipeline
def zeta(): return one()

@pipeline(name="alpha")
def other(): return one()
"""


def test_a_file_is_loaded_once(write: Write) -> None:
    """Loading again gives the same module, by whatever spelling of the path."""
    module = write(TEXT, name="loaded_once")
    file = Path(str(module.__file__))

    assert module is load(file)
    assert module is load(str(file.parent / ".." / file.parent.name / file.name))
    assert "loaded_once" == module.__name__


def test_siblings_can_be_imported(write: Write) -> None:
    """As they can from a script."""
    write("VALUE = 7\n", name="sibling_module", folder="same")
    sys.modules.pop("sibling_module")

    assert 7 == write("from sibling_module import VALUE\n", name="importer", folder="same").VALUE


def test_a_file_of_a_package_is_that_module(write: Write, tmp_path: Path) -> None:
    """So that its relative imports work."""
    package = tmp_path / "lib" / "flightpack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("VALUE = 7\n")
    (package / "flow.py").write_text("from .base import VALUE\n")

    module = load(package / "flow.py")

    assert ("flightpack.flow", 7) == (module.__name__, module.VALUE)


@pytest.mark.parametrize("name", ["json", "pytest", "numpy", "not-a-name"])
def test_a_name_that_is_taken_stays_whose_it_is(write: Write, name: str) -> None:
    """A file called like an installed module is loaded beside it, and called by its own stem in references."""
    before = sys.modules.get(name)
    module = write(TEXT, name=name)

    assert sys.modules.get(name) is before
    assert module.__name__.startswith(f"{name}__")
    assert f"{name}:one" == module.zeta().nodes[0].function
    assert module.one.function is resolve(f"{name}:one", str(module.__file__))


def test_two_files_of_one_name_are_two_modules(write: Write) -> None:
    """Each reference finds its own, because it carries the file."""
    first = write(TEXT)
    second = write(TEXT.replace("return 1", "return 2"))

    found = [resolve("pipeline:one", str(module.__file__))() for module in (first, second)]

    assert [1, 2] == found


def test_pipelines_are_found(write: Write) -> None:
    """Those that the module defines, as written, not those it imports."""
    module = write(TEXT, name="defining", folder="found")
    other = write("from defining import zeta\n" + TEXT.replace("zeta", "gamma"), name="using", folder="found")

    assert ["zeta", "alpha"] == list(find_pipelines(module))
    assert ["gamma", "alpha"] == list(find_pipelines(other))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import json\n\nraise ValueError('no data')\n", ["line 3", "ValueError: no data"]),
        ("def broken(:\n", ["SyntaxError"]),
        ("import no_such_module_anywhere\n", ["No module named 'no_such_module_anywhere'"]),
        ("raise SystemExit(2)\n", ["SystemExit"]),
    ],
)
def test_a_broken_file_is_told(write: Write, tmp_path: Path, text: str, words: list[str]) -> None:
    """With the user's own traceback, and it can be loaded again once it is mended."""
    with pytest.raises(Invalid) as refused:
        write(text, name="mended", folder="broken")

    assert "pipeline-not-loadable" == refused.value.code
    assert all(word in refused.value.message for word in words)
    assert "importlib" not in refused.value.message
    assert str(tmp_path) not in refused.value.message

    assert 1 == write("VALUE = 1\n", name="mended", folder="broken").VALUE


@pytest.mark.parametrize("option", ["retries=-1", "outputs=()", "kind='a b'"])
def test_what_is_refused_in_a_file_has_a_place(write: Write, option: str) -> None:
    """The file and the line of the step, not only the option."""
    with pytest.raises(Invalid) as refused:
        write(
            f"from stellwerk.pipelines.authoring import step\n\n@step({option})\ndef one(): return 1\n",
            name="placed",
            folder="placed",
        )

    assert "placed.py, line 3" in refused.value.hint


def test_other_files_are_refused(tmp_path: Path) -> None:
    """What is missing, and what is no Python file."""
    (tmp_path / "notes.txt").write_text("x")

    with pytest.raises(NotFound) as missing:
        load(tmp_path / "missing.py")
    with pytest.raises(Invalid) as wrong:
        load(tmp_path / "notes.txt")

    assert "no-such-file" == missing.value.code
    assert "not-a-pipeline-file" == wrong.value.code


@pytest.mark.parametrize("function", ["json:no_such", "no_such_module_anywhere:f", "json:decoder", "json:loads.x"])
def test_unknown_functions_are_not_found(function: str) -> None:
    """Nothing else is called instead."""
    with pytest.raises(NotFound) as missing:
        resolve(function)

    assert "step-not-importable" == missing.value.code


def test_a_running_script_is_called_by_its_stem(tmp_path: Path) -> None:
    """So that a child process, and another day's run, find the same function."""
    file = tmp_path / "my_script.py"
    file.write_text(
        textwrap.dedent(
            """
            from stellwerk.pipelines.authoring import pipeline, step
            from stellwerk.pipelines.loading import resolve

            @step
            def one(): return 1

            @pipeline
            def flow(): return one()

            if __name__ == "__main__":
                node = flow().nodes[0]
                print(node.function, resolve(node.function, node.file) is one.function)
            """
        )
    )

    said = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True)

    assert "my_script:one True\n" == said.stdout
