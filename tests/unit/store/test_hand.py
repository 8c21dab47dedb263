"""A second process keeps half of a large folder: what it does, and what happens when it cannot."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.adapters.local.hand import SecondProcess
from stellwerk.store.fsck import check_blobs
from stellwerk.store.service import walk
from stellwerk.store.working import building, scanning
from stellwerk.store.working.cache import Stat
from stellwerk.store.working.service import WorkingCopy

FILES = {f"{number % 7}/{number}.txt": f"file {number}\n".encode() * (number % 40 + 1) for number in range(600)}


class Helped(LocalFolder):
    """A folder of blobs that has a second process whatever the machine, and remembers what that one was given."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.given: list[str] = []
        self.kept = 0
        self.process: SecondProcess | None = None

    def hand(self, folder: int, hired: int) -> SecondProcess | None:
        if hired:
            return None
        blobs = self

        class Watched(SecondProcess):
            def give(self, files: Sequence[tuple[str, Stat]]) -> None:
                blobs.given += [path for path, _ in files]
                blobs.before()
                super().give(files)

            def take(self) -> list[tuple[building.Digest, Stat]] | None:
                found = super().take()
                blobs.kept += len(found or ())
                return found

        self.process = Watched(self._root, folder)
        return self.process

    def before(self) -> None:
        """What happens before a batch is handed over."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "BATCH_FILES", 50)


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    for path, content in FILES.items():
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_bytes(content)
    return WorkingCopy(path=tmp_path / "data", cache=tmp_path / "cache", home=tmp_path)


def contents(blobs: LocalFolder, tree: building.Digest) -> dict[str, bytes]:
    return {path: blobs.get(entry.digest) for path, entry in walk(blobs, tree)}


def test_it_keeps_what_it_is_given(copy: WorkingCopy, tmp_path: Path) -> None:
    """The tree is that of somebody who works alone, every byte is there, and nothing is read twice afterwards."""
    blobs = Helped(tmp_path / "blobs")

    built = copy.keep(blobs)

    assert FILES == contents(blobs, built.tree)
    assert blobs.given
    assert len(blobs.given) == blobs.kept
    assert 600 == built.read
    assert sum(map(len, FILES.values())) == built.bytes
    assert [] == check_blobs(tmp_path / "blobs")
    again = copy.keep(blobs)
    assert (built.tree, 0) == (again.tree, again.read)
    assert built.tree == copy.look().tree


def test_one_that_dies_is_not_missed(copy: WorkingCopy, tmp_path: Path) -> None:
    """What was handed over is kept by whoever handed it over."""

    class Dying(Helped):
        def before(self) -> None:
            assert self.process is not None
            self.process._process.kill()
            self.process._process.wait()

    blobs = Dying(tmp_path / "blobs")

    built = copy.keep(blobs)

    assert FILES == contents(blobs, built.tree)
    assert blobs.given
    assert 0 == blobs.kept


def test_what_it_cannot_read_is_an_error_here(copy: WorkingCopy, tmp_path: Path) -> None:
    """A file that goes away meanwhile is named, as if there were no second process."""

    class Losing(Helped):
        def before(self) -> None:
            (copy.path / self.given[-1]).unlink(missing_ok=True)

    with pytest.raises(Conflict) as caught:
        copy.keep(Losing(tmp_path / "blobs"))

    assert "file-changing" == caught.value.code
    assert ".txt" in caught.value.message


def test_a_file_that_changed_before_it_was_read_is_kept_as_it_is_now(copy: WorkingCopy, tmp_path: Path) -> None:
    """As for whoever works alone: the bytes that were read, and the stat that goes with them."""

    class Changing(Helped):
        def before(self) -> None:
            (copy.path / self.given[-1]).write_bytes(b"another content")

    blobs = Changing(tmp_path / "blobs")

    built = copy.keep(blobs)

    found = contents(blobs, built.tree)
    changed = {path for path, content in found.items() if content == b"another content"}
    assert changed
    assert changed <= set(blobs.given)
    assert found == {path: (copy.path / path).read_bytes() for path in FILES}
    assert built.bytes == sum(map(len, found.values()))


def test_what_a_python_prints_when_it_starts_is_no_answer(
    copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some installations greet."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('welcome to this machine ' * 10, flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    blobs = Helped(tmp_path / "blobs")

    built = copy.keep(blobs)

    assert FILES == contents(blobs, built.tree)
    assert blobs.kept == len(blobs.given) > 0


def test_many_open_files_are_no_hindrance(copy: WorkingCopy, tmp_path: Path) -> None:
    """Descriptors beyond what `select` knows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most < 1300:
        pytest.skip(f"only {most} files may be open here")
    blobs = Helped(tmp_path / "blobs")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        built = copy.keep(blobs)
    finally:
        for descriptor in opened:
            os.close(descriptor)

    assert FILES == contents(blobs, built.tree)
    assert blobs.kept == len(blobs.given) > 0


def test_modules_are_not_taken_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset's own `struct.py` is data."""
    (tmp_path / "struct.py").write_text("open('harm', 'w').close()\n")
    (tmp_path / "one").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    folder = scanning.open_root(tmp_path)
    try:
        with closing(SecondProcess(Path("blobs"), folder)) as hand:
            hand.give([("one", scanning.stat_file(folder, "one"))])
            found = hand.take()
    finally:
        os.close(folder)

    assert found is not None
    assert [of_bytes(b"one")] == [digest for digest, _ in found]
    assert not (tmp_path / "harm").exists()
