"""The one comment on a merge request: found again, changed in place, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable
from stellwerk.testing.forges import ACTIONS, Forge, forge
from stellwerk.workspace import forges
from stellwerk.workspace.adapters.forges import thread
from stellwerk.workspace.ports import Gallery, Target

MARK = "<!-- stellwerk ci report 0123 -->"
PROJECT = {"github": "anna/flights", "gitlab": "17"}


@pytest.fixture
def state() -> Iterator[Forge]:
    known = Forge(
        people={"bot-token": "bot", "reader-token": "reader", "job-token": ACTIONS, "mallory-token": "mallory"},
        writers={"bot", ACTIONS},
        requests={"anna/flights": {7}, "17": {7}},
    )
    with forge(known) as running:
        yield running


@pytest.fixture(params=["github", "gitlab"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def target(state: Forge, kind: Any, token: str = "bot-token", number: int = 7) -> Target:
    return Target(forge=kind, api=f"{state.url}/{kind}", project=PROJECT[kind], number=number, token=token)


def say(state: Forge, kind: Any, text: str, **options: Any) -> str:
    waits: list[float] = []
    open_ = thread(target(state, kind, **options), waits.append)
    return forges.post(open_, forges.mine(open_, MARK), f"{MARK}\n{text}")[1]


def test_there_is_one_comment(state: Forge, kind: Any) -> None:
    """Written once, changed in place, and left alone where it says so already."""
    done = [say(state, kind, text) for text in ("first", "second", "second")]

    assert ["written", "edited", "unchanged"] == done
    assert [("bot", f"{MARK}\nsecond")] == state.texts(PROJECT[kind], 7)


def test_line_ends_make_no_difference(state: Forge, kind: Any) -> None:
    """A forge that keeps texts with other line ends has the same text."""
    state.say(PROJECT[kind], 7, "bot", f"{MARK}\r\nfirst  \r\n")

    assert "unchanged" == say(state, kind, "first\n")


def test_a_comment_of_somebody_else_is_not_ours(state: Forge, kind: Any) -> None:
    """Whoever copies the marker could change their comment later: ours is another one, and theirs stays."""
    state.say(PROJECT[kind], 7, "mallory", f"{MARK}\n## clear")

    assert "written" == say(state, kind, "stop")
    assert [("mallory", f"{MARK}\n## clear"), ("bot", f"{MARK}\nstop")] == state.texts(PROJECT[kind], 7)


def test_it_is_found_behind_many_others(state: Forge, kind: Any) -> None:
    """On whichever page it stands; a comment that only quotes the marker is none."""
    for number in range(150):
        state.say(PROJECT[kind], 7, "bot", f"talk {number} about {MARK}")
    state.say(PROJECT[kind], 7, "bot", f"{MARK}\nold")

    assert "edited" == say(state, kind, "new")
    assert 151 == len(state.texts(PROJECT[kind], 7))


def test_a_workflow_has_a_name(state: Forge) -> None:
    """Its own token may not ask who it is, and finds its comment all the same."""
    assert ["written", "edited"] == [say(state, "github", text, token="job-token") for text in ("one", "two")]
    assert [(ACTIONS, f"{MARK}\ntwo")] == state.texts("anna/flights", 7)


def test_what_a_token_may_not_is_said(state: Forge, kind: Any) -> None:
    """With what to do about it, and without the token."""
    with pytest.raises(Refused) as caught:
        say(state, kind, "text", token="reader-token")
    with pytest.raises(Refused) as unknown:
        say(state, kind, "text", token="wrong-token")

    for problem in (caught.value, unknown.value):
        assert "forge-refused" == problem.code
        assert "token" not in problem.message.replace("the token may not", "")
        assert ("pull-requests: write" if kind == "github" else "STELLWERK_FORGE_TOKEN") in problem.hint


def test_a_merge_request_that_is_not_there(state: Forge, kind: Any) -> None:
    """Missing and forbidden look the same at forges; the error names which it was."""
    with pytest.raises(NotFound) as caught:
        say(state, kind, "text", number=8)

    assert "merge request 8" in caught.value.message


@pytest.mark.parametrize(
    "limit",
    [(429, {"Retry-After": "3"}), (403, {"Retry-After": "3"}), (403, {"x-ratelimit-remaining": "0"}), (502, {})],
)
def test_a_busy_forge_is_given_time(state: Forge, kind: Any, limit: tuple[int, dict[str, str]]) -> None:
    """As long as it asks for; what does no harm twice is tried again."""
    state.limits += [limit]
    waits: list[float] = []

    open_ = thread(target(state, kind), waits.append)
    found = forges.post(open_, forges.mine(open_, MARK), f"{MARK}\ntext")

    assert "written" == found[1]
    assert [3.0 if "Retry-After" in limit[1] else 1.0] == waits


def test_a_forge_that_stays_busy_is_an_error(state: Forge, kind: Any) -> None:
    """Which names the time to come back; one that wants an hour is not waited for."""
    state.limits += [(429, {"Retry-After": "3600"})]
    waits: list[float] = []

    with pytest.raises(Unavailable) as caught:
        forges.mine(thread(target(state, kind), waits.append), MARK)

    assert ("forge-busy", []) == (caught.value.code, waits)
    assert "3600 seconds" in caught.value.hint


def test_a_comment_is_not_written_twice(state: Forge, kind: Any) -> None:
    """Where the answer to writing is lost nobody tries again, for it might be there."""
    open_ = thread(target(state, kind), lambda _: None)
    state.limits += [(500, {})]

    with pytest.raises(Unavailable):
        open_.write("text")

    assert 1 == len(state.seen)


def test_redirects_are_not_followed(state: Forge, kind: Any) -> None:
    """The token goes to nobody but whom the CI named."""
    state.limits += [(307, {"Location": f"{state.url}/elsewhere"})]

    with pytest.raises(Unavailable):
        say(state, kind, "text")

    assert ["/user"] == [path.removeprefix(f"/{kind}") for _, path in state.seen]


def test_pictures_are_kept_once(state: Forge) -> None:
    """Where the forge has room for them; those that our comment shows already are not kept again."""
    gitlab, github = thread(target(state, "gitlab")), thread(target(state, "github"))
    assert isinstance(gitlab, Gallery)
    assert not isinstance(github, Gallery)

    first = forges.show(gitlab, {"a.svg": ("A", "<svg>a</svg>"), "b.svg": ("B", "<svg>b</svg>")}, None)
    known = gitlab.write(f"{MARK}\n![A]({first.images['A']})\n{first.hidden}")
    second = forges.show(gitlab, {"a.svg": ("A", "<svg>a</svg>"), "b.svg": ("B", "<svg>new</svg>")}, known)

    assert [b"<svg>a</svg>", b"<svg>b</svg>", b"<svg>new</svg>"] == list(state.pictures.values())
    assert first.images["A"] == second.images["A"]
    assert b"<svg>new</svg>" == state.pictures[second.images["B"]]


def test_no_picture_where_the_token_may_not(state: Forge) -> None:
    """The error is one that whoever posts can go on without."""
    gitlab = thread(target(state, "gitlab", token="reader-token"))
    assert isinstance(gitlab, Gallery)

    with pytest.raises(Refused):
        gitlab.keep("a.svg", b"<svg/>", "image/svg+xml")


def test_the_ci_names_the_merge_request(tmp_path: Path) -> None:
    """Its number, its project and the address of its API; a build of a branch has none."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}), "utf-8")
    github = {
        "GITHUB_ACTIONS": "true", "GITHUB_API_URL": "https://git.example/api/v3", "GITHUB_REPOSITORY": "anna/flights",
        "GITHUB_EVENT_PATH": str(event), "GITHUB_TOKEN": "secret",
    }  # fmt: skip
    gitlab = {
        "GITLAB_CI": "true", "CI_API_V4_URL": "https://lab.example/api/v4", "CI_PROJECT_ID": "17",
        "CI_MERGE_REQUEST_IID": "7", "GITLAB_TOKEN": "less",
    }  # fmt: skip

    one, two = forges.target(github), forges.target(gitlab, "secret")

    assert one == Target(
        forge="github", api="https://git.example/api/v3", project="anna/flights", number=12, token="secret"
    )
    assert two == Target(forge="gitlab", api="https://lab.example/api/v4", project="17", number=7, token="secret")
    assert "secret" not in repr(one)
    assert forges.target({"GITLAB_CI": "true", "CI_COMMIT_SHA": "a" * 40}) is None
    assert forges.target({}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"CI_MERGE_REQUEST_IID": "7/../8"},
        {"CI_PROJECT_ID": "../../user"},
        {"CI_API_V4_URL": "ftp://lab.example"},
        {"CI_API_V4_URL": "https://user:word@lab.example/api"},
        {"CI_API_V4_URL": ""},
    ],
)
def test_variables_that_make_no_sense_are_refused(wrong: dict[str, str]) -> None:
    """Nothing of them becomes part of an address."""
    sound = {
        "GITLAB_CI": "true", "CI_API_V4_URL": "https://lab.example/api/v4", "CI_PROJECT_ID": "17",
        "CI_MERGE_REQUEST_IID": "7",
    }  # fmt: skip

    with pytest.raises(Invalid) as caught:
        forges.target({**sound, **wrong})

    assert "invalid-forge" == caught.value.code
