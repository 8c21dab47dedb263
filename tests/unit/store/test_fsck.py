"""Law 8: `fsck` finds every planted damage, reports nothing else, writes nothing, and is no part of the writer."""

from __future__ import annotations

import ast
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import hex_of, of_bytes
from stellwerk.ledger import verify
from stellwerk.store import fsck
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.fsck import Catalogue, check_blobs, check_references
from stellwerk.store.model import Damage


def place(root: Path, data: bytes) -> Path:
    name = hex_of(of_bytes(data))
    return root / "sha256" / name[:2] / name


@settings(max_examples=40, deadline=None)
@given(
    kept=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8, unique=True),
    data=st.data(),
)
def test_every_flip_is_found_and_nothing_else(kept: list[bytes], data: st.DataObject) -> None:
    """Law 8: of any blobs, exactly those with a flipped bit are reported."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        blobs = LocalFolder(root)
        for content in kept:
            blobs.put(content)
        assert [] == check_blobs(root)

        chosen = data.draw(st.lists(st.sampled_from(kept), unique=True))
        for content in chosen:
            bit = data.draw(st.integers(0, 8 * len(content) - 1))
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            place(root, content).chmod(0o644)
            place(root, content).write_bytes(changed)

        found = check_blobs(root)
        assert {str(place(root, content).relative_to(root)) for content in chosen} == {item.where for item in found}
        assert len(chosen) == len(found)
        assert all(item.severity == "error" for item in found)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    LocalFolder(tmp_path).put(b"abc")
    return tmp_path


def test_strangers_are_reported(root: Path) -> None:
    """Whatever is not a blob under its own name is damage: strays, misplaced blobs, links, pipes, folders."""
    shelf = root / "sha256" / "ba"
    blob = next(shelf.iterdir())
    (root / "sha256" / "00").mkdir()
    (root / "sha256" / "00" / blob.name).write_bytes(b"abc")
    (shelf / "notes.txt").write_text("x")
    (root / "sha256" / "stray").write_text("x")
    (shelf / ("ba" + "1" * 62)).symlink_to(blob)
    os.mkfifo(shelf / ("ba" + "2" * 62))
    (shelf / ("ba" + "3" * 62)).mkdir()

    expected = {
        f"sha256/00/{blob.name}": "a file that is no blob",
        "sha256/ba/notes.txt": "a file that is no blob",
        "sha256/stray": "a file that is no blob",
        "sha256/ba/ba" + "1" * 62: "not a regular file",
        "sha256/ba/ba" + "2" * 62: "not a regular file",
        "sha256/ba/ba" + "3" * 62: "not a regular file",
    }
    assert expected == {item.where: item.problem for item in check_blobs(root)}


def test_unfinished_writes_are_notes(root: Path) -> None:
    """What a crash left in `incoming` is mentioned, and is no damage."""
    (root / "incoming" / "1-aa").write_bytes(b"half")

    assert [Damage(where="incoming/1-aa", problem="unfinished write", severity="note")] == check_blobs(root)


def test_a_missing_folder_is_damage(tmp_path: Path) -> None:
    """A store without its folder of blobs is not a clean, empty store."""
    assert ["error"] == [item.severity for item in check_blobs(tmp_path)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_blob_is_damage(root: Path) -> None:
    """A blob that cannot be read is reported, and the check goes on."""
    place(root, b"abc").chmod(0)

    assert ["cannot be read: Permission denied"] == [item.problem for item in check_blobs(root)]


def test_references_without_blobs_are_found(root: Path) -> None:
    """Every referrer to a missing blob is named."""
    here, gone = of_bytes(b"abc"), of_bytes(b"gone")

    found = check_references(Catalogue(root), [(here, "run:1"), (gone, "run:1"), (gone, "run:2")])

    assert [("run:1", "error"), ("run:2", "error")] == [(item.where, item.severity) for item in found]


def test_the_check_writes_nothing(root: Path) -> None:
    """`fsck` leaves every file, its content and its times as they were."""

    def picture() -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_mode)
            for path in root.rglob("*")
        }

    before = picture()
    check_blobs(root)
    check_references(Catalogue(root), [(of_bytes(b"abc"), "x"), (of_bytes(b"gone"), "y")])

    assert before == picture()


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        (fsck, {"stellwerk.store.model"}),
        (verify, {"stellwerk.ledger.model", "stellwerk.core.errors"}),
    ],
    ids=["fsck", "verify"],
)
def test_the_oracles_share_no_code_with_the_writers(module: object, allowed: set[str]) -> None:
    """The checks import plain values and errors only, wherever in the file the import stands."""
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))  # type: ignore[attr-defined]
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    calls = {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert allowed == {name for name in imported if name.startswith("stellwerk")}
    assert not any(name.split(".")[0] == "importlib" for name in imported)
    assert "__import__" not in calls
