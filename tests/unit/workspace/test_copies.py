"""Working copies of a project: pointers, the repository's ignore file, what may be tracked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from stellwerk.data.pointer import parse
from stellwerk.store.service import files
from stellwerk.workspace.browsing import parse_reference
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.chdir(tmp_path)
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.bin").write_bytes(b"a")
    return tmp_path


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return sw.connect(home)


def test_the_pointer_names_the_version(workspace: Workspace, home: Path) -> None:
    """Beside the data, and the same bytes if nothing changed."""
    kept = workspace.data.add_files("images")
    text = (home / "images.stw").read_bytes()
    again = workspace.data.add_files("images")

    assert (True, False) == (kept.fresh, again.fresh)
    assert text == (home / "images.stw").read_bytes()
    assert ("images", kept.version.digest) == (
        parse(text, name="images.stw").dataset,
        parse(text, name="images.stw").digest,
    )


@pytest.mark.parametrize("before", ["", "*.pyc", "*.pyc\n"])
def test_the_repository_ignores_the_data(workspace: Workspace, home: Path, before: str) -> None:
    """One line, once; it goes when the tracking ends, and nothing else does."""
    (home / ".git").mkdir()
    (home / ".gitignore").write_text(before)

    workspace.data.add_files("images")
    workspace.data.add_files("images")
    during = (home / ".gitignore").read_text()
    workspace.data.untrack("images")

    assert 1 == during.splitlines().count("/images")
    assert before.splitlines() == (
        (home / ".gitignore").read_text().splitlines() if (home / ".gitignore").exists() else []
    )
    assert not (home / "images.stw").exists()
    assert (home / "images" / "a.bin").exists()


def test_outside_of_a_repository_nothing_is_ignored(workspace: Workspace, home: Path) -> None:
    """No file that nobody asked for."""
    workspace.data.add_files("images")

    assert not (home / ".gitignore").exists()


@pytest.mark.parametrize("path", [".", "..", ".git", ".stellwerk", "images/a.bin"])
def test_some_things_cannot_be_tracked(workspace: Workspace, home: Path, path: str) -> None:
    """The project itself, what other programs keep, what lies in a folder that is tracked."""
    (home / ".git").mkdir()
    workspace.data.add_files("images")

    with pytest.raises(Invalid):
        workspace.data.add_files(path)


def test_a_link_is_not_tracked(workspace: Workspace, home: Path) -> None:
    """Neither as data nor as a pointer."""
    (home / "link").symlink_to(home / "images")
    (home / "other").mkdir()
    (home / "other.stw").symlink_to("/etc/passwd")

    with pytest.raises(Invalid):
        workspace.data.add_files("link")
    with pytest.raises(Unavailable):
        workspace.data.add_files("other")


def test_a_place_follows_one_dataset(workspace: Workspace) -> None:
    """Another name is a slip, not a wish."""
    workspace.data.add_files("images", name="pictures")

    with pytest.raises(Conflict) as refused:
        workspace.data.add_files("images", name="photos")

    assert "other-dataset" == refused.value.code


def test_a_table_is_no_folder(workspace: Workspace, home: Path) -> None:
    """One name, one kind."""
    (home / "t.csv").write_text("a,b\n1,2\n")
    workspace.data.add("images", home / "t.csv")

    with pytest.raises(Invalid) as refused:
        workspace.data.add_files("images")

    assert "not-files" == refused.value.code


def test_a_moved_folder_keeps_its_version(workspace: Workspace, home: Path) -> None:
    """Data and pointer go together."""
    kept = workspace.data.add_files("images")

    workspace.data.move("images", "pictures")
    (status,) = workspace.data.status()

    assert ("pictures", "same", kept.version.digest) == (status.path, status.state, status.digest)
    with pytest.raises(NotFound):
        workspace.data.status("images")


def test_a_store_that_forgot_is_given_everything_again(workspace: Workspace, home: Path) -> None:
    """What was put and never became a version may be cleaned away; what is remembered of files is no proof."""
    blobs = workspace._caller.blobs
    os.utime(home / "images" / "a.bin", ns=(1, 1))
    built = workspace.data.copies._copy(home / "images").keep(blobs)
    blobs.remove([*files(blobs, built.tree).values(), built.tree])  # type: ignore[attr-defined]

    kept = workspace.data.add_files("images")

    assert built.tree == kept.version.digest
    with workspace.data.open("images", "a.bin") as file:
        assert b"a" == file.read()


def test_a_version_that_is_not_here_is_said(workspace: Workspace, home: Path) -> None:
    """A pointer from a colleague whose bytes did not come yet."""
    workspace.data.add_files("images")
    text = (home / "images.stw").read_text()
    (home / "images.stw").write_text(text[:-66] + "0" * 64 + '"\n')

    (status,) = workspace.data.status()
    with pytest.raises(NotFound) as missing:
        workspace.data.checkout()

    assert "unknown" == status.state
    assert "missing-blob" == missing.value.code


def test_a_version_goes_to_a_new_place(workspace: Workspace, home: Path) -> None:
    """With a pointer of its own; a place that is taken is refused and gets none."""
    workspace.data.add_files("images")
    (home / "taken").write_text("mine")

    path, done = workspace.data.checkout_version("images@1", home / "copy")
    with pytest.raises(Refused):
        workspace.data.checkout_version("images@1", home / "taken")

    assert (home / "copy", 1) == (path, done.written)
    assert (home / "copy.stw").is_file()
    assert not (home / "taken.stw").exists()
    assert "mine" == (home / "taken").read_text()


def test_a_renamed_file_is_one_change(workspace: Workspace, home: Path) -> None:
    """Not one gone and one come."""
    workspace.data.add_files("images")
    (home / "images" / "a.bin").rename(home / "images" / "z.bin")

    (status,) = workspace.data.status()

    assert [("a.bin", "z.bin", "renamed")] == [(one.old_path, one.path, one.change) for one in status.changes]
    assert (0, 0, 0, 1) == (status.added, status.deleted, status.changed, status.renamed)


def test_local_tables_are_compared_by_rows(workspace: Workspace, home: Path) -> None:
    """What changed here since the version, before anything is kept."""
    (home / "images" / "t.csv").write_text("a,b\n1,2\n")
    workspace.data.add_files("images")
    (home / "images" / "t.csv").write_text("a,b\n1,2\n3,4\n")

    found = workspace.data.local_changes("images")

    assert [("t.csv", 1)] == [(path, table.rows_added) for path, table in found.tables]


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@0", "a@-1", "a@1@2", "a@x", "../a", "a/b@1", "a@9999999999"])
def test_a_wrong_reference_is_refused(text: str) -> None:
    """`name` or `name@3`, nothing else."""
    with pytest.raises(Invalid):
        parse_reference(text)


def test_what_is_got_never_replaces(workspace: Workspace, home: Path) -> None:
    """Unless it is said."""
    workspace.data.add_files("images")
    (home / "a.bin").write_bytes(b"mine")

    with pytest.raises(Refused):
        workspace.data.fetch("images", "a.bin", home / "a.bin")
    kept = (home / "a.bin").read_bytes()
    workspace.data.fetch("images", "a.bin", home / "a.bin", force=True)

    assert (b"mine", b"a") == (kept, (home / "a.bin").read_bytes())
