"""Which workspace a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create(tmp_path, Settings(actor="anna"))
    return tmp_path


def test_a_folder_inside_finds_its_workspace(root: Path) -> None:
    """As git does."""
    (root / "deep" / "er").mkdir(parents=True)

    assert root.resolve() == Session(place=str(root / "deep" / "er")).layout().root


def test_a_slip_of_the_keyboard_does_not_reach_the_workspace_above(root: Path) -> None:
    """A folder that does not exist is an error, though one above it has a workspace."""
    with pytest.raises(NotFound) as caught:
        Session(place=str(root / "typo")).layout()

    assert "no-such-folder" == caught.value.code


def test_an_address_has_no_folder() -> None:
    """Commands that need one say so."""
    with pytest.raises(Invalid) as caught:
        Session(place="http://localhost:7700").layout()

    assert "needs-folder" == caught.value.code


def test_the_project_file_is_read_from_the_workspace(root: Path) -> None:
    """From wherever the command is typed."""
    (root / "stellwerk.toml").write_text('[project]\nname = "flights"\npipeline = "p.py"\n')
    (root / "deep").mkdir()

    project = Session(place=str(root / "deep")).project()

    assert project is not None
    assert ("flights", "p.py") == (project.name, project.pipeline)


def test_a_workspace_without_project_file_has_none(root: Path) -> None:
    """Not every workspace is a project."""
    assert Session(place=str(root)).project() is None


def test_a_project_file_in_another_encoding_is_refused(root: Path) -> None:
    """With the reason, not with a trace."""
    (root / "stellwerk.toml").write_bytes(b'[project]\nname = "fl\xfcge"\n')

    with pytest.raises(Invalid, match="not UTF-8"):
        Session(place=str(root)).project()


def test_the_workspace_is_closed_whatever_happens(root: Path) -> None:
    """Also when the work in between fails."""

    def work() -> None:
        with Session(place=str(root)).workspace() as workspace:
            assert () == workspace.endpoints()
            raise ValueError("inner")

    with pytest.raises(ValueError, match="inner"):
        work()

    with Session(place=str(root)).workspace() as again:
        assert () == again.endpoints()
