"""The documentation is true: its code runs, its tables are those of the code, its links lead somewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stellwerk.data.sources.model import Part, Pinned
from stellwerk.evidence.model import CheckResult, Evidence, GateSet, Plan
from stellwerk.pipelines import stock
from stellwerk.releases.declaration import parse
from stellwerk.releases.model import LeaseToken, Release, Verdict
from stellwerk.serving.model import SealedBatch
from stellwerk.web.app import application
from stellwerk.web.routing import matrix
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.serving import Servers
from stellwerk.workspace.settings import Settings

HERE = Path(__file__).parent
RUNNER = HERE / "pages.py"
docs = SimpleNamespace(**runpy.run_path(str(RUNNER)))
made = SimpleNamespace(**runpy.run_path(str(HERE / "made.py")))

ROOT: Path = docs.ROOT
PAGES: list[Path] = docs.pages()
BY_HAND = {"README.md", "store.md", "tree.md", "ledger.md", "checkpoint.md", "envelope.md"}
"""Pages of `docs/formats` whose commands `tests/compat` runs."""
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def performed() -> Iterator[Path]:
    for page in PAGES:
        by_hand = page.parent.name == "formats" and page.name in BY_HAND
        if not by_hand and any(block.performed for block in docs.blocks(page)):
            yield page


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a page runs in: this very code as `stellwerk` and `python`, one thread, free ports, a person called anna."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, module in (("stellwerk", " -m stellwerk"), ("python", "")):
        shim = commands / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', "utf-8")
        shim.chmod(0o755)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("STELLWERK_")}
    return {
        **inherited,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "STELLWERK_ACTOR": "anna",
        "STELLWERK_UP_PORT": "0",
        "STELLWERK_SERVE_PORT": "0",
    }


@pytest.mark.parametrize("page", list(performed()), ids=name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """From its first block to its last, in order, with the exit codes and the output that the page shows."""
    folder = tmp_path / "work"
    folder.mkdir()

    ended = subprocess.run(
        [sys.executable, "-P", RUNNER, page], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr


def test_what_is_not_run_says_why() -> None:
    """A block that is only shown names its reason, and no comment above a block is misspelt."""
    silent = [
        f"{name(page)}:{block.line}"
        for page in PAGES
        for block in docs.blocks(page)
        if block.marker in ("no-run", "file") and not block.value
    ]
    known = r"<!-- (file: \S+|background|exit: \d|output|no-run: .+|made: [a-z-]+|end) -->"
    misspelt = [
        f"{name(page)}: {comment}"
        for page in PAGES
        for comment in re.findall(r"<!--.*?-->", page.read_text("utf-8"), re.DOTALL)
        if not re.fullmatch(known, comment)
    ]

    assert [] == silent
    assert [] == misspelt


def test_project_files_that_are_shown_are_project_files() -> None:
    """Every `stellwerk.toml` on a page is one that the code reads."""
    shown = [block for page in PAGES for block in docs.blocks(page) if block.language == "toml"]

    projects = [parse(block.text) for block in shown]

    assert projects
    assert all(project.endpoints or stock.parse(project.resources).custom for project in projects)


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- made:" in page.read_text("utf-8")], ids=name)
def test_made_parts_are_those_of_the_code(page: Path) -> None:
    """Tables that are made from the code are up to date; `python tests/docs/made.py` makes them anew."""
    text = page.read_text("utf-8")

    assert made.renewed(text) == text
    assert text.count("<!-- made:") == len(made.parts(text))


def test_everything_that_can_be_made_is_somewhere() -> None:
    """No maker is left unused, so commands, operations, settings, limits, policies and metrics are all documented."""
    used = {part for page in PAGES for part, _ in made.parts(page.read_text("utf-8"))}

    assert set(made.MAKERS) == used


def test_the_commands_are_those_that_help_lists(environment: dict[str, str]) -> None:
    """What `stellwerk --help` lists is what the page has headings for, and nothing else."""
    shown = subprocess.run(
        ["stellwerk", "--help"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "guide" / "cli.md").read_text("utf-8")

    listed = re.findall(r"^  ([a-z]+) {2,}\S", shown, re.MULTILINE)
    headed = re.findall(r"^### `stellwerk ([a-z]+)`$", page, re.MULTILINE)

    assert listed == headed
    assert listed


def test_every_route_is_documented(tmp_path: Path) -> None:
    """Paths, methods and permissions on the pages are those the server answers; operations have their own table."""
    rooms = Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))
    try:
        routes = matrix(application(rooms, Servers(rooms)).routes)
    finally:
        rooms.close()
    operations = {f"/api/v1/{operation}" for operation in ops.table()}
    served = {
        (" ".join(sorted(set(methods) - {"HEAD"})), path, permission)
        for path, methods, permission in routes
        if path not in operations
    }
    text = (ROOT / "docs" / "guide" / "http.md").read_text("utf-8")
    text += (ROOT / "docs" / "guide" / "serving.md").read_text("utf-8")

    line = re.compile(r"^\| `([A-Z ]+)` \| `(/\S*)` \| `?([a-z:]+)`? \|", re.MULTILINE)
    door = (ROOT / "docs" / "doors" / "mlflow.md").read_text("utf-8")
    told = set(line.findall(text)) | set(line.findall(door))
    # Its page says once that everything is answered under both roots.
    told |= {(methods, path.replace("/api/", "/ajax-api/", 1), need) for methods, path, need in line.findall(door)}

    assert served == told


def test_every_variable_is_documented() -> None:
    """What the source reads from the environment stands on the page of settings."""
    page = (ROOT / "docs" / "guide" / "settings.md").read_text("utf-8")
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))

    read = set(re.findall(r"STELLWERK_[A-Z_]*[A-Z]", source))

    assert {variable for variable in read if variable not in page} == set()
    assert read


def test_links_lead_somewhere() -> None:
    """Every relative link names a file that exists, and its anchor a heading in it."""
    broken = [
        f"{name(page)}: {target}"
        for page in [*PAGES, ROOT / "changes" / "README.md"]
        for target in links(page)
        if not exists(page, target)
    ]

    assert [] == broken


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [target for target in LINK.findall(re.sub(r"`[^`\n]*`", "`", text)) if "://" not in target]


def exists(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def test_every_page_is_two_clicks_from_the_readme() -> None:
    """Whoever starts at the README reaches every page by following two links."""
    clicks = {ROOT / "README.md": 0}
    waiting = deque(clicks)
    while waiting:
        page = waiting.popleft()
        for target in links(page):
            found = (page.parent / target.partition("#")[0]).resolve() if not target.startswith("#") else page
            if found.suffix == ".md" and found.exists() and found not in clicks:
                clicks[found] = clicks[page] + 1
                waiting.append(found)

    far = {name(page) for page in [*PAGES, ROOT / "changes" / "README.md"] if clicks.get(page, 9) > 2}

    assert set() == far


def test_decisions_are_numbered_and_of_one_form() -> None:
    """No number is given twice, and every page has the headings of the template."""
    found = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

    numbers = [int(page.name[:4]) for page in found]
    headings = {page.name: re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE) for page in found}

    assert sorted(set(numbers)) == numbers
    assert dict.fromkeys(headings, headings[found[0].name]) == headings


def test_fragments_are_one_sentence_for_users() -> None:
    """Every file in `changes/` is named `<subject>.<kind>.md` and holds one line that ends in a full stop."""
    kinds = ("added", "changed", "fixed", "removed", "security")
    fragments = [page for page in (ROOT / "changes").iterdir() if page.name != "README.md"]

    wrong = [
        page.name
        for page in fragments
        if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(kinds)})\.md", page.name)
        or not re.fullmatch(r"[^\n]{20,300}\.\n", page.read_text("utf-8"))
    ]

    assert fragments
    assert [] == wrong


def test_pages_are_plain() -> None:
    """No pictograms, no trailing blanks, and no line that a diff could not show."""
    pictograms = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]")
    wrong = [
        f"{name(page)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if pictograms.search(line.replace("✓", "").replace("✗", "")) or line != line.rstrip()
    ]

    assert [] == wrong


def test_targets_that_are_named_exist() -> None:
    """`make X` on a page is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z]+)`", page.read_text("utf-8"))}

    assert named
    assert named - targets == set()


def test_code_that_is_named_exists() -> None:
    """`room/file.py` and `stellwerk.room` on a page are files and packages of the source."""
    source = ROOT / "src" / "stellwerk"
    texts = {name(page): page.read_text("utf-8") for page in PAGES}
    files = {
        (page, path) for page, text in texts.items() for path in re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", text)
    }
    modules = {
        (page, module)
        for page, text in texts.items()
        for module in re.findall(r"`stellwerk((?:\.[a-z_]+)+)`", text)
        if module != ".toml"
    }

    assert {(page, path) for page, path in files if not ((source / path).exists() or (ROOT / path).exists())} == set()
    assert {(page, module) for page, module in modules if not importable(f"stellwerk{module}")} == set()
    assert files
    assert modules


def importable(path: str) -> bool:
    """Whether a dotted path is a module, or a name in one."""
    try:
        pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return True


def test_the_licence_is_apache_2() -> None:
    """The very text, byte for byte."""
    text = (ROOT / "LICENSE").read_bytes()

    assert "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30" == hashlib.sha256(text).hexdigest()


def test_the_runner_notices_what_is_not_true(tmp_path: Path) -> None:
    """A wrong output, a wrong exit code and an exception each fail a page, and name its line."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed here")
    fence = "```"
    wrong = {
        "output": f"{fence}python\nprint(1)\n{fence}\n\n<!-- output -->\n{fence}text\n2\n{fence}\n",
        "exit": f"<!-- exit: 3 -->\n{fence}bash\ntrue\n{fence}\n",
        "python": f"{fence}python\n\nraise ValueError('no')\n{fence}\n",
    }
    said = {}
    for kind, text in wrong.items():
        page = tmp_path / f"{kind}.md"
        page.write_text(text, "utf-8")
        ended = subprocess.run(
            [sys.executable, RUNNER, page], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        said[kind] = (ended.returncode, ended.stderr)

    assert {1} == {code for code, _ in said.values()}
    assert "output.md:7 shows" in said["output"][1]
    assert "exit.md:3 ended with 0, expected 3" in said["exit"][1]
    assert 'python.md", line 3' in said["python"][1]


FIELDS = {
    ("predictions.md", "A batch"): (SealedBatch, set()),
    ("source.md", "Pin"): (Pinned, set()),
    ("source.md", "Part"): (Part, set()),
    ("token.md", "Form"): (LeaseToken, set()),
    ("gate.md", "Blobs"): (GateSet, set()),
    ("statements.md", "evidence/v1"): (Evidence, set()),
    ("statements.md", "Results"): (CheckResult, set()),
    ("statements.md", "Release"): (Release, {"statement"}),
    ("statements.md", "Verdict"): (Verdict, set()),
    ("statements.md", "The plan"): (Plan, set()),
}
"""Tables of fields, the values they describe, and what is left out when these are signed."""


@pytest.mark.parametrize("place", FIELDS, ids=lambda place: f"{place[0]}-{place[1]}")
def test_formats_name_every_field(place: tuple[str, str]) -> None:
    """The specification of a value has exactly the fields that the value has."""
    page, heading = place
    kind, left_out = FIELDS[place]
    text = (ROOT / "docs" / "formats" / page).read_text("utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]

    told = [
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]

    assert sorted({field.name for field in dataclasses.fields(kind)} - left_out) == sorted(told)
