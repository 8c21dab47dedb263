"""The environment lock: complete, the same each time, other where something else is installed, and fast."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from stellwerk.core.clock import monotonic
from stellwerk.pipelines import environment


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_lists_every_distribution() -> None:
    """The same as the standard library finds, and Stellwerk itself."""
    expected = {f"{_normal(d.metadata['Name'])}=={d.version}" for d in metadata.distributions()}

    found = set(environment.take().distributions)

    assert expected <= found
    assert {"stellwerk"} >= {line.partition("==")[0] for line in found - expected}


def test_it_is_taken_once() -> None:
    """What is installed while a process runs is not what the process runs."""
    assert environment.current() is environment.current()
    assert environment.current() == environment.take()


def test_it_is_the_same_in_a_child() -> None:
    """Another process of the same interpreter shares the cache."""
    code = "from stellwerk.pipelines.environment import current; print(current().digest)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert environment.current().digest == said.stdout.strip()


def test_another_distribution_is_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new forms of metadata count; of two of one name the first on the path does."""
    before = environment.take()
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    for path, name, version in [
        ("first/My_Lib.x-1.0+local.dist-info/METADATA", "My_Lib.x", "1.0+local"),
        ("second/my.lib_x-2.0.dist-info/METADATA", "my.lib_x", "2.0"),
        ("first/odd-name.dist-info/METADATA", "odd-name", "3"),
        ("second/old.egg-info/PKG-INFO", "old", "0.9"),
    ]:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(f"Name: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path / "second")
    monkeypatch.syspath_prepend(tmp_path / "first")

    after = environment.take()

    assert {"my-lib-x==1.0+local", "odd-name==3", "old==0.9"} == set(after.distributions) - set(before.distributions)
    assert before.digest != after.digest


def test_it_is_fast_enough_for_every_run() -> None:
    """Below 50 ms; the best of five, because machines are shared."""
    times = []
    for _ in range(5):
        started = monotonic()
        environment.take()
        times.append(monotonic() - started)

    assert min(times) < 0.05
