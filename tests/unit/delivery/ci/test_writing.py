"""CI files as text: what every system's says, and that somebody's edits are seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from stellwerk.core.errors import Invalid
from stellwerk.delivery.ci import gitlab
from stellwerk.delivery.ci.model import Order
from stellwerk.delivery.ci.systems import SYSTEMS

ORDER = Order(name="flights", endpoints=("delay", "fares"))
ENVIRONMENTS = "https://git.example.com/anna/environments.git"
ROLE = "arn:aws:iam::123456789012:role/flights-ci"


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_job_calls_the_command_line(system: str) -> None:
    """Install, run, prove each endpoint in turn, report: in every system, in this order."""
    text = SYSTEMS[system].render(ORDER)

    at = [text.index(line) for line in ("-r requirements.lock", "stellwerk run", "stellwerk prove delay")]
    assert sorted(at) == at
    assert (
        text.index("stellwerk prove delay") < text.index("stellwerk prove fares") < text.index("stellwerk ci report")
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_releasing_is_asked_for(system: str) -> None:
    """Nothing is released unless it was ordered, and then somebody must approve first."""
    plain = SYSTEMS[system].render(ORDER)
    text = SYSTEMS[system].render(replace(ORDER, release=True, environment="live"))
    approval = {
        "github": "environment: live #",
        "gitlab": "when: manual",
        "circleci": "requires: [approve]",
        "jenkins": "input {",
    }

    assert "stellwerk release" not in plain
    assert approval[system] not in plain
    assert approval[system] in text
    assert "stellwerk release delay" in text
    assert "type: approval" in text or system != "circleci"


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_pipeline_asks_is_asked_in_the_ci(system: str) -> None:
    """Between running and proving somebody approves, which answers the case; only then anything is proven."""
    plain = SYSTEMS[system].render(ORDER)
    text = SYSTEMS[system].render(replace(ORDER, waits=True))
    gate = {
        "github": "environment: approval",
        "gitlab": "when: manual",
        "circleci": "type: approval",
        "jenkins": "input {",
    }

    assert gate[system] not in plain
    assert "ci approve" not in plain
    assert gate[system] in text
    assert text.index("stellwerk run") < text.index("stellwerk ci approve") < text.index("stellwerk prove delay")
    assert text.count("stellwerk run\n") <= 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_previews_are_made_where_they_are_ordered(system: str) -> None:
    """After the proof, for every endpoint, with a token where https needs one; how they go away is done or said."""
    plain = SYSTEMS[system].render(ORDER)
    text = SYSTEMS[system].render(replace(ORDER, previews=ENVIRONMENTS))
    by_ssh = SYSTEMS[system].render(replace(ORDER, previews="git@git.example.com:anna/environments.git"))

    made = [text.index(f"stellwerk promote {name} --git {ENVIRONMENTS} --preview") for name in ORDER.endpoints]
    assert "promote" not in plain
    assert text.index("stellwerk prove fares") < made[0] < made[1]
    assert re.search(f"stellwerk promote --git {ENVIRONMENTS} --preview .* --close", text)
    assert (system in ("github", "jenkins")) == ("STELLWERK_GIT_TOKEN" in text)
    assert "STELLWERK_GIT_TOKEN" not in by_ssh
    assert "git@git.example.com:anna/environments.git --preview" in by_ssh


def test_a_preview_is_taken_away_by_what_the_system_has_for_it() -> None:
    """An event of GitHub, the stop of an environment in GitLab; where there is neither, the file says so."""
    texts = {system: writer.render(replace(ORDER, previews=ENVIRONMENTS)) for system, writer in SYSTEMS.items()}
    github, gitlab_ = yaml.safe_load(texts["github"]), yaml.safe_load(texts["gitlab"])

    assert "closed" in github[True]["pull_request"]["types"]
    assert "github.event.action != 'closed'" == github["jobs"]["prove"]["if"]
    assert github["jobs"]["close"]["if"].endswith("github.event.action == 'closed'")
    assert {"contents": "read"} == github["jobs"]["preview"]["permissions"]
    stop = gitlab_["preview"]["environment"]["on_stop"]
    assert "stop" == gitlab_[stop]["environment"]["action"]
    assert gitlab_["preview"]["environment"]["name"] == gitlab_[stop]["environment"]["name"]
    assert all("starts nothing when a pull request is closed" in texts[system] for system in ("circleci", "jenkins"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_workspace_elsewhere_needs_no_cache(system: str) -> None:
    """With an address every command works there, and the folder of the workspace is neither made nor cached."""
    text = SYSTEMS[system].render(replace(ORDER, workspace="http://127.0.0.1:7700"))

    assert re.search(r"STELLWERK_ROOT\W+http://127\.0\.0\.1:7700", text)
    assert "stellwerk init" not in text
    assert ".stellwerk" not in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_token_is_asked_for_only_where_it_is_used(system: str) -> None:
    """Without a role no job may ask for an identity; with one, that is how it comes to the bucket."""
    plain = SYSTEMS[system].render(ORDER)
    text = SYSTEMS[system].render(replace(ORDER, role=ROLE))

    assert not re.search(r"id-token|id_tokens|OIDC|AWS", plain)
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in text
    assert ROLE in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_red_run_saw_is_kept(system: str) -> None:
    """Among the files of the job, unless it is in a shared workspace, or came by a role."""
    keep = "stellwerk backup reports/workspace.tar"

    assert keep in SYSTEMS[system].render(ORDER)
    assert keep not in SYSTEMS[system].render(replace(ORDER, role=ROLE))
    assert keep not in SYSTEMS[system].render(replace(ORDER, workspace="http://127.0.0.1:7700"))


def test_no_action_moves_and_no_permission_is_idle() -> None:
    """Every action of GitHub is named by its commit; nothing may be written but the report and SARIF."""
    text = SYSTEMS["github"].render(replace(ORDER, release=True))
    jobs = yaml.safe_load(text)["jobs"]

    uses = re.findall(r"uses: (\S+) # v[0-9.]+$", text, re.MULTILINE)

    assert text.count("uses:") == len(uses)
    assert all(re.fullmatch(r"[a-z/-]+@[0-9a-f]{40}", one) for one in uses)
    assert {"contents": "read", "pull-requests": "write", "security-events": "write"} == jobs["prove"]["permissions"]
    assert {"contents": "read"} == jobs["release"]["permissions"]


def test_locks_with_hashes_are_held_to_them() -> None:
    """Where the lock names hashes, nothing else is installed; a lock of uv is installed by uv."""
    assert "--require-hashes -r requirements.lock" in SYSTEMS["gitlab"].render(replace(ORDER, hashes=True))
    assert "uv sync --locked" in SYSTEMS["gitlab"].render(replace(ORDER, lock="uv.lock"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"branch": "main\n    - evil"},
        {"branch": "a..b"},
        {"image": "python:3.12; rm -rf /"},
        {"python": "3.12' }}"},
        {"lock": "$(id)"},
        {"lock": "../requirements.lock"},
        {"workspace": "http://x/$(id)"},
        {"workspace": "ssh://x"},
        {"role": "arn:aws:iam::1:role/x"},
        {"runner": "a, b"},
        {"name": "a b"},
        {"pipeline": "-p"},
        {"endpoints": ("a b",)},
        {"endpoints": (), "release": True},
        {"endpoints": (), "previews": ENVIRONMENTS},
        {"previews": "https://anna:secret@git.example.com/x.git"},
        {"previews": "https://git.example.com/x.git --force"},
        {"previews": "ext::sh"},
    ],
    ids=str,
)
def test_what_a_shell_would_read_otherwise_is_refused(wrong: dict[str, Any]) -> None:
    """No option brings a word into a file that YAML, Groovy or a shell takes for something else."""
    with pytest.raises(Invalid) as refused:
        replace(ORDER, **wrong)

    assert "secret" not in refused.value.message


@pytest.mark.parametrize("word", ["1.10", "007", "2024-01-01", "on", "No", "null", "1e3"])
@pytest.mark.parametrize(
    ("system", "field"),
    [
        *(("github", "branch"), ("github", "environment"), ("github", "runner")),
        *(("gitlab", "environment"), ("gitlab", "runner"), ("circleci", "branch"), ("circleci", "runner")),
    ],
)
def test_names_that_look_like_numbers_stay_names(system: str, field: str, word: str) -> None:
    """Branches, environments and runners are read from the file as they were said."""
    order = replace(ORDER, release=True, **{field: word})

    assert word in set(_texts(yaml.safe_load(SYSTEMS[system].render(order))))


def _texts(document: Any) -> Iterator[Any]:
    """All values of a document."""
    if isinstance(document, dict | list):
        for one in document.values() if isinstance(document, dict) else document:
            yield from _texts(one)
    else:
        yield document


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_edit_is_seen(system: str) -> None:
    """A file is untouched as long as every character below its head is as it was written."""
    writer = SYSTEMS[system]
    text = writer.write(ORDER, f"stellwerk ci init {system}")

    assert writer.untouched(text)
    assert not writer.untouched(text + "\n")
    assert not writer.untouched(text.replace("stellwerk run", "stellwerk  run"))
    assert not writer.untouched(writer.render(ORDER))
    assert not writer.untouched("")


@pytest.mark.parametrize(("branch", "slug"), [("main", "main"), ("Feature/One_Two-", "feature-one-two")])
def test_branches_are_called_as_gitlab_calls_them(branch: str, slug: str) -> None:
    """The cache that a branch falls back to has the name that the other branch gave it."""
    assert slug == gitlab.slug(branch)
