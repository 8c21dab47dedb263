"""`ci report` and `promote` as somebody types them, and as a build of a merge request calls them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stellwerk.cli.main import main
from stellwerk.testing.forges import Forge, forge
from stellwerk.workspace.revision import BRANCH, COMMIT
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

VARIABLES = (
    "CI",
    "GITHUB_ACTIONS",
    "GITHUB_SHA",
    "GITHUB_REF",
    "CIRCLECI",
    "JENKINS_URL",
    "GIT_COMMIT",
    "GITHUB_TOKEN",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which two runs of a pipeline measured something, one of each branch."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    settings = Settings(actor="anna")
    folder = tmp_path / "project"
    folder.mkdir()
    rooms = Rooms(create(folder, settings), settings)
    for branch, commit, value in (("main", "a", 0.6), ("deeper", "b", 0.7)):
        run = rooms.runs.start(
            experiment="delay", name="delay", kind="pipeline", params={"depth": value * 10},
            tags={BRANCH: branch, COMMIT: commit * 40},
        )  # fmt: skip
        rooms.runs.finish(run.id, metrics={"speed": value})
    rooms.close()
    return folder


@pytest.fixture
def build(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    """The variables of a build of a merge request at GitLab, and the server that they name."""
    with forge(Forge(people={"secret": "bot"}, writers={"bot"}, requests={"17": {7}})) as state:
        for name, value in {
            "GITLAB_CI": "true", "CI_COMMIT_SHA": "b" * 40, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "deeper",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_IID": "7", "CI_PROJECT_ID": "17",
            "CI_API_V4_URL": f"{state.url}/gitlab", "CI_JOB_URL": "https://lab.example/-/jobs/5",
            "STELLWERK_FORGE_TOKEN": "secret",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield state


def test_a_build_comments_on_its_merge_request(
    place: Path, build: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, updated in place; the files are written, and the exit code is that of the verdict."""
    files = {name: tmp_path / "reports" / name for name in ("report.md", "junit.xml", "all.sarif", "metrics.txt")}
    asked = [
        "-w", str(place), "ci", "report", "--out", str(files["report.md"]), "--junit", str(files["junit.xml"]),
        "--sarif", str(files["all.sarif"]), "--metrics", str(files["metrics.txt"]), "--post",
    ]  # fmt: skip

    codes = [main(asked), main([*asked, "--fail-on", "stop"])]

    ((author, text),) = build.texts("17", 7)
    said = capsys.readouterr()
    assert [3, 0] == codes
    assert ("bot", True) == (author, text.startswith("<!-- stellwerk ci report "))
    assert "| `speed` | 0.6 | 0.7 | **+0.1** |" in text
    assert "- **parameter** `depth` `6` → `7`" in text
    assert "[build](https://lab.example/-/jobs/5)" in text
    assert "comment written" in said.err
    assert "secret" not in said.err + said.out + text
    assert text.splitlines()[:8] == files["report.md"].read_text("utf-8").splitlines()[:8]
    assert "1" == ElementTree.fromstring(files["junit.xml"].read_text("utf-8")).get("errors")
    assert "2.1.0" == json.loads(files["all.sarif"].read_text("utf-8"))["version"]
    assert files["metrics.txt"].read_text("utf-8").endswith("# EOF\n")


@pytest.mark.parametrize(
    ("without", "why"),
    [("STELLWERK_FORGE_TOKEN", "no token"), ("CI_MERGE_REQUEST_IID", "no build of a merge request")],
)
def test_a_build_that_cannot_comment_says_so_and_goes_on(
    without: str,
    why: str,
    place: Path,
    build: Forge,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a token, or without a merge request; nothing is asked of the forge."""
    monkeypatch.delenv(without)

    code = main(["-w", str(place), "ci", "report", "--post"])

    assert 3 == code
    assert why in capsys.readouterr().err
    assert [] == build.seen


def test_a_token_that_may_not_is_an_error_after_the_files(
    place: Path, build: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is there all the same."""
    build.writers.clear()

    code = main(["-w", str(place), "ci", "report", "--out", str(tmp_path / "r.md"), "--post"])

    assert 6 == code
    assert (tmp_path / "r.md").is_file()
    assert "forge-refused" in capsys.readouterr().err


def test_without_out_the_report_is_the_data(place: Path, build: Forge, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, as Markdown or as JSON; with a base that is a run, and with none that is known."""
    main(["-w", str(place), "ci", "report", "--base", "nowhere"])
    text = capsys.readouterr().out
    main(["-w", str(place), "--json", "ci", "report"])
    document = json.loads(capsys.readouterr().out)

    assert "## 🟡 unproven" in text
    assert "Compared with nothing: `no finished run of delay on branch nowhere is known`." in text
    assert ("unproven", "deeper", "main") == (
        document["outcome"], document["head"]["branch"], document["base"]["branch"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--run", "01kc4v3n0w5x8y2z6q7r9s1t3v"], 4, "not-found"),
        (["--base", "delay@9"], 4, "not-found"),
        (["--image-url", "https://x.example/"], 2, "usage"),
        (["--images", "i", "--image-url", "javascript:alert(1)"], 2, "usage"),
        (["--out", "/proc/nowhere/r.md"], 2, "cannot-write"),
        (["--fail-on", "never"], 2, "usage"),
    ],
)
def test_wrong_words_are_explained(
    words: list[str], code: int, said: str, place: Path, build: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code and a code that say what was wrong."""
    assert code == main(["-w", str(place), "ci", "report", *words])
    assert f"code: {said}" in capsys.readouterr().err


def test_a_commit_that_nothing_ran_on_is_not_there(
    place: Path, build: Forge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do; the newest run of something else is never shown instead."""
    monkeypatch.setenv("CI_COMMIT_SHA", "c" * 40)

    assert 4 == main(["-w", str(place), "ci", "report"])
    assert "code: no-run-of-commit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["delay"], 2, "usage"),
        (["--git", "x", "--close"], 2, "usage"),
        (["--git", "x", "--preview", "0"], 2, "usage"),
        (["--git", "x"], 2, "usage"),
        (["delay", "--git", "x", "--environment", "A B"], 2, "invalid-environment"),
        (["delay", "--git", "x", "--environment", "a", "--preview", "1"], 2, "usage"),
        (["delay", "--git", "/nowhere/x.git", "--preview", "1"], 8, "repository-unreachable"),
    ],
)
def test_promoting_wrongly_is_explained(
    words: list[str], code: int, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written anywhere."""
    assert code == main(["-w", str(place), "promote", *words])
    assert f"code: {said}" in capsys.readouterr().err


def test_promoting_what_was_never_declared(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint that is not there, and a model that is not there."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "e.git")], check=True)
    codes = [
        main(["-w", str(place), "promote", "nope", "--git", str(tmp_path / "e.git"), *more])
        for more in ([], ["--preview", "3"])
    ]

    said = capsys.readouterr().err
    assert [4, 4] == codes
    assert "no endpoint 'nope' is declared" in said
    assert "no model 'nope'" in said
