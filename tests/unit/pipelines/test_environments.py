"""Environments made of locks: built once, whole or not at all, rebuilt when damaged. Packages come from a folder."""

import multiprocessing
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stellwerk.core.errors import Corrupt, Invalid, StellwerkError, Unavailable
from stellwerk.pipelines import locks
from stellwerk.pipelines.adapters import environments, installing
from stellwerk.pipelines.adapters.environments import Environments, Recipe
from stellwerk.testing.wheels import wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def recipe(index: Path, *lines: str, **facts: object) -> Recipe:
    text = "".join(f"{line}\n" for line in ("--no-index", f"--find-links {index}", *lines))
    return Recipe(lock=locks.read("lock.txt", text.encode()), **facts)  # type: ignore[arg-type]


def version_in(python: Path, name: str) -> str:
    done = subprocess.run(
        [python, "-I", "-c", f"import {name};print({name}.version)"], capture_output=True, text=True
    )
    return done.stdout.strip()


def test_an_environment_holds_what_the_lock_says(tmp_path: Path, index: Path) -> None:
    """And nothing else of where it was made."""
    found = wheel(index, "stw_alpha", "1.2")
    python = Environments(tmp_path / "cache").interpreter(recipe(index, f"stw-alpha==1.2 --hash=sha256:{found}"))

    assert "1.2" == version_in(python, "stw_alpha")
    assert "" == version_in(python, "numpy")


def test_it_is_built_once(tmp_path: Path, index: Path) -> None:
    """The second one who asks gets the first one's; another lock is another environment."""
    wheel(index, "stw_alpha", "1.2")
    wheel(index, "stw_beta", "3")
    said: list[str] = []
    made = Environments(tmp_path / "cache", say=said.append)
    first = made.interpreter(recipe(index, "stw-alpha==1.2"))
    (index / "stw_alpha-1.2-py3-none-any.whl").unlink()

    assert first == Environments(tmp_path / "cache").interpreter(recipe(index, "stw-alpha==1.2"))
    assert first != made.interpreter(recipe(index, "stw-beta==3"))
    assert "the lock names no hashes, so the packages' files are taken as the index gives them" == said[0]


def _ask(cache: Path, index: Path, answers: "multiprocessing.Queue[str]") -> None:
    answers.put(str(Environments(cache).interpreter(recipe(index, "stw-alpha==1.2"))))


def test_parallel_processes_build_one(tmp_path: Path, index: Path) -> None:
    """Whoever comes later waits."""
    wheel(index, "stw_alpha", "1.2")
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()
    ones = [context.Process(target=_ask, args=(tmp_path / "cache", index, answers)) for _ in range(3)]
    for one in ones:
        one.start()
    found = {answers.get(timeout=120) for _ in ones}
    for one in ones:
        one.join()

    assert 1 == len(found)
    assert 1 == len(list((tmp_path / "cache").glob("*/v-*")))


@pytest.mark.parametrize("harm", ["delete", "shorten", "record"])
def test_a_damaged_one_is_built_anew(tmp_path: Path, index: Path, harm: str) -> None:
    """A file that is gone or shorter, or a record that was rewritten, is noticed by the next process."""
    wheel(index, "stw_alpha", "1.2")
    first = Environments(tmp_path / "cache").interpreter(recipe(index, "stw-alpha==1.2"))
    site = next(first.parent.parent.glob("lib/python*/site-packages"))
    file = site / ("stw_alpha-1.2.dist-info/RECORD" if harm == "record" else "stw_alpha.py")
    file.chmod(0o644)
    data = file.read_bytes()
    file.unlink()
    if harm != "delete":
        file.write_bytes(data[:-3])
    environments._intact_before.cache_clear()
    second = Environments(tmp_path / "cache").interpreter(recipe(index, "stw-alpha==1.2"))

    assert first != second
    assert "1.2" == version_in(second, "stw_alpha")


