"""The pages of registered models, asked of the whole application."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from stellwerk.core.clock import format_instant
from stellwerk.core.digest import of_bytes
from stellwerk.evidence.service import MARK
from stellwerk.models.model import Column, ModelVersion, Signature
from stellwerk.releases.model import Release, Verdict
from stellwerk.releases.shelves import ENDPOINTS, RELEASES, VERDICTS
from stellwerk.testing.releases import a_plan, a_release, an_endpoint
from stellwerk.web.ui import shelving
from stellwerk.workspace.rooms import Rooms

SIGNATURE = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")
DAY = timedelta(days=1)


def text(page: str) -> str:
    """What a page says, as one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def numbers(page: str) -> list[int]:
    """Versions in the table, as they stand."""
    return [int(number) for number in re.findall(r'id="version-(\d+)"', page)]


def register(rooms: Rooms, number: int, name: str = "delay", run: str = "") -> ModelVersion:
    """A version with bytes of its own."""
    digest = of_bytes(f"{name} {number}".encode())
    return rooms.registry.register(name, digest, SIGNATURE, layout="skops", run_id=run)


def judge(rooms: Rooms, version: ModelVersion, **facts: Any) -> Verdict:
    """A verdict on a version, as it lies on its shelf."""
    now = rooms.clock.now()
    said: dict[str, Any] = {
        "id": f"verdict-{version.version}", "endpoint": "arrivals", "model": version.bytes(), "attempt": 1,
        "plan": of_bytes(b"plan"), "outcome": "clear", "reasons": (), "routed": (), "n_needed": None, "evidence": (),
        "given_at": now, "valid_until": now + 30 * DAY,
    }  # fmt: skip
    verdict = Verdict(**(said | facts))
    with rooms.book.write() as tx:
        VERDICTS.insert(tx, verdict)
        tx.record("test.judged", "test:1")
    return verdict


def release(rooms: Rooms, version: ModelVersion, **facts: Any) -> Release:
    """A release of a version, as it lies on its shelf."""
    now = rooms.clock.now()
    said = {
        "id": f"release-{version.version}", "endpoint": "arrivals", "model": version.bytes(),
        "model_name": version.name, "model_version": version.version, "verdict": f"verdict-{version.version}",
        "granted_at": now, "expires_at": now + 20 * DAY,
    }  # fmt: skip
    made = a_release(**(said | facts))
    with rooms.book.write() as tx:
        RELEASES.insert(tx, made)
        tx.record("test.released", "test:1")
    return made


def grant(rooms: Rooms, version: ModelVersion) -> Release:
    """A release of a version, granted the honest way."""
    declare(rooms)
    gate = rooms.gates.seal(
        name="arrivals", features=b"f", labels=b"l", rows=1, target="y", task="regression", marks=b"m" * MARK
    )
    plan = rooms.gates.freeze(
        a_plan(endpoint="arrivals", gate=gate.name, gate_version=gate.version, model=version.digest)
    )
    attempt = rooms.gates.open(gate, plan)[0].attempt
    verdict = judge(rooms, version, plan=plan, attempt=attempt)
    with rooms.book.write() as tx:
        tx.record("verdict.given", "endpoint:arrivals", {"verdict": verdict.id})
    return rooms.interlocking.grant(verdict, version, labels_to_renew=500)


def declare(rooms: Rooms) -> None:
    """An endpoint for the releases of these tests."""
    with rooms.book.write() as tx:
        ENDPOINTS.put(tx, an_endpoint(name="arrivals"))
        tx.record("test.declared", "test:1")


def test_an_empty_workspace_says_how_to_begin(site: TestClient) -> None:
    """With the commands to type, and this server's own address."""
    shown = text(site.get("/models").text)

    assert "No model is registered yet" in shown
    assert "stellwerk ship FILE" in shown
    assert "export MLFLOW_TRACKING_URI=http://127.0.0.1:7700" in shown


