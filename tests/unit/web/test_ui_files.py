"""The pages of files: folders, previews, pictures; and files of people who mean harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from stellwerk.tracking import previews
from stellwerk.tracking.pictures import MAX_PIXELS
from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace import filing
from stellwerk.workspace.rooms import Rooms

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffffff7f0009fb03"
    "fd05434aca0000000049454e44ae426082"
)
SCRIPT = b"<script>document.title='owned'</script>"
HOSTILE = {
    "page.html": b"<!DOCTYPE html><html>" + SCRIPT + b"</html>",
    "page.txt": SCRIPT,
    "plot.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'owned\'"><script>1</script></svg>',
    "data.xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
    "report.md": b"<img src=x onerror=\"document.title='owned'\">\n[a](javascript:alert(1))\n![](http://evil.example/x)",
    "table.csv": b"a,b\n=cmd(),<script>document.title='owned'</script>\n",
    "eval.json": b'{"columns":["<script>1</script>"],"data":[["<script>1</script>"]]}',
    "run.ipynb": b"""{"nbformat": 4, "cells": [
      {"cell_type": "markdown", "source": "<script>document.title='owned'</script>"},
      {"cell_type": "code", "source": "</pre><script>document.title='owned'</script>", "outputs": [
        {"output_type": "display_data", "data": {"text/html": "<script>document.title='owned'</script>"}},
        {"output_type": "display_data", "data": {"image/png": "\\"><script>document.title='owned'</script>"}},
        {"output_type": "stream", "text": "<img src=x onerror=\\"document.title='owned'\\">"}]}]}""",
    "paper.pdf": b"%PDF-1.7 /OpenAction /JavaScript (app.alert(1))",
    "MLmodel": b"!!python/object/apply:os.system ['touch /tmp/owned']",
    "polyglot.png": PIXEL + b"<!DOCTYPE html>" + SCRIPT,
    "picture.html": PIXEL + SCRIPT,
}


@pytest.fixture
def run(rooms: Rooms) -> str:
    return rooms.logbook.create("0", name="fit").run.id


def keep(rooms: Rooms, run: str, path: str, data: bytes) -> None:
    """A file of a run."""
    home = filing.root(artifacts_of(rooms.runs.get(run)))
    rooms.artifacts.log(f"{home}/{path}", rooms.blobs.put(data))


def text(page: str) -> str:
    """What a page says, as one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_folders_are_opened_and_files_are_seen(site: TestClient, rooms: Rooms, run: str) -> None:
    """From the run to its files, into a folder, to a file and its bytes: every step is a link."""
    keep(rooms, run, "plots/a b#ü.csv".replace("#", ""), b"x,y\n1,2\n")
    page = site.get(f"/runs/{run}").text
    assert f"/runs/{run}/files/plots/a%20b%C3%BC.csv" in page

    whole = site.get(f"/runs/{run}/files").text
    assert "plots/" in text(whole)
    folder = site.get(re.findall(rf'href="(/runs/{run}/files/plots)"', whole)[0]).text
    file = site.get(re.findall(rf'href="(/runs/{run}/files/plots/[^"]*)"', folder)[0]).text
    assert "1 2" in text(file)
    got = site.get(unescape(re.findall(r'href="(/get-artifact[^"]*)"', file)[0]))
    assert b"x,y\n1,2\n" == got.content
    assert got.headers["content-disposition"].startswith("attachment")


def test_files_of_a_logged_model_are_seen_too(site: TestClient, rooms: Rooms, run: str) -> None:
    """They are not below its run, and their page leads back to it."""
    model = rooms.logged_models.create(experiment="0", name="tree", source_run=run)
    rooms.artifacts.log(f"{filing.root(model.home)}/requirements.txt", rooms.blobs.put(b"numpy==2.1\n"))

    page = site.get(f"/logged-models/{model.id}/files/requirements.txt").text
    assert "numpy==2.1" in text(page)
    assert f'href="/runs/{run}"' in page
    link = unescape(re.findall(r'href="(/ajax-api[^"]*)"', page)[0])
    assert b"numpy==2.1\n" == site.get(link).content


def test_a_long_folder_is_read_in_pages(site: TestClient, rooms: Rooms, run: str) -> None:
    """Links lead on and back, and beyond the end there is nothing."""
    for number in range(filing.AT_ONCE + 3):
        keep(rooms, run, f"many/{number:04}.txt", b"x")
    first = site.get(f"/runs/{run}/files/many").text
    assert filing.AT_ONCE == first.count("data-row=")
    second = site.get(re.findall(r'rel="next" href="([^"]*)"', first)[0]).text
    assert 3 == second.count("data-row=")
    assert f'rel="prev" href="/runs/{run}/files/many?offset=0"' in second
    assert 404 == site.get(f"/runs/{run}/files/many?offset=99999").status_code
    assert 200 == site.get(f"/runs/{run}/files/many?offset=-1").status_code


def test_a_run_without_files_says_so(site: TestClient, run: str) -> None:
    """An empty page is not an error; an unknown path, run or model is."""
    assert "There is no file here" in text(site.get(f"/runs/{run}/files").text)
    for path in (f"/runs/{run}/files/x", "/runs/none/files", "/logged-models/none/files/x", f"/runs/{run}/picture/x"):
        assert 404 == site.get(path).status_code, path


@pytest.mark.parametrize(
    "path",
    ["../x", "..%2f..%2fetc/passwd", "%2e%2e/x", "%252e%252e%252fx", "a/..%5c..%5cx", "....//x", "..;/x", "%00", "a%00b",
     "a//b", "/etc/passwd", "C:/x", "file:///etc/passwd", "%c0%ae%c0%ae/x", "\uff0e\uff0e/x", "x" * 3000],
)  # fmt: skip
def test_no_path_leads_out_of_a_run(site: TestClient, rooms: Rooms, run: str, path: str) -> None:
    """Odd paths are wrong or name nothing; nothing else of the workspace answers to them."""
    other = rooms.logbook.create("0", name="other").run.id
    keep(rooms, other, "secret.txt", b"canary")

    for place in ("files", "picture"):
        for wanted in (path, f"{path}/{other}/artifacts/secret.txt"):
            answer = site.get(f"/runs/{run}/{place}/{wanted}")
            assert answer.status_code in (400, 404, 422), (place, wanted)
            assert "canary" not in answer.text
            assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_text_pictures_or_nothing(site: TestClient, rooms: Rooms, run: str, name: str) -> None:
    """Their pages hold no markup of theirs; what is sent by itself is a picture that may do nothing, or a download."""
    keep(rooms, run, name, HOSTILE[name])
    page = site.get(f"/runs/{run}/files/{name}")
    inner = page.text.partition("<main")[2].partition("</main>")[0]
    assert "text/html; charset=utf-8" == page.headers["content-type"]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script" not in inner
    assert [] == re.findall(
        r"<(?:svg|iframe|object|embed|form)\b|\son\w+=|javascript:",
        re.sub(r"<pre.*?</pre>", "", inner, flags=re.DOTALL),
    )

    shown = site.get(f"/runs/{run}/picture/{name}")
    if HOSTILE[name].startswith(PIXEL):
        assert "image/png" == shown.headers["content-type"]
        assert "sandbox; default-src 'none'; frame-ancestors 'none'" == shown.headers["content-security-policy"]
        assert "nosniff" == shown.headers["x-content-type-options"]
    else:
        assert 404 == shown.status_code
    given = site.get(f"/get-artifact?run_uuid={run}&path={quote(name)}")
    assert given.headers["content-disposition"].startswith("attachment")
    assert "nosniff" == given.headers["x-content-type-options"]
    assert "html" not in given.headers["content-type"]


def test_a_name_is_text_and_an_address(site: TestClient, rooms: Rooms, run: str) -> None:
    """Whatever a file is called, its link leads to it and its name is no markup."""
    for name in ("<img src=x onerror=1>.txt", 'a"b.txt', "ü ñ/é.txt", "100%.txt", "a?b=c&d.txt", "\u05e9.txt"):
        keep(rooms, run, name, b"found " + name.encode())
        page = site.get(f"/runs/{run}/files/{quote(name)}").text
        assert "found" in text(page), name
        assert "<img" not in page
        shown = site.get(f"/runs/{run}").text
        assert "<img" not in shown
        assert f"/runs/{run}/files/{quote(name, safe='/:@')}" in shown


def test_a_huge_file_makes_a_small_page(site: TestClient, rooms: Rooms, run: str) -> None:
    """Only a part is read; it is said that there is more, and a log shows its end."""
    keep(rooms, run, "big.txt", b"word \n" * 2_000_000)
    keep(rooms, run, "big.log", b"".join(b"line %d\n" % number for number in range(400_000)))
    keep(rooms, run, "big.csv", b"a,b\n" + b"1,2\n" * 1_000_000)

    for name, said in (("big.txt", "more: download"), ("big.log", "line 399999"), ("big.csv", "The first 200 rows")):
        answer = site.get(f"/runs/{run}/files/{name}")
        assert said in text(answer.text)
        assert len(answer.content) < 2 * previews.MAX_TEXT


def test_a_picture_bomb_is_not_sent_as_a_picture(site: TestClient, rooms: Rooms, run: str) -> None:
    """A picture of more than fifty million pixels is a download."""
    side = int(MAX_PIXELS**0.5) + 1
    keep(rooms, run, "bomb.png", PIXEL[:16] + side.to_bytes(4) * 2 + PIXEL[24:])

    assert 404 == site.get(f"/runs/{run}/picture/bomb.png").status_code
    assert "No preview" in text(site.get(f"/runs/{run}/files/bomb.png").text)


@pytest.mark.browser
def test_hostile_files_do_nothing_in_a_browser(
    open_page: Callable[..., Any], address: str, shared_rooms: Rooms
) -> None:
    """Nothing runs, nothing is asked of another host, and a picture is drawn."""
    run = shared_rooms.logbook.create("0", name="fit").run.id
    hosts: set[str] = set()
    for name, data in HOSTILE.items():
        keep(shared_rooms, run, name, data)
    # A picture opened by itself has a policy under which the browser's own frame for pictures may not be styled.
    page = open_page(quiet="style")
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for name in HOSTILE:
        page.goto(f"{address}/runs/{run}/files/{name}")
        assert "owned" not in page.title()
        if name == "polyglot.png":
            assert 1 == page.evaluate("document.querySelector('.preview img').naturalWidth")
    page.goto(f"{address}/runs/{run}/picture/polyglot.png")
    assert "owned" not in page.title()
    assert {address.split("/")[2]} == hosts