def test_a_wrong_hash_is_an_error(tmp_path: Path, index: Path) -> None:
    """And leaves nothing behind that could be taken for an environment."""
    wheel(index, "stw_alpha", "1.2")
    with pytest.raises(Corrupt) as caught:
        Environments(tmp_path / "cache").interpreter(recipe(index, f"stw-alpha==1.2 --hash=sha256:{'0' * 64}"))

    assert "package-changed" == caught.value.code
    assert "stw-alpha" in caught.value.message
    assert [] == list((tmp_path / "cache").glob("*/v-*"))


def test_packages_that_cannot_be_had_are_named(tmp_path: Path, index: Path) -> None:
    """All of them, and not those that can."""
    wheel(index, "stw_alpha", "1.2")
    with pytest.raises(Invalid) as caught:
        Environments(tmp_path / "cache").interpreter(
            recipe(index, "stw-alpha==1.2", "stw-missing-one==1", "stw-missing-two==2")
        )

    assert "package-not-found" == caught.value.code
    assert "stw-missing-one==1" in caught.value.message
    assert "stw-alpha" not in caught.value.message


def test_a_lock_that_misses_something_is_an_error(tmp_path: Path, index: Path) -> None:
    """Before a step fails in it; unless it is known to be complete otherwise."""
    wheel(index, "stw_alpha", "1.2", needs="stw-beta>=1")
    with pytest.raises(Invalid) as caught:
        Environments(tmp_path / "cache").interpreter(recipe(index, "stw-alpha==1.2"))
    loose = Environments(tmp_path / "cache").interpreter(recipe(index, "stw-alpha==1.2", complete=False))

    assert "lock-incomplete" == caught.value.code
    assert "stw-beta" in caught.value.message
    assert "1.2" == version_in(loose, "stw_alpha")


def test_an_index_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace, and what to do."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")  # pip says what is wrong only when it tries again
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    lock = locks.read("lock.txt", b"--index-url http://127.0.0.1:9/simple\nstw-alpha==1.2\n")
    with pytest.raises(StellwerkError) as caught:
        Environments(tmp_path / "cache").interpreter(Recipe(lock=lock))

    assert "packages-unreachable" == caught.value.code
    assert "--offline" in caught.value.hint


def test_pip_does_it_where_there_is_no_uv(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower, with the same result; without a network it can do nothing."""
    monkeypatch.setattr(installing, "_uv", lambda: None)
    found = wheel(index, "stw_alpha", "1.2")
    python = Environments(tmp_path / "cache").interpreter(recipe(index, f"stw-alpha==1.2 --hash=sha256:{found}"))
    with pytest.raises(Unavailable) as offline:
        Environments(tmp_path / "other", offline=True).interpreter(recipe(index, "stw-alpha==1.2"))

    assert "1.2" == version_in(python, "stw_alpha")
    assert "no-installer" == offline.value.code


def test_a_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    """None is downloaded."""
    with pytest.raises(Unavailable) as caught:
        Environments(tmp_path).interpreter(Recipe(lock=locks.Lock(pins=()), python="3.1"))
    with pytest.raises(Invalid) as nonsense:
        Environments(tmp_path).interpreter(Recipe(lock=locks.Lock(pins=()), python="../bin/sh"))

    assert ("no-python", "invalid-version") == (caught.value.code, nonsense.value.code)


def test_unused_ones_are_removed(tmp_path: Path) -> None:
    """Those of nobody, after a time; not those that a process uses."""
    cache = tmp_path / "cache"
    used = Environments(cache).interpreter(Recipe(lock=locks.Lock(pins=())))
    old = cache / ("0" * 64)
    (old / "v-1").mkdir(parents=True)
    (old / "use.lock").touch()
    there = Environments(cache).list()
    later = datetime.now(UTC) + timedelta(days=40)
    os.utime(old / "use.lock", (0, 0))

    assert ("0" * 64,) == Environments(cache).collect(now=later, unused=timedelta(days=30))
    assert [used.parent.parent.parent.name] == [one.name for one in there]
    assert used.exists()
    assert not old.exists()
