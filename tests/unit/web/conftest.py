"""What the tests of pages and doors share: a workspace, its whole application, a served one, a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from stellwerk.testing import worlds
from stellwerk.web.app import application
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


def _opened(folder: Any) -> Iterator[Rooms]:
    settings = Settings(actor="anna")
    made = Rooms(create(folder, settings), settings)
    yield made
    made.close()


@pytest.fixture
def rooms(tmp_path: Any) -> Iterator[Rooms]:
    """A workspace of one test."""
    yield from _opened(tmp_path)


@pytest.fixture
def site(rooms: Rooms) -> TestClient:
    """Its application, asked without a network."""
    return TestClient(application(rooms, {}), base_url="http://127.0.0.1:7700")


@pytest.fixture
def client(rooms: Rooms) -> TestClient:
    """The same, as a client on this machine asks it."""
    return TestClient(application(rooms, {}), base_url="http://localhost")


@pytest.fixture(scope="module")
def shared_rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    """A workspace that the tests of one file share."""
    yield from _opened(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def address(shared_rooms: Rooms) -> Iterator[str]:
    """Where the shared workspace is served."""
    with worlds.served(shared_rooms) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. No test may leave a context of it open."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages; the test fails where one breaks the content security policy, or a script of it fails.

    `quiet` is what the browser may say all the same.
    """
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(*, quiet: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()

        def said(text: str) -> None:
            if not quiet or quiet not in text:
                complaints.append(text)

        page.on("console", lambda message: said(message.text))
        page.on("pageerror", lambda error: said(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [] == complaints