def test_models_are_listed(site: TestClient, rooms: Rooms) -> None:
    """With versions, the newest, aliases, what is said of them and what answers now; prompts are not models."""
    one, two = register(rooms, 1), register(rooms, 2)
    rooms.registry.alias("delay", "champion", 1)
    rooms.catalogue.describe("delay", description="Will it be late?", tags={"team": "risk"})
    grant(rooms, one)
    release(rooms, two, endpoint="departures", expires_at=rooms.clock.now())
    rooms.catalogue.create("bare")
    rooms.catalogue.create("greeting", tags={"mlflow.prompt.is_prompt": "true"})
    page = site.get("/models").text

    shown = text(page)
    assert 'href="/models/delay"' in page
    assert "Models 2" in shown
    assert "Will it be late? team : risk 2 2 champion → 1 good: arrivals version 1, clear" in shown
    assert "bare 0 none yet" in shown
    assert "departures" not in shown
    assert "greeting" not in shown
    assert "delay" in text(site.get("/models?name=ELA").text)
    assert "bare" not in text(site.get("/models?name=ELA").text)
    assert "No model has “ x ” in its name" in text(site.get("/models?name=x").text)


def test_the_header_leads_to_models_and_to_cases(site: TestClient) -> None:
    """From every page: a person whom something waits for may have no endpoint that says so."""
    assert '<a class="room" href="/models">Models</a>' in site.get("/").text
    assert '<a class="room" href="/cases">Cases</a>' in site.get("/").text


def test_a_model_shows_its_versions(site: TestClient, rooms: Rooms) -> None:
    """The newest first: who made it when from which run, its digest, its stage, aliases, proof and release."""
    run = rooms.logbook.create(rooms.experiments.create("e").id, name="training").run.id
    one, two = register(rooms, 1, run=run), register(rooms, 2, run="elsewhere")
    rooms.catalogue.add("delay", "s3://bucket/model")
    rooms.catalogue.stage("delay", 2, "Staging")
    rooms.catalogue.describe("delay", 2, description="With weather.", tags={"depth": "6"})
    rooms.registry.alias("delay", "champion", 1)
    granted = grant(rooms, one)
    judge(rooms, two, outcome="unproven", n_needed=400, valid_until=rooms.clock.now())
    page = site.get("/models/delay").text

    assert [3, 2, 1] == numbers(page)
    third, second, first = (text(part) for part in page.split('id="version-')[1:4])
    assert "files elsewhere" in third
    assert "cannot be proven" in third
    assert "stage Staging With weather. depth : 6" in second
    assert "elsewhere not known here" in second
    assert "unproven arrivals" in second
    assert "evidence expired; 400 more cases needed" in second
    assert "champion" in first
    assert "by anna training" in first
    assert "clear arrivals" in first
    assert "active arrivals , until" in first
    assert f'href="/runs/{run}"' in page
    assert f'data-copy="{one.digest}"' in page
    assert f'href="/trace/{one.digest}"' in page
    assert f'href="/dossier/{granted.id}"' in page
    assert 'html lang="en" data-live' in page


def test_what_was_never_judged_can_be(site: TestClient, rooms: Rooms) -> None:
    """Bytes of our own format, without a verdict or release."""
    register(rooms, 1)
    shown = text(site.get("/models/delay").text)

    assert "skops can be proven –" in shown
    assert "Nothing was proven or released yet" in shown
    assert "No alias was moved" in shown


def test_verdicts_and_releases_are_evidence(site: TestClient, rooms: Rooms) -> None:
    """All there ever were, the newest first, with dossier and trace, and how each ended."""
    one, now = register(rooms, 1), rooms.clock.now()
    judge(rooms, one, given_at=now - 3 * DAY)
    release(rooms, one, granted_at=now - 2 * DAY, status="stopped", ended_at=now - DAY, ended_why="harm was proven")
    release(rooms, one, id="release-9", granted_at=now - DAY, expires_at=now - DAY / 2)
    page = site.get("/models/delay").text

    shown = text(page.split("Proven and released")[-1])
    assert shown.index("lease ended") < shown.index("stopped") < shown.index("clear")
    assert "harm was proven" in shown
    assert 'class="chip good">clear' in page
    assert 2 == page.count(f'href="/trace/{one.digest}"')
    for found in ("release-1", "release-9"):
        assert f'href="/dossier/{found}"' in page
        assert f'href="/trace/{found}"' in page


