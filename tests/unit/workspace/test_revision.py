"""Which commit of which branch runs: told by git where there is git, by the CI otherwise."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stellwerk.workspace import revision
from stellwerk.workspace.revision import Revision

SHA = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=anna", "-c", "user.email=anna@example.test", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "deeper", ".")
    (folder / "pipeline.py").write_text("x = 1\n", "utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "remote", "add", "origin", "https://token:secret@git.example/anna/flights.git")
    return folder


CI = {
    "github": (
        {
            "GITHUB_ACTIONS": "true", "GITHUB_SHA": SHA, "GITHUB_REF": "refs/pull/12/merge", "GITHUB_HEAD_REF": "deeper",
            "GITHUB_BASE_REF": "main", "GITHUB_REF_NAME": "12/merge", "GITHUB_REPOSITORY": "anna/flights",
            "GITHUB_SERVER_URL": "https://git.example", "GITHUB_RUN_ID": "5",
        },
        Revision(
            commit=SHA, branch="deeper", target="main", request="12", repository="https://git.example/anna/flights",
            system="github", url="https://git.example/anna/flights/actions/runs/5",
        ),
    ),
    "github push": (
        {"GITHUB_ACTIONS": "true", "GITHUB_SHA": SHA, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"},
        Revision(commit=SHA, branch="main", system="github"),
    ),
    "gitlab": (
        {
            "GITLAB_CI": "true", "CI_COMMIT_SHA": SHA, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "deeper",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_IID": "7",
            "CI_PROJECT_URL": "https://lab.example/anna/flights", "CI_JOB_URL": "https://lab.example/-/jobs/5",
        },
        Revision(
            commit=SHA, branch="deeper", target="main", request="7", repository="https://lab.example/anna/flights",
            system="gitlab", url="https://lab.example/-/jobs/5",
        ),
    ),
    "circleci": (
        {
            "CIRCLECI": "true", "CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "deeper",
            "CIRCLE_PULL_REQUEST": "https://git.example/anna/flights/pull/12",
        },
        Revision(commit=SHA, branch="deeper", request="12", system="circleci"),
    ),
    "jenkins": (
        {"JENKINS_URL": "https://j.example", "GIT_COMMIT": SHA, "GIT_BRANCH": "origin/deeper", "CHANGE_ID": "12",
         "CHANGE_TARGET": "main", "BUILD_URL": "https://j.example/job/5"},
        Revision(
            commit=SHA, branch="deeper", target="main", request="12", system="jenkins", url="https://j.example/job/5"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", CI)
def test_each_ci_says_it_in_its_own_words(system: str, tmp_path: Path) -> None:
    """Commit, branch, target branch and number of the merge request."""
    said, expected = CI[system]

    assert expected == revision.read(tmp_path, said)


def test_without_a_ci_git_says_it(repository: Path) -> None:
    """Also for a folder inside of the working copy. A token in the address of the repository is left out."""
    (repository / "deep").mkdir()

    found = revision.read(repository / "deep", {})

    assert (git(repository, "rev-parse", "HEAD"), "deeper", False) == (found.commit, found.branch, found.dirty)
    assert "https://git.example/anna/flights.git" == found.repository


def test_the_commit_is_the_one_that_is_checked_out(repository: Path) -> None:
    """For that is what runs, whatever the CI was started for. The branch is the CI's word, as none is checked out."""
    git(repository, "checkout", "-q", "--detach")

    found = revision.read(repository, CI["gitlab"][0])

    assert (git(repository, "rev-parse", "HEAD"), "deeper", "main") == (found.commit, found.branch, found.target)


def test_files_that_differ_from_the_commit_are_told(repository: Path) -> None:
    """Those that git knows. Others, such as the workspace, are none of the commit."""
    (repository / "other.txt").write_text("new", "utf-8")
    clean = revision.read(repository, {})
    (repository / "pipeline.py").write_text("x = 2\n", "utf-8")

    assert not clean.dirty
    assert revision.read(repository, {}).dirty
    assert "true" == revision.tags(repository, {})["git.dirty"]


def test_without_git_and_ci_nothing_is_said(tmp_path: Path) -> None:
    """A repository without a commit says nothing either."""
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", ".")

    assert [Revision(), Revision()] == [revision.read(folder, {}) for folder in (tmp_path, empty)]
    assert {} == revision.tags(tmp_path, {})


@pytest.mark.parametrize("event", ["", "[]", "{", '{"pull_request": {"number": "12; rm"}}', '{"pull_request": null}'])
def test_an_event_that_is_none_says_nothing(event: str, tmp_path: Path) -> None:
    """The file of an event is read with care."""
    (tmp_path / "event.json").write_text(event, "utf-8")
    said = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}

    assert "" == revision.of_ci(said).request


def test_an_event_names_its_pull_request(tmp_path: Path) -> None:
    """Where the reference does not, as in events about comments and of forks."""
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 12}}), "utf-8")
    said = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REF": "refs/heads/main",
    }

    assert "12" == revision.of_ci(said).request
