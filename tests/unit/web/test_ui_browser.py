"""The pages in a real browser under the strictest policy: theme, keys, filter, graph, live refresh, darkness."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from stellwerk.web.ui import render

pytestmark = pytest.mark.browser
samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("samples.py"))))

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


class Site:
    """Serves pages from functions and refuses everything while it is down."""

    def __init__(self) -> None:
        self.board = samples.board()
        self.down = False
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        self.asked.append(path)
        pages: dict[str, Callable[[], str]] = {
            "/": lambda: render.render_board(self.board),
            "/trace/x": lambda: render.render_trace(samples.trace()),
            "/runs/x": lambda: render.render_run(samples.run_page()),
        }
        static = render.static_files().get(path.removeprefix("/static/"))
        if self.down or (static is None and path not in pages):
            return request.send_error(503)
        data, media = static or (pages[path]().encode(), "text/html; charset=utf-8")
        request.send_response(200)
        for name, value in (("Content-Security-Policy", POLICY), ("Content-Type", media)):
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
        return None

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test when anything is reported to its console."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.complaints = complaints
    yield opened
    context.close()


@pytest.mark.parametrize("path", ["/", "/trace/x", "/runs/x"])
def test_nothing_is_refused_by_the_policy(site: Site, page: Any, path: str) -> None:
    """Pages load style and script, ask no other host, and break no rule."""
    page.goto(site.address + path)

    assert [] == page.complaints
    assert "rgb(236, 239, 241)" == page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert page.locator("[data-theme-button]").is_visible()
    assert {path, "/static/stellwerk.css", "/static/stellwerk.js"} <= set(site.asked)


@pytest.mark.parametrize("width", [320, 420, 1400])
@pytest.mark.parametrize("path", ["/", "/trace/x", "/runs/x"])
def test_no_width_scrolls_sideways(site: Site, page: Any, path: str, width: int) -> None:
    """Wide things scroll inside their frames; the page itself never does."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(site.address + path)

    assert width == page.evaluate("document.documentElement.scrollWidth")


def test_theme_is_chosen_and_remembered(site: Site, page: Any) -> None:
    """Auto, light, dark by key; the choice survives a reload."""
    page.goto(site.address)
    page.keyboard.press("t")
    page.keyboard.press("t")
    page.reload()

    assert "dark" == page.evaluate("document.documentElement.dataset.theme")
    assert "Theme: dark" == page.locator("[data-theme-button]").inner_text()
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_rows_are_walked_and_opened_by_keys(site: Site, page: Any) -> None:
    """j and k move through rows, Enter opens, g c shows the cases, g b returns, ? explains."""
    page.goto(site.address)
    row = "document.activeElement.dataset.row"
    page.keyboard.press("j")
    assert "tile-1" == page.evaluate(row)
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert "tile-1" == page.evaluate(row)
    page.locator("table.runs tbody tr").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/01hrun3")
    page.goto(site.address + "/trace/x")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url(site.address + "/cases")
    page.goto(site.address + "/trace/x")
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.wait_for_url(site.address + "/")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_single_keys_can_be_switched_off(site: Site, page: Any) -> None:
    """Whoever speaks to their computer can turn the shortcuts off."""
    page.goto(site.address)
    page.keyboard.press("?")
    page.locator("[data-keys-switch]").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("t")

    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_the_filter_hides_what_does_not_match(site: Site, page: Any) -> None:
    """/ focuses it, typing narrows endpoints, runs and events, Escape restores."""
    page.goto(site.address)
    page.keyboard.press("/")
    page.keyboard.type("churn")

    assert ["endpoint-2"] == [e.get_attribute("id") for e in page.locator("article:visible").all()]
    assert 1 == page.locator("table.runs tbody tr:visible").count()
    page.keyboard.press("Escape")
    assert 3 == page.locator("article:visible").count()


def test_a_node_shows_its_detail_and_its_causes(site: Site, page: Any) -> None:
    """Focus lights up what a node came from and repeats its row; all else steps back."""
    page.goto(site.address + "/trace/x")
    page.locator('[data-node="7"]').focus()

    assert "flights@3" in page.locator("[data-peek]").inner_text()
    assert page.locator('[data-node="0"].lit').count()
    assert not page.locator('[data-node="4"].lit').count()
    assert [] == page.complaints


def test_a_change_appears_without_a_reload(site: Site, page: Any) -> None:
    """The board follows the server and keeps focus, open details and the filter."""
    page.clock.install()
    page.goto(site.address)
    page.locator("details summary").first.click()
    page.locator('[data-row="run-01hrun3"]').focus()
    site.board = replace(
        samples.board(), endpoints=(replace(samples.delay(), signal="clear"), *samples.board().endpoints[1:])
    )

    page.clock.fast_forward(6000)
    page.wait_for_selector("article.endpoint.clear")

    assert page.locator("details[open]").count()
    assert "run-01hrun3" == page.evaluate("document.activeElement.dataset.row")
    assert page.title().startswith("2 stop, 1 clear")
    assert [] == page.complaints


def test_without_a_connection_every_signal_goes_dark(site: Site, page: Any) -> None:
    """Three refreshes without an answer: a warning, and no lamp shines; with the next answer it is over."""
    page.clock.install()
    page.goto(site.address)
    site.down = True
    for _ in range(3):
        with page.expect_response("**/"):
            page.clock.fast_forward(5100)
    page.wait_for_selector("#stale:visible")

    lamp = "getComputedStyle(document.querySelector('.signal.caution .lit')).fill"
    assert page.evaluate(lamp) == page.evaluate("getComputedStyle(document.querySelector('.lamp:not(.lit)')).fill")
    site.down = False
    page.clock.fast_forward(5100)
    page.wait_for_selector("#stale", state="hidden")
    assert "rgb(246, 190, 44)" == page.evaluate(lamp)


def test_pages_work_without_scripts(site: Site, browser: Any) -> None:
    """Everything is readable and no control that needs a script is shown."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.address + "/trace/x")

    assert 25 == page.locator("table.things tbody tr").count()
    assert not page.locator("[data-theme-button]").is_visible()
    page.locator('[data-node="24"]').focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#thing-24")
    context.close()