def test_expired_evidence_is_not_green(site: TestClient, rooms: Rooms) -> None:
    """What it said is still told, in plain letters."""
    judge(rooms, register(rooms, 1), valid_until=rooms.clock.now())
    page = site.get("/models/delay").text

    assert 2 == page.count('class="chip">clear')
    assert 'class="chip good">clear' not in page


def test_a_release_that_cannot_be_proven_shines_nowhere(site: TestClient, rooms: Rooms) -> None:
    """Its row says that it is active, but no entry of the ledger grants it: the endpoint is at stop, and so it stands."""
    declare(rooms)
    one = register(rooms, 1)
    judge(rooms, one)
    release(rooms, one)

    assert "bad: arrivals version 1, stop" in text(site.get("/models").text)
    page = site.get("/models/delay").text
    assert 2 == text(page).count("active, signal at stop")
    assert 'class="chip good">active' not in page


def test_moves_of_aliases_are_told(site: TestClient, rooms: Rooms) -> None:
    """Who moved which when, from where to where; and each leads to the model as of then."""
    for number in (1, 2):
        register(rooms, number)
    rooms.registry.alias("delay", "champion", 1)
    rooms.registry.alias("delay", "champion", 2)
    rooms.registry.alias("delay", "old", 1)
    rooms.registry.unalias("delay", "old")
    page = site.get("/models/delay").text

    shown = text(page.split("Moves of aliases")[1])
    assert shown.index("old taken away from version 1") < shown.index("champion from version 1 → version 2")
    assert "champion set to version 1" in shown
    assert "anna" in shown
    back = unescape(re.findall(r'href="(/models/delay\?as_of=[^"]*)"', page)[-1])
    assert "champion version 1" in text(site.get(back).text)


def test_a_model_can_be_seen_as_of_a_time(site: TestClient, rooms: Rooms) -> None:
    """The versions there were and where aliases pointed, also of a day; everything is there before the address is."""
    register(rooms, 1)
    rooms.registry.alias("delay", "champion", 1)
    then = rooms.clock.now()
    register(rooms, 2)
    rooms.registry.alias("delay", "champion", 2)
    rooms.registry.alias("delay", "shadow", 1)
    page = site.get(f"/models/delay?as_of={quote(format_instant(then))}").text

    assert [1] == numbers(page)
    shown = text(page)
    assert "1 later version is left out" in shown
    assert "champion version 1" in shown
    assert "shadow" not in shown
    assert "data-live" not in page.split("<head>")[0]
    before = text(site.get("/models/delay?as_of=2001-05-01").text)
    assert "As of 1 May 2001, 00:00 UTC" in before
    assert "2 later versions are left out" in before
    assert [2, 1] == numbers(site.get("/models/delay?as_of=9999-01-01").text)


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-01", "2026-05-01T12:00:00", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_time_is_said_at_the_box(site: TestClient, rooms: Rooms, typed: str) -> None:
    """With what was typed still there, and the model as it is now beneath."""
    register(rooms, 1)
    answer = site.get("/models/delay", params={"as_of": typed})

    assert 422 == answer.status_code
    assert 'role="alert"' in answer.text
    assert f'name="as_of" value="{typed}"' in answer.text
    assert [1] == numbers(answer.text)


def test_protected_aliases_are_marked(site: TestClient, rooms: Rooms) -> None:
    """Where they point, at the version, and stages of that name."""
    register(rooms, 1)
    rooms.registry.alias("delay", "champion", 1)
    rooms.catalogue.stage("delay", 1, "Production")
    for alias in ("champion", "production"):
        rooms.registry.protect(alias)
    page = site.get("/models/delay").text

    row = text(page.split('id="version-1"')[1])
    assert "champion protected stage Production protected" in row
    assert "Protected in every model: champion , production" in text(page)


