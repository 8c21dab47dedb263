"""Handing cases on: a second pair of eyes decides, and the ledger says who asked whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import stellwerk as sw
from stellwerk.access.model import Grant
from stellwerk.access.shelves import GRANTS
from stellwerk.cli.main import main
from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.reviews.model import Case
from stellwerk.web.app import application
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    """A workspace of anna, in which bela and carl decide too, and vera only looks."""
    made = Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))
    with made.book.write() as tx:
        for actor, role in (("bela", "editor"), ("carl", "owner"), ("vera", "viewer")):
            GRANTS.put(tx, Grant(actor=actor, role=role, granted_at=NOON, granted_by="anna"))  # type: ignore[arg-type]
            tx.record("access.granted", f"actor:{actor}", {"role": role, "by": "anna"})
    yield made
    made.close()


@pytest.fixture
def case(rooms: Rooms) -> str:
    """A question about a run that anna began."""
    run = rooms.runs.start(experiment="delay", name="delay", kind="pipeline")
    made = Case(
        id="wait-1", endpoint="delay", kind="approval", subject=f"run:{run.id}", queue="pipelines", opened_at=NOON,
        due_at=NOON + timedelta(days=3), why="May it go?", facts={"options": ["approve", "refuse"]},
    )  # fmt: skip
    return rooms.inbox.open(made).id


def as_(rooms: Rooms, actor: str) -> Any:
    return sw.connect(rooms.layout.root, actor=actor)


def test_who_is_asked_decides_alone(rooms: Rooms, case: str) -> None:
    """Neither whoever handed it on nor anybody else does; the ledger says who asked whom, and not why in words."""
    with as_(rooms, "anna") as anna:
        handed = anna.delegate(case, "bela", reason="knows the dispatchers")
        with pytest.raises(Refused) as mine:
            anna.decide(case, "approve")
    with as_(rooms, "carl") as carl, pytest.raises(Refused) as other:
        carl.decide(case, "approve")
    with as_(rooms, "bela") as bela:
        decided = bela.decide(case, "approve")

    assert ("bela", ("anna",), "pipelines") == (handed.asked, handed.handed_by, handed.queue)
    assert ("case-of-another", "case-of-another") == (mine.value.code, other.value.code)
    assert ("approve", "bela") == (decided.decision, decided.decided_by)
    entry = next(iter(rooms.book.entries(kinds=["case.delegated"])))
    assert ("anna", f"case:{case}", "bela") == (entry.actor, entry.subject, entry.body["to"])
    assert entry.body["reason"].startswith("sha256:")


@pytest.mark.parametrize(
    ("by", "to", "code"),
    [
        ("anna", "vera", "may-not-decide"),
        ("anna", "nobody", "may-not-decide"),
        ("anna", "anna", "same-pair-of-eyes"),
        ("bela", "anna", "same-pair-of-eyes"),  # who began the run
    ],
)
def test_it_is_not_handed_to_somebody_who_would_be_no_second_pair_of_eyes(
    rooms: Rooms, case: str, by: str, to: str, code: str
) -> None:
    """Nor to somebody who may not decide; nothing is changed then."""
    with as_(rooms, by) as workspace, pytest.raises(Refused) as refused:
        workspace.delegate(case, to)

    assert code == refused.value.code
    assert ("", ()) == (rooms.inbox.get(case).asked, rooms.inbox.get(case).handed_by)
    assert [] == list(rooms.book.entries(kinds=["case.delegated"]))


def test_it_does_not_come_back_by_a_detour(rooms: Rooms, case: str) -> None:
    """Whoever handed it on stays out: handed back, or put into a queue, it is still not theirs to decide."""
    with as_(rooms, "carl") as carl:
        carl.delegate(case, "bela")
    with as_(rooms, "bela") as bela, pytest.raises(Refused) as back:
        bela.delegate(case, "carl")
    with as_(rooms, "carl") as carl:
        carl.delegate(case, queue="editors")
        with pytest.raises(Refused) as detour:
            carl.decide(case, "approve")
    with as_(rooms, "anna") as anna:
        decided = anna.decide(case, "approve")

    assert ("same-pair-of-eyes", "case-of-another") == (back.value.code, detour.value.code)
    assert ("editors", "", "anna") == (decided.queue, decided.asked, decided.decided_by)


def test_a_case_that_is_decided_stays_where_it_is(rooms: Rooms, case: str) -> None:
    """And one is handed to one person or one queue, and to another one than it is in."""
    with as_(rooms, "anna") as anna:
        for asked in ({}, {"to": "bela", "queue": "editors"}, {"queue": "pipelines"}, {"queue": "no such/queue"}):
            with pytest.raises(Invalid):
                anna.delegate(case, **asked)
        anna.decide(case, "approve")
        for asked in ({"to": "bela"}, {"queue": "editors"}):
            with pytest.raises(Conflict) as late:
                anna.delegate(case, **asked)

    assert "case-decided" == late.value.code


def test_the_command_says_who_is_asked(
    rooms: Rooms, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals have the exit code of refusals, and nothing named is an error of usage."""
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    place = ["-w", str(rooms.layout.root), "inbox"]

    assert 2 == main([*place, "delegate", case])
    assert 6 == main([*place, "delegate", case, "anna"])
    assert 0 == main([*place, "delegate", case, "bela"])
    capsys.readouterr()
    assert 0 == main(place)
    assert "bela" in capsys.readouterr().out


def test_the_page_of_a_case_decides_it_and_hands_it_on(rooms: Rooms, case: str) -> None:
    """By plain forms; what is refused is told on the page, with what was typed; other origins are not heard."""
    client = TestClient(application(rooms, {}), base_url="http://localhost", follow_redirects=False)
    own = {"Origin": "http://localhost"}
    listed, shown = client.get("/cases"), client.get(f"/cases/{case}")
    refused = client.post(f"/cases/{case}", data={"to": "vera", "reason": "why not"}, headers=own)
    json = client.post(f"/cases/{case}", json={"to": "bela"}, headers=own)
    foreign = client.post(f"/cases/{case}", data={"to": "bela"}, headers={"Origin": "http://elsewhere"})
    untouched = rooms.inbox.get(case)
    done = client.post(f"/cases/{case}", data={"to": "bela", "queue": ""}, headers=own)
    after = client.get(f"/cases/{case}").text

    assert f'href="/cases/{case}"' in listed.text
    assert ("same-origin", 200) == (shown.headers["Referrer-Policy"], shown.status_code)
    assert ('value="approve"' in shown.text, 403, 422, 403) == (
        True, refused.status_code, json.status_code, foreign.status_code,
    )  # fmt: skip
    assert "may not decide cases here" in refused.text
    assert 'value="vera"' in refused.text
    assert "" == untouched.asked
    assert (303, f"/cases/{case}") == (done.status_code, done.headers["location"])
    assert "anna</bdi> has handed it on" in after
    assert 404 == client.get("/cases/nothing").status_code
    assert 404 == client.post("/cases/nothing", data={"decision": "approve"}, headers=own).status_code


def test_a_case_without_a_deadline_is_decided_however_late(rooms: Rooms, case: str) -> None:
    """When it is due is a promise."""
    with as_(rooms, "bela") as bela:
        assert rooms.inbox.get(case).due_at < rooms.clock.now()
        assert "decided" == bela.decide(case, "approve").status
