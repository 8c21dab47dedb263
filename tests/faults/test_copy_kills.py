"""Killed anywhere in `data add` or `data checkout`, the next run finishes the job and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stellwerk
from stellwerk.core import failpoints
from stellwerk.ledger import database
from stellwerk.store.adapters import local
from stellwerk.store.working import checkout, placing

pytestmark = pytest.mark.faults

NTHS = tuple(range(1, 1 + int(os.environ.get("STELLWERK_COPY_KILLS", "1"))))
MADE = ("checkout.create", "checkout.write", "checkout.show", "checkout.remember")
CHANGED = ("checkout.create", "checkout.write", "checkout.rename", "checkout.delete", "checkout.remember")


def data(home: Path, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(stellwerk.__file__).parents[1]),
        "STELLWERK_FAIL": fail,
        "STELLWERK_ACTOR": "anna",
    }
    return subprocess.run(
        [sys.executable, "-m", "stellwerk", *words],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert 0 == data(tmp_path, "init").returncode
    for number in range(6):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * 100)
    (tmp_path / "images" / "large.bin").write_bytes(os.urandom((1 << 20) + 1))
    return tmp_path


def whole(home: Path) -> None:
    """Nothing is left over, nothing is damaged."""
    fsck = data(home, "fsck")
    assert 0 == fsck.returncode, fsck.stdout + fsck.stderr
    assert [] == [path.name for path in home.rglob(".stellwerk-tmp-*")]


def test_the_failpoints_are_those_of_the_code() -> None:
    """So that a new step is killed too."""
    assert checkout.CheckedOut is not None
    assert placing.Placer is not None
    assert local.LocalFolder is not None
    assert database.Database is not None
    assert set(MADE) | set(CHANGED) == {name for name in failpoints.NAMES if name.startswith("checkout.")}


@pytest.mark.parametrize("nth", NTHS)
@pytest.mark.parametrize("name", MADE)
def test_a_first_checkout_is_finished_by_the_next(home: Path, name: str, nth: int) -> None:
    """Killed on the way, the folder is not there at all, or it is whole."""
    data(home, "data", "add", "images")
    before = held(home / "images")
    (home / "images").rename(home / "away")

    killed = data(home, "data", "checkout", fail=f"{name}:kill:{nth}")
    half = held(home / "images") if (home / "images").exists() else before
    again = data(home, "data", "checkout")

    assert -signal.SIGKILL == killed.returncode, killed.stderr
    assert before == half
    assert 0 == again.returncode, again.stderr
    assert before == held(home / "images")
    assert 0 == data(home, "data", "status").returncode
    whole(home)


@pytest.mark.parametrize("nth", NTHS)
@pytest.mark.parametrize("name", CHANGED)
def test_a_change_is_finished_by_the_next(home: Path, name: str, nth: int) -> None:
    """Killed on the way, each file is the old one or the new one."""
    data(home, "data", "add", "images")
    first = held(home / "images")
    for path in list((home / "images").rglob("*.bin"))[::2]:
        path.write_bytes(b"later")
    (home / "images" / "b" / "new.bin").write_bytes(b"new")
    data(home, "data", "add", "images")
    second = held(home / "images")

    killed = data(home, "data", "checkout", "images@1", fail=f"{name}:kill:{nth}")
    half = {path: found for path, found in held(home / "images").items() if ".stellwerk-tmp-" not in path}
    again = data(home, "data", "checkout", "images@1")

    assert -signal.SIGKILL == killed.returncode, killed.stderr
    assert all(found in (first.get(path), second.get(path)) for path, found in half.items())
    assert 0 == again.returncode, again.stderr
    assert first == {path: found for path, found in held(home / "images").items() if ".stellwerk-tmp-" not in path}
    assert 0 == data(home, "data", "status").returncode


@pytest.mark.parametrize("name", ["pack.", "blob.", "ledger."])
def test_an_add_is_finished_by_the_next(home: Path, name: str) -> None:
    """Wherever the store or the book was killed: the same version comes of doing it again."""
    points = sorted(point for point in failpoints.NAMES if point.startswith(name))
    before = held(home / "images")
    hit = 0
    for number, point in enumerate(points):
        (home / "images" / "counter").write_bytes(b"%d" % number)
        killed = data(home, "data", "add", "images", fail=f"{point}:kill:1")
        hit += killed.returncode == -signal.SIGKILL
        assert killed.returncode in (0, -signal.SIGKILL), killed.stderr
        again = data(home, "data", "add", "images")
        assert 0 == again.returncode, again.stderr

    assert 0 == data(home, "data", "status").returncode
    (home / "images" / "counter").unlink()
    assert before == held(home / "images")
    assert hit
    whole(home)


@pytest.mark.parametrize("fault", ["full", "eio"])
@pytest.mark.parametrize("name", [point for point in MADE if point != "checkout.remember"])
def test_a_failing_disk_is_said_and_leaves_nothing(home: Path, name: str, fault: str) -> None:
    """The error is the user's language, and a second try works."""
    data(home, "data", "add", "images")
    before = held(home / "images")
    (home / "images").rename(home / "away")

    failed = data(home, "data", "checkout", fail=f"{name}:{fault}:1")
    again = data(home, "data", "checkout")

    assert 8 == failed.returncode, failed.stderr
    assert "Traceback" not in failed.stderr
    assert 0 == again.returncode, again.stderr
    assert before == held(home / "images")
    whole(home)


def test_many_terminals_add_at_once(home: Path) -> None:
    """Different datasets, one workspace: all finish, none fails on a lock."""
    many = int(os.environ.get("STELLWERK_COPY_TERMINALS", "8"))
    for number in range(many):
        (home / f"set{number}").mkdir()
        (home / f"set{number}" / "a.bin").write_bytes(b"%d" % number)
    environment = {**os.environ, "PYTHONPATH": str(Path(stellwerk.__file__).parents[1])}

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "stellwerk", "data", "add", f"set{number}"],
            cwd=home,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(many)
    ]
    errors = [(process.communicate()[1], process.returncode) for process in running]

    assert [0] * many == [code for _, code in errors], [text for text, code in errors if code]
    assert many == len(list(home.glob("set*.stw")))
    assert 0 == data(home, "data", "status").returncode
    assert 0 == data(home, "verify").returncode
    whole(home)
