"""What the pages say, read as a person would."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from stellwerk.governance.dossier import Dossier, Section
from stellwerk.governance.model import Graph
from stellwerk.web.ui import render

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("samples.py"))))


class _Reader(HTMLParser):
    """Text, links and ids of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [values["href"] or ""] if "href" in values else []
        self.ids += [values["id"] or ""] if "id" in values else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


PAGES = {
    "board": lambda: render.render_board(samples.board()),
    "run": lambda: render.render_run(samples.run_page(), simulated=samples.NOW),
    "failed run": lambda: render.render_run(samples.failed_run()),
    "trace": lambda: render.render_trace(samples.trace()),
    "failed trace": lambda: render.render_trace(samples.failed_trace()),
    "error": lambda: render.render_error(404, "There is no such run", "Look at the board."),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_obey_the_content_security_policy(name: str) -> None:
    """No inline style, script or handler, and nothing from another host."""
    page = PAGES[name]()

    assert [] == re.findall(r"\sstyle\s*=|\son[a-z]+\s*=|<style|javascript:", page)
    assert 1 == page.count("<script")
    assert [] == re.findall(r"(?:https?:)?//[a-z]", page)
    assert set() == {src for src in re.findall(r'(?:src|href)="([^"]*)"', page) if src[:1] not in "/#"}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_well_formed(name: str) -> None:
    """One title, one main, one first heading, a skip link first, no id twice, every inner link has its goal."""
    page = PAGES[name]()
    seen = _Reader(page)

    assert page.startswith("<!DOCTYPE html>")
    assert [1, 1, 1] == [page.split("</head>")[0].count("<title>"), page.count("<main"), page.count("<h1")]
    assert len(seen.ids) == len(set(seen.ids))
    assert set() == {link[1:] for link in seen.links if link.startswith("#")} - set(seen.ids)
    assert next(link for link in seen.links if link.startswith(("#", "/")) and "static" not in link) == "#main"


def test_the_board_answers_the_first_questions() -> None:
    """Which signal, why, how long, what next: as words, for each endpoint."""
    text = _Reader(render.render_board(samples.board())).text

    for card in samples.board().endpoints:
        assert f"{card.name} {card.signal} {card.why} {card.purpose}" in text
        assert card.next_step in text
        assert card.next_command in text
    assert "4 days left" in text
    assert "No lease: nothing is permitted to answer here." in text
    assert "2 stop" in text
    assert "1 caution" in text


def test_the_board_shows_quality_risk_drift_and_history() -> None:
    """The numbers behind the signal are there as text, too."""
    page = render.render_board(samples.board())
    text = _Reader(page).text

    assert "floor 0.620" in text
    assert "delay@2 released 0.697 [0.685–0.709]" in text
    assert "No alarm: the lower bound 0.1652 is below the limit 0.1810." in text
    assert "Alarm: the lower bound 0.2140 is above the limit 0.2000: harm is proven." in text
    assert "2 of 6 material" in text
    assert "superseded by delay@2" in text
    assert "1,841 entries" in text
    assert f'href="/dossier/{samples.SECOND}"' in page
    assert f'href="/trace/{samples.SECOND}"' in page


def test_simulated_time_cannot_be_overlooked() -> None:
    """The banner is on every page that is told, and only there."""
    board = samples.board()

    assert "Simulated time 4 Nov 2013, 06:00 UTC" in _Reader(render.render_board(board)).text
    assert "Simulated time" not in render.render_board(replace(board, simulated=False))
    assert "Simulated time" in render.render_run(samples.run_page(), simulated=samples.NOW)
    assert "Simulated time" not in render.render_trace(samples.trace())


def test_an_empty_workspace_says_what_to_do() -> None:
    """No endpoint, no run, no entry: each says so, and the first step is a command."""
    empty = replace(samples.board(), endpoints=(), runs=(), events=(), entries=0)
    text = _Reader(render.render_board(empty)).text

    assert "No endpoint yet" in text
    assert "stellwerk ship FILE" in text
    assert "Nothing ran yet." in text
    assert "The book is empty." in text


def test_a_release_without_labels_shows_its_gate_value() -> None:
    """Before the first label arrives the board says what was measured at release."""
    card = samples.delay()
    fresh = replace(card, quality=replace(card.quality, points=(), at_release=card.quality.at_release[:1]))
    text = _Reader(render.render_board(replace(samples.board(), endpoints=(fresh,)))).text

    assert "No labelled predictions yet." in text
    assert "0.712 [0.701–0.723]" in text


def test_the_run_page_shows_everything_known() -> None:
    """Facts, parameters, metrics, digests in full, steps, children, log."""
    page = render.render_run(samples.run_page())
    text = _Reader(page).text

    for expected in ("2 min 11 s", "6 min 42 s", "1.3 GiB", "learning_rate 0.08", "auroc 0.697", "contract flights"):
        assert expected in text
    for _, digest in (*samples.run_page().inputs, *samples.run_page().outputs):
        assert f'data-copy="{digest}"' in page
        assert f'href="/trace/{digest}"' in page
    assert "months: 159,280 rows <cached>" in text


def test_a_failed_run_begins_with_its_error() -> None:
    """Why it failed stands above all other facts."""
    text = _Reader(render.render_run(samples.failed_run())).text

    assert 0 < text.index("column 'tenure' has 214 negative values") < text.index("Started, UTC")
    assert "It said nothing." in text


def test_a_running_page_is_live_and_a_finished_one_is_not() -> None:
    """Only what can change is refreshed."""
    page = samples.run_page()
    running = replace(page, run=replace(page.run, status="running"), ended_at=None)

    assert '<html lang="en" data-live>' in render.render_run(running)
    assert "data-live" not in render.render_run(page)
    assert '<noscript><meta http-equiv="refresh"' in render.render_board(samples.board())


def test_the_trace_says_what_could_not_be_proven() -> None:
    """Counts, sentences, and every node in the drawing and in the table with the same state."""
    trace = samples.trace()
    page = render.render_trace(trace)
    text = _Reader(page).text

    assert "18 re-read, and their bytes match their digests" in text
    assert all(sentence in text for sentence in trace.unproven)
    assert 25 == page.count('id="thing-') == page.count("data-node=")
    assert 18 == page.count("✓ verified")
    assert 2 == page.count('<span class="state-word unproven">? unproven</span></td>')
    assert "Every link of this trace was proven." not in text


def test_failure_comes_before_everything_else() -> None:
    """A digest that does not match is the first thing said."""
    text = _Reader(render.render_trace(samples.failed_trace())).text

    assert "1 failed" in text
    assert text.index("What failed") < text.index("From the cause to its effects")


def test_a_proven_trace_says_so_and_an_empty_one_does_not_fail() -> None:
    """No sentence is missing when there is nothing to complain about."""
    proven = replace(samples.trace(), unproven=())
    empty = replace(proven, graph=Graph(nodes=(), edges=()))

    assert "Every link of this trace was proven." in render.render_trace(proven)
    assert "Nothing is known of it." in render.render_trace(empty)


def test_the_dossier_is_a_document() -> None:
    """Numbered sections, emphasis, outcomes as words, digests in full, and empty tables said to be empty."""
    digest = samples.digest("model 2")
    document = Dossier(
        release=samples.SECOND,
        title="Release dossier: delay@2 on delay",
        subtitle="Will this flight be late?",
        made_at=samples.NOW,
        sections=(
            Section(
                title="Decision", text="Computed as **clear**.", header=("fact", "value"), rows=(("model", digest),)
            ),
            Section(
                title="Tests", header=("check", "outcome"), rows=(("floor <auroc>", "pass"), ("slice", "unproven"))
            ),
            Section(title="Alarms", header=("when", "what")),
        ),
    )
    page = render.render_dossier(document, simulated=samples.NOW)

    assert "<strong>clear</strong>" in page
    assert f'data-copy="{digest}"' in page
    assert '<span class="chip warn">unproven</span>' in page
    assert "floor &lt;auroc&gt;" in page
    titles = ["".join(found) for found in re.findall(r'<h2>(\d\. )<bdi class="name">(\w+)', page)]
    assert ["1. Decision", "2. Tests", "3. Alarms"] == titles
    assert "none" in _Reader(page).text


def test_rendering_is_pure() -> None:
    """The same value gives the same bytes."""
    assert render.render_board(samples.board()) == render.render_board(samples.board())


def test_static_files_are_own_and_small() -> None:
    """Style, script and icon: named media types, no third party, no other host, no dangerous sink."""
    files = render.static_files()

    assert {"stellwerk.css", "stellwerk.js", "stellwerk.svg"} == set(files)
    assert sum(len(data) for data, _ in files.values()) < 60_000
    for data, media in files.values():
        text = data.decode("utf-8")
        assert media.split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
        assert [] == re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser|@import|url\(", text
        )
        assert [] == re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
