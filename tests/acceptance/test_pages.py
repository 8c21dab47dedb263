"""The pages of a real server in a real browser: what is on them, and what they must not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import stellwerk as sw
from stellwerk.workspace import shipping
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped model on scikit-learn's breast cancer table."""
    from sklearn.datasets import load_breast_cancer

    folder = tmp_path_factory.mktemp("tumours")
    bunch = load_breast_cancer()
    columns = {name.replace(" ", "_"): bunch.data[:, at] for at, name in enumerate(bunch.feature_names[:8])}
    table = pl.DataFrame(columns).with_columns(
        diagnosis=pl.Series([str(bunch.target_names[i]) for i in bunch.target])
    )
    table.write_csv(folder / "tumours.csv")
    create(folder, Settings(actor="anna"))
    order = shipping.prepare(folder / "tumours.csv", folder, target="diagnosis", owner="anna", name="tumours")
    with sw.connect(folder, actor="anna") as workspace:
        shipped = shipping.ship(workspace, order, folder / "tumours.csv", folder, say=lambda _: None)
    assert shipped.release is not None
    return folder


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    """`stellwerk up` as its own process."""
    command = [sys.executable, "-m", "stellwerk", "--workspace", str(project), "up", "--port", "0"]
    address = project / ".stellwerk" / "server.json"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "STELLWERK_ACTOR": "anna"})
    try:
        while not address.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
        yield str(json.loads(address.read_text("utf-8"))["url"])
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def page(url: str) -> Iterator[Any]:
    """A browser page that notes complaints and every host it asks."""
    from playwright.sync_api import sync_playwright

    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*switches, "--disable-sync"])
        opened = browser.new_page(viewport={"width": 1300, "height": 1000})
        opened.complaints = []
        opened.hosts = set()
        opened.on(
            "console", lambda message: opened.complaints.append(message.text) if message.type == "error" else None
        )
        opened.on("request", lambda request: opened.hosts.add(request.url.split("/")[2]))
        yield opened
        assert [] == opened.complaints
        assert {url.split("/")[2]} == opened.hosts
        browser.close()


def test_the_board_shows_signal_lease_and_next_step(page: Any, url: str) -> None:
    """Whoever opens the board sees at once which signal, whose it is, and how long it still holds."""
    page.goto(url)
    text = page.inner_text("main")

    assert "tumours" in text
    assert "CLEAR" in text.upper()
    assert "owner anna" in text.replace("\n", " ")
    assert "days left" in text
    assert "Next step" in text
    assert page.locator("svg").count() >= 1


def test_a_run_shows_its_steps(page: Any, url: str, project: Path) -> None:
    """From the board to the run: steps, digests and parameters."""
    with sw.connect(project) as workspace:
        run = next(run for run in workspace.runs() if run.kind == "pipeline")
    page.goto(f"{url}/runs/{run.id}")
    text = page.inner_text("main")

    assert "finished" in text
    for step in ("split", "boosted#0", "simple", "evaluate"):
        assert step in text


def test_a_trace_shows_what_was_verified(page: Any, url: str, project: Path) -> None:
    """From a release back to the bytes of the table, each re-hashed."""
    with sw.connect(project) as workspace:
        release = workspace.releases("tumours")[0]
    page.goto(f"{url}/trace/{release.id}")
    text = page.inner_text("main")

    assert "re-read" in text
    assert "tumours@1" in text
    assert "0 failed" in text.replace("\n", " ")


def test_a_dossier_and_an_error_are_pages_too(page: Any, url: str, project: Path) -> None:
    """The dossier can be read here, and a wrong address says so without a trace."""
    with sw.connect(project) as workspace:
        release = workspace.releases("tumours")[0]
    page.goto(f"{url}/dossier/{release.id}")
    assert "What was tested" in page.inner_text("main")

    answer = page.goto(f"{url}/runs/nothing-here")
    page.complaints.clear()  # the browser itself notes the 404

    assert 404 == answer.status
    assert "Traceback" not in page.content()


def test_light_and_dark_differ_and_keys_work(page: Any, url: str) -> None:
    """The colour scheme follows the person, and the first Tab reaches the skip link."""
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(url)
        colours.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    page.keyboard.press("Tab")

    assert colours[0] != colours[1]
    assert "Skip" in page.evaluate("document.activeElement.innerText")