def test_versions_are_read_in_pages(site: TestClient, rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links lead on and back, and keep the time."""
    monkeypatch.setattr(shelving, "SIZE", 2)
    for number in range(5):
        register(rooms, number)
    first = site.get("/models/delay?as_of=9999-01-01").text
    assert [5, 4] == numbers(first)
    assert 'rel="prev"' not in first

    second = site.get(unescape(re.findall(r'rel="next" href="([^"]*)"', first)[0])).text
    assert [3, 2] == numbers(second)
    assert "3–4 of 5" in text(second)
    third = site.get(unescape(re.findall(r'rel="next" href="([^"]*)"', second)[0])).text
    assert [1] == numbers(third)
    assert 'rel="next"' not in third
    assert "as_of=9999-01-01" in third
    for page in ("9" * 7, "9" * 400, "-1", "x", ""):
        assert 200 == site.get(f"/models/delay?page={page}").status_code


def test_runs_and_the_board_lead_to_models(site: TestClient, rooms: Rooms) -> None:
    """To what a run made, also by its steps, and to what was released, also after it was renamed."""
    experiment = rooms.experiments.create("e").id
    made = of_bytes(b"delay 1")
    parent = rooms.runs.start(experiment="steps", name="parent", kind="pipeline").id
    step = rooms.runs.start(experiment="steps", name="step", kind="train", parent=parent).id
    rooms.runs.finish(step, outputs={"model": made})
    run = rooms.logbook.create(experiment).run.id
    version = register(rooms, 1, run=run)
    grant(rooms, version)
    rooms.catalogue.rename("delay", "late")

    for found in (run, step, parent):
        page = site.get(f"/runs/{found}").text
        assert "registered version" in text(page)
        assert 'href="/models/late"' in page
    assert "registered version" not in site.get(f"/runs/{rooms.logbook.create(experiment).run.id}").text
    assert 2 == site.get("/").text.count('href="/models/late"')


def test_unknown_models_are_not_found(site: TestClient) -> None:
    """As a page."""
    answer = site.get("/models/nobody")

    assert 404 == answer.status_code
    assert "<!DOCTYPE html>" in answer.text


@pytest.mark.parametrize(
    "attack",
    ['"><img src=x onerror=alert(1)>', "<script>alert(1)</script>", "{{ 7*7 }}", "a?b#c&d=e%", "W" * 250, "../.x"],
)
def test_hostile_names_stay_text_on_every_page(site: TestClient, rooms: Rooms, attack: str) -> None:
    """In names of models, descriptions, tags, sources and addresses."""
    name = attack.replace("/", "|")
    rooms.catalogue.create(name, description=attack, tags={"note": attack})
    rooms.catalogue.add(name, "s3://bucket/model", description=attack, tags={"note": attack}, run_id=attack[:200])
    typed = quote(attack)

    for path in (
        "/models",
        f"/models?name={typed}",
        f"/models/{quote(name)}",
        f"/models/{quote(name)}?as_of={typed}",
    ):
        answer = site.get(path)
        assert answer.status_code in (200, 422)
        assert "<img" not in answer.text
        assert 1 == answer.text.count("<script")
        assert len(answer.text) < 100_000


def test_programs_get_the_same(site: TestClient, rooms: Rooms) -> None:
    """Lists and pages as JSON."""

    def ask(operation: str, **arguments: Any) -> Any:
        answer = site.post(f"/api/v1/{operation}", json=arguments)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    version = register(rooms, 1)
    rooms.registry.alias("delay", "champion", 1)
    grant(rooms, version)

    found = ask("models.overview", name="DEL")
    assert (1, 1) == (found["found"], found["total"])
    assert ["arrivals"] == [one["endpoint"] for one in found["models"][0]["permits"]]
    page = ask("models.page", name="delay", as_of=format_instant(rooms.clock.now()))
    assert ["clear"] == [one["verdict"]["outcome"] for one in page["versions"]]
    assert ["champion"] == [one["alias"] for one in page["moves"]]
    assert datetime.fromisoformat(page["versions"][0]["made_at"]) == version.created_at
    assert 422 == site.post("/api/v1/models.page", json={"name": "delay", "offset": -1}).status_code


def test_webhooks_are_listed_without_what_is_secret(site: TestClient, rooms: Rooms) -> None:
    """Who is told of what, by its host; an empty list says how to begin, and the page of models leads here."""
    assert "stellwerk webhooks add" in text(site.get("/webhooks").text)
    rooms.webhooks.create("ci", "https://1.1.1.1/path-canary", ["prompt.created"], secret="word-canary")
    page = site.get("/webhooks").text

    assert "1.1.1.1" in page
    assert "prompt.created" in page
    assert "nothing yet" in page
    assert "canary" not in page
    assert 'href="/webhooks"' in site.get("/models").text
