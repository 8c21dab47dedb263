"""What counts as a step's code, and what does not."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.closure import closure, difference
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import Closure

Write = Callable[..., ModuleType]

PIPELINE = """
import functools
import logging
import math
import re
from dataclasses import dataclass
from enum import Enum
from math import floor as rounded

import numpy as np

from stellwerk.pipelines.authoring import step

DEPTH = 6
OPTIONS = {"rate": 0.1, "layers": [1, 2]}
PATTERN = re.compile("[a-z]+")
LOG = logging.getLogger("pipeline")
UNUSED = 1


class Mode(Enum):
    FAST = 1
    SLOW = 2


@dataclass
class Settings:
    size: int = 3

    def area(self):
        return self.size * SCALE


SCALE = 2
SETTINGS = Settings(size=4)


def clean(value):
    return value + math.floor(DEPTH)


def deep(value):
    return clean(value)


@functools.lru_cache
def cached(value):
    return value + OPTIONS["rate"]


def traced(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        LOG.info("called")
        return function(*args, **kwargs)

    return wrapper


@traced
def marked(value):
    return value


CHOICES = {"marked": marked, "half": lambda value: value / 2}


def unused(value):
    return value - 1


@step(kind="train", retries=1)
def train(table, mode=Mode.FAST, size=SETTINGS.size):
    import json

    found = PATTERN.match(table)
    picked = CHOICES["half"](deep(1))
    return [rounded(cached(2)), SETTINGS.area(), np.mean([1]), mode, found, picked, json]
"""


def digest(write: Write, text: str, name: str = "train") -> str:
    return str(closure(getattr(write(text), name)).digest)


def test_it_names_its_parts(write: Write) -> None:
    """What the step reaches in the project, and nothing else."""
    parts = dict(closure(write(PIPELINE).train).parts)

    assert [
        "pipeline:<lambda>",
        "pipeline:CHOICES",
        "pipeline:DEPTH",
        "pipeline:LOG",
        "pipeline:Mode",
        "pipeline:OPTIONS",
        "pipeline:PATTERN",
        "pipeline:SCALE",
        "pipeline:SETTINGS",
        "pipeline:Settings",
        "pipeline:cached",
        "pipeline:clean",
        "pipeline:deep",
        "pipeline:marked",
        "pipeline:traced",
        "pipeline:traced.<locals>.wrapper",
        "pipeline:train",
    ] == sorted(parts)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("DEPTH = 6", "DEPTH = 7", "pipeline:DEPTH changed"),
        ('"rate": 0.1', '"rate": 0.2', "pipeline:OPTIONS changed"),
        ("[1, 2]", "[2, 1]", "pipeline:OPTIONS changed"),
        ("[a-z]+", "[a-z]*", "pipeline:PATTERN changed"),
        ('getLogger("pipeline")', 'getLogger("other")', "pipeline:LOG changed"),
        ("FAST = 1", "FAST = 3", "pipeline:Mode changed"),
        ("SCALE = 2", "SCALE = 3", "pipeline:SCALE changed"),
        ("size=4", "size=5", "pipeline:SETTINGS changed"),
        ("self.size * SCALE", "self.size + SCALE", "pipeline:Settings changed"),
        ("value + math.floor", "value - math.floor", "pipeline:clean changed"),
        ("math.floor(DEPTH)", "math.ceil(DEPTH)", "pipeline:clean changed"),
        ("floor as rounded", "ceil as rounded", "pipeline:train changed"),
        ('LOG.info("called")', 'LOG.info("used")', "pipeline:traced.<locals>.wrapper changed"),
        ("@traced\n", "", "pipeline:traced removed"),
        ("lambda value: value / 2", "lambda value: value / 3", "pipeline:<lambda> changed"),
        ("mode=Mode.FAST", "mode=Mode.SLOW", "pipeline:train changed"),
        ("    import json", "    import pickle as json", "pipeline:train changed"),
    ],
)
def test_what_the_step_reaches_counts(write: Write, old: str, new: str, changed: str) -> None:
    """A change of a helper, a class, a constant or an import changes the digest, and the parts say which."""
    assert old in PIPELINE
    before = closure(write(PIPELINE).train)
    after = closure(write(PIPELINE.replace(old, new)).train)

    assert before.digest != after.digest
    assert changed in difference(before, after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNUSED = 1", "UNUSED = 2"),
        ("value - 1", "value - 2"),
        ("retries=1", "retries=5, timeout='10m'"),
        ("def unused(value)", "def renamed(value)"),
        ("\n\n\n", "\n\n"),
        ("return value + math.floor(DEPTH)", "return ( value\n        + math.floor( DEPTH ) )  # why"),
        ("def deep(value):\n", 'def deep(value):\n    """Goes deep."""\n'),
        ("class Mode(Enum):\n", 'class Mode(Enum):\n    """How."""\n\n'),
        ('PATTERN = re.compile("[a-z]+")', "PATTERN = re.compile('[a-z]' + '+')"),
        ("DEPTH = 6", "DEPTH = 2 * 3"),
        ("import numpy as np", "import numpy as np\nimport os"),
    ],
)
def test_what_does_not_matter_does_not_count(write: Write, old: str, new: str) -> None:
    """Formatting, comments, docstrings, options of `@step`, and code that the step does not reach."""
    assert old in PIPELINE

    assert digest(write, PIPELINE) == digest(write, PIPELINE.replace(old, new))


LINES = [
    "K = 3",
    "def helper(x):",
    "    y = x + K",
    "    return [y, 'text', 1_000]",
    "def step(a, b=2):",
    "    if a:",
    "        return helper(b)",
    "    return helper(a)",
]
FREE = st.lists(st.sampled_from(["", "", "# note", "#!§ ü", "   "]), min_size=len(LINES), max_size=len(LINES))
TRAIL = st.lists(st.sampled_from(["", "  # why", "   "]), min_size=len(LINES), max_size=len(LINES))
SAME = {
    "y = x + K": ["y = x+K", "y = (x + K)", "y = x \\\n        + K", "y = (x\n\n # inside\n + K)"],
    "[y, 'text', 1_000]": ['[y, "text", 1000]', "[\n        y,\n        'te' 'xt',\n        1000,\n    ]"],
    "def helper(x):": ['def helper(x):\n    """Adds.\n\n    Twice.\n    """', "def helper(\n    x\n):"],
}
OTHER = [
    ("K = 3", "K = 4"),
    ("K = 3", "K = 3.0"),
    ("x + K", "x - K"),
    ("1_000", "1_001"),
    ("'text'", "b'text'"),
    ("b=2", "b=1"),
    ("if a", "if not a"),
    ("return helper(a)", "return a"),
]
_numbers = itertools.count()


def _closure_of(text: str) -> Closure:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "formatted.py"
        path.write_text(text, "utf-8")
        try:
            module = load(path)
            return closure(module.step)
        finally:
            sys.path[:] = [entry for entry in sys.path if entry != folder]
            for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(folder)]:
                del sys.modules[name]


def _written(above: list[str], behind: list[str], picks: dict[str, str]) -> str:
    lines = []
    for over, line, after in zip(above, LINES, behind, strict=True):
        for old, new in picks.items():
            line = line.replace(old, new)
        lines += [over, line if "\n" in line or line.endswith("\\") else line + after]
    return "\n".join(lines) + "\n"


PLAIN = _closure_of("\n".join(LINES))


@settings(deadline=None, max_examples=60)
@given(
    above=FREE,
    behind=TRAIL,
    picks=st.fixed_dictionaries({old: st.sampled_from([old, *new]) for old, new in SAME.items()}),
)
def test_formatting_never_counts(above: list[str], behind: list[str], picks: dict[str, str]) -> None:
    """Law: however the same code is written, its digest is the same."""
    assert PLAIN == _closure_of(_written(above, behind, picks))


@settings(deadline=None, max_examples=60)
@given(above=FREE, behind=TRAIL, change=st.sampled_from(OTHER))
def test_meaning_always_counts(above: list[str], behind: list[str], change: tuple[str, str]) -> None:
    """Law: other code has another digest, however it is written."""
    assert PLAIN.digest != _closure_of(_written(above, behind, dict([change]))).digest


def test_constants_count_by_value(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text with another value, read from outside, is another constant."""
    text = "import os\nSIZE = int(os.environ['SIZE'])\ndef train():\n    return SIZE\n"
    monkeypatch.setenv("SIZE", "1")
    before = digest(write, text)
    monkeypatch.setenv("SIZE", "2")

    assert before != digest(write, text)


def test_other_modules_of_the_project_count(write: Write) -> None:
    """Functions are followed into sibling files, by whatever kind of import; unused parts of them are not."""
    helper = "FACTOR = {factor}\ndef clean(x):\n    return x * FACTOR\ndef other(x):\n    return {other}\n"
    for number, use in enumerate(
        [
            "from {m} import clean\ndef train(x):\n    return clean(x)\n",
            "import {m}\ndef train(x):\n    return {m}.clean(x)\n",
            "import {m} as h\nclass Train:\n    def go(self, x):\n        return h.clean(x)\n"
            "def train(x):\n    return Train().go(x)\n",
        ]
    ):

        def made(factor: int, other: int, number: int = number, use: str = use) -> str:
            name = f"helper_{number}"
            folder = f"f{number}{factor}{other}"
            write(helper.format(factor=factor, other=other), name=name, folder=folder)
            result = digest(write, use.format(m=name))
            sys.modules.pop(name)
            return result

        assert made(1, 1) == made(1, 2)
        assert made(1, 1) != made(2, 1)


def test_imports_inside_a_function_count_whether_loaded_or_not(write: Write) -> None:
    """The key must not depend on whether a step ran before in this process."""
    write("def clean(x):\n    return x\n", name="late_helper", folder="late")
    sys.modules.pop("late_helper")
    module = write("def train(x):\n    from late_helper import clean\n    return clean(x)\n")

    before = closure(module.train)
    assert "late_helper" not in sys.modules
    module.train(1)
    assert "late_helper" in sys.modules

    assert before == closure(module.train)
    assert ["late_helper", "pipeline:train"] == [name for name, _ in before.parts]


def test_late_imports_are_followed_through_packages(write: Write, tmp_path: Path) -> None:
    """Also relative ones, and ones of the imported modules themselves."""
    package = tmp_path / "lib" / "latepack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "first.py").write_text("from . import second\n")
    (package / "second.py").write_text("VALUE = 1\n")
    sys.path.insert(0, str(package.parent))
    module = write("def train():\n    import latepack.first\n    return latepack.first.second.VALUE\n")

    before = closure(module.train)
    (package / "second.py").write_text("VALUE = 22\n")
    after = closure(module.train)

    assert ["latepack", "latepack.first", "latepack.second", "pipeline:train"] == [name for name, _ in before.parts]
    assert ("latepack.second changed",) == difference(before, after)


def test_captured_variables_count(write: Write) -> None:
    """Two functions of one text that captured other values are different."""
    module = write(
        """
        def make(size, scale):
            def train(x):
                return x * size + scale(x)
            return train

        def one(x): return 1
        def two(x): return 2

        same = make(1, one)
        again = make(1, one)
        bigger = make(2, one)
        scaled = make(1, two)
        """
    )

    assert closure(module.same).digest == closure(module.again).digest
    assert closure(module.same).digest != closure(module.bigger).digest
    assert closure(module.same).digest != closure(module.scaled).digest


def test_two_functions_of_one_text_are_two_parts(write: Write) -> None:
    """A closure that uses both tells them apart."""
    text = """
        def make(size):
            def inner(x): return x * size
            return inner

        a, b = make(1), make({})

        def train(x): return a(x) + b(x)
        """

    assert digest(write, textwrap.dedent(text).format(1)) != digest(write, textwrap.dedent(text).format(2))


def test_recursion_ends(write: Write) -> None:
    """Functions that call each other, and containers that contain themselves."""
    module = write(
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        class Node:
            def next(self): return Node()
        def train(n): return even(n), Node
        """
    )

    assert ["pipeline:Node", "pipeline:even", "pipeline:odd", "pipeline:train"] == [
        name for name, _ in closure(module.train).parts
    ]


def test_arrays_and_frames_count_by_content(write: Write) -> None:
    """Also where they are captured or global."""
    text = (
        "import numpy as np\nimport polars as pl\nW = np.arange({})\nF = pl.DataFrame({{'a': [1]}})\n"
        "def train(): return W, F\n"
    )

    assert digest(write, text.format(3)) == digest(write, text.format(3))
    assert digest(write, text.format(3)) != digest(write, text.format(4))


def test_objects_of_libraries_count_by_how_they_are_made(write: Write) -> None:
    """Their statement, and what it reaches."""
    text = (
        "import threading\nN = {}\ndef size(): return N\n"
        "LOCK = threading.Semaphore(size())\ndef train(): return LOCK\n"
    )
    before, after = closure(write(text.format(1)).train), closure(write(text.format(2)).train)

    assert ("pipeline:N changed",) == difference(before, after)


@pytest.mark.parametrize(
    "text",
    [
        "class C:\n    x = 1\nC.x = {}\ndef f(): return C.x",
        "class C:\n    x = [1]\nC.x.append({})\ndef f(): return C.x",
        "class C: pass\nsetattr(C, 'x', {})\ndef f(): return C.x",
        "class C:\n    def m(self): return 1\ndef g(self): return {}\nC.m = g\ndef f(): return C().m()",
        "class C:\n    @staticmethod\n    def m(): return 1\nC.m = staticmethod(lambda: {})\ndef f(): return C.m()",
        "class C: pass\ndef g(self): return {}\nC.m = g\ndef f(): return C().m()",
        "class C:\n    known = []\n    def __init_subclass__(cls): C.known.append(cls)\n"
        "class D(C):\n    def m(self): return {}\ndef f(): return C.known[0]().m()",
        "def g(): return g.limit\ng.limit = {}\ndef f(): return g()",
        "class A:\n    __slots__ = ('x',)\nclass B(A): pass\nb = B()\nb.x = {}\ndef f(): return b.x",
        "class A:\n    __slots__ = ('__x', '__dict__')\n    def __init__(self, x): self.__x = x\n"
        "a = A({})\ndef f(): return a",
        "class A(Exception): pass\na = A({})\ndef f(): return a.args",
        "import numpy as np\nclass A(np.ndarray): pass\na = np.zeros({}).view(A)\ndef f(): return a",
        "from functools import singledispatch\n@singledispatch\ndef g(x): return 0\n"
        "@g.register\ndef _(x: int): return {}\ndef f(): return g(1)",
        "a = ((lambda: 1), (lambda: 2), (lambda: 3))[{}]\ndef f(): return a()",
        "import collections\na = collections.UserList()\nsetattr(a, 'data', [{}])\ndef f(): return a",
    ],
)
def test_what_is_set_after_it_was_made_counts(text: str, write: Write) -> None:
    """Attributes of classes and functions, methods that were replaced, slots, implementations for other types."""
    before, again, after = (closure(write(text.format(number)).f) for number in (1, 1, 2))

    assert before.digest == again.digest
    assert before.digest != after.digest


@pytest.mark.parametrize(
    "text",
    [
        "from dataclasses import dataclass, field\n@dataclass\nclass C:\n    a: int = 1\n"
        "    b: list = field(default_factory=list)\n    def m(self): return 1\ndef f(): return C()",
        "import abc, enum\nclass E(enum.Enum):\n    A = 1\nclass C(abc.ABC):\n    x = (1, 'a')\n    @property\n"
        "    def p(self): return E.A\n    @classmethod\n    def k(cls): return 1\ndef f(): return C",
        "def f(): return [one for one in (lambda: 1, 2)]",
    ],
)
def test_what_a_class_says_itself_is_not_said_twice(text: str, write: Write) -> None:
    """What stands in the text of classes and functions adds nothing, so that their keys stay what they were."""
    parts = _described(write(text).f)

    assert parts
    assert [] == [name for name, said in parts.items() if {"filled", "attributes", "which"} & said.keys()]


def _described(function: Callable[..., Any]) -> dict[str, Any]:
    """What each part of a closure is made of."""
    found: dict[str, Any] = {}
    plain = canonical.digest

    def digest(value: Any) -> Any:
        if isinstance(value, dict):
            found[f"{len(found)}"] = value
        return plain(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "digest", digest)
        closure(function)
    return found


def test_objects_are_followed_through_imports(write: Write) -> None:
    """To the statement that makes them, in whatever module that is."""
    write("import threading\nLOCK = threading.Semaphore(3)\n", name="locks", folder="locks")

    parts = dict(closure(write("from locks import LOCK as L\ndef train(): return L\n").train).parts)

    assert ["locks:LOCK", "pipeline:train"] == sorted(parts)


def test_what_cannot_be_followed_is_refused(write: Write) -> None:
    """A captured object of a library has neither value nor statement: no key is better than a wrong one."""
    module = write(
        """
        import threading

        def make(lock):
            def train(): return lock
            return train

        train = make(threading.Lock())
        globals()["HIDDEN"] = threading.Lock()
        def hidden(): return HIDDEN
        """
    )

    for function in (module.train, module.hidden):
        with pytest.raises(Invalid) as refused:
            closure(function)
        assert "untraceable-value" == refused.value.code


def test_code_that_is_not_what_its_file_says_counts_by_what_runs(write: Write) -> None:
    """A file edited after its import must not give its new digest to the old code."""
    module = write("def helper(x):\n    return x + 1\ndef train(x):\n    return helper(x)\n")
    before = closure(module.train)

    Path(str(module.__file__)).write_text("def helper(x):\n    return x + 22\ndef train(x):\n    return helper(x)\n")
    after = closure(module.train)
    Path(str(module.__file__)).unlink()
    gone = closure(module.train)

    assert ("pipeline:helper changed",) == difference(before, after)
    edited = write("def helper(x):\n    return x + 22\ndef train(x):\n    return helper(x)\n")
    assert closure(edited.train).digest not in {after.digest, before.digest}
    assert dict(gone.parts)["pipeline:helper"] == dict(after.parts)["pipeline:helper"]


@pytest.mark.parametrize(
    "text",
    [
        "class Settings:\n    size = {}\ndef train(): return Settings\n",
        "import threading\nLOCK = threading.Semaphore({})\ndef train(): return LOCK\n",
    ],
)
def test_a_file_edited_after_loading_is_refused_where_it_cannot_be_compared(write: Write, text: str) -> None:
    """The old class under the digest of the new text would poison the cache for everybody."""
    module = write(text.format(1))

    Path(str(module.__file__)).write_text(text.format(22))

    with pytest.raises(Invalid) as refused:
        closure(module.train)
    assert "source-changed" == refused.value.code


def test_each_branch_that_defines_a_class_counts(write: Write) -> None:
    """Which of them ran cannot be seen in the text."""
    text = "if {}:\n    class A:\n        x = {}\nelse:\n    class A:\n        x = 2\ndef train(): return A\n"

    assert digest(write, text.format(True, 1)) != digest(write, text.format(True, 3))
    assert digest(write, text.format(False, 1)) != digest(write, text.format(False, 3))


def test_code_without_a_file_is_followed(write: Write) -> None:
    """In an interactive session classes and functions have no file, and count nevertheless."""

    def made(size: int) -> Closure:
        session = ModuleType("session_without_file")
        sys.modules[session.__name__] = session
        exec(
            f"class Settings:\n    size = {size}\n    def area(self): return self.size\n"
            "def helper(): return Settings().area()\ndef train(): return helper()\n",
            vars(session),
        )
        return closure(session.train)

    before, after = made(1), made(2)
    del sys.modules["session_without_file"]

    assert ("session_without_file:Settings changed",) == difference(before, after)
    assert "session_without_file:helper" in dict(before.parts)


def test_byte_code_tells_constants_apart() -> None:
    """Functions without any source count by what they do."""

    def made(text: str) -> Any:
        space: dict[str, Any] = {"__name__": "made_without_file", "__file__": "/nowhere/made.py"}
        exec(text, space)
        return space["f"]

    assert closure(made("def f(x): return x + 1")).digest == closure(made("\n\ndef f(x): return x + 1")).digest
    assert closure(made("def f(x): return x + 1")).digest != closure(made("def f(x): return x + 2")).digest
    assert closure(made("def f(x): return 1")).digest != closure(made("def f(x): return 1.0")).digest


def test_it_is_the_same_as_a_script_and_as_a_module(write: Write) -> None:
    """`python pipeline.py` and a loaded file share one cache."""
    module = write(
        PIPELINE + "\nif __name__ == '__main__':\n"
        "    from stellwerk.pipelines.closure import closure\n    print(closure(train).digest)\n"
    )
    said = subprocess.run([sys.executable, str(module.__file__)], capture_output=True, text=True, check=True)

    assert closure(module.train).digest == said.stdout.strip()


def test_hash_randomisation_does_not_matter(write: Write) -> None:
    """Sets and names come in the same order in every process."""
    module = write("NAMES = {'a', 'b', 'c', 'd'}\ndef train(x): return x in NAMES or x in {'e', 'f', 'g'}\n")
    code = (
        "import sys; from stellwerk.pipelines.loading import load; from stellwerk.pipelines.closure import closure;"
        "print(closure(load(sys.argv[1]).train).digest)"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(module.__file__)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }

    assert {closure(module.train).digest} == said


def test_only_python_functions_have_a_closure() -> None:
    """A built-in function has no code to look at."""
    with pytest.raises(Invalid) as refused:
        closure(len)

    assert "no-source" == refused.value.code
