"""A change as Markdown, JUnit, SARIF, OpenMetrics and SVG: true, short, and harmless whatever things are called."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stellwerk.governance.change import codequality, figures, junit, markdown, openmetrics, pictures, sarif
from stellwerk.governance.change.model import (
    Change,
    Changed,
    CodeChange,
    Confusion,
    DataChange,
    Judged,
    Line,
    Measured,
    Pairing,
    Side,
    StepLine,
)
from stellwerk.governance.change.safe import block, code
from stellwerk.governance.change.sarif import Place
from stellwerk.releases.model import Reason

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = "sha256:" + "ab" * 32
HOSTILE = (
    "<img src=x onerror=alert(1)>", "@everyone", "#1", "![x](https://evil.example/p.png)", "[x](javascript:alert(1))",
    "`` ` ```", "a|b||c", "\\|", "</details><script>", "<!-- stellwerk ci report -->", "https://evil.example",
    "\u202egnp.exe", "x\r\n## clear\n\n", "&lt;b&gt;", "~~~", "$x^2$", ":rocket:", "*b* _i_", "\x1b[2J", "\ud800",
    "`", "``", " ", "\n```\n# clear\n",
)  # fmt: skip


def change(word: str = "delay", **facts: Any) -> Change:
    """A change in which everything that people name has this name."""
    side = Side(
        run="01kc4v3n0w5x8y2z6q7r9s1t3v", pipeline=word, status="finished", started_at=NOW, asked=word, commit=word,
        branch=word, model=f"{word}@2", digest=KEY,
    )  # fmt: skip
    reasons = (
        Reason(check=word, outcome="fail", text=word),
        Reason(check=word, outcome="unproven", text=word, n_needed=900),
        Reason(check=word, outcome="pass", text=word),
    )
    metric = Measured(
        name=word, title=word, after=0.7, before=0.6, gain=0.1, lower=-0.02, upper=0.22,
        judgement="not distinguishable",
    )  # fmt: skip
    whole = Change(
        head=side,
        base=replace(side, model=f"{word}@1"),
        outcome="stop",
        why="1 failed, 1 unproven, 1 of 3 checks passed",
        made_at=NOW,
        next=f"stellwerk prove {word}",
        verdicts=(
            Judged(
                endpoint=word,
                outcome="stop",
                why="1 failed, 1 unproven, 1 of 3 checks passed",
                attempt=2,
                reasons=reasons,
                n_needed=900,
            ),
        ),
        metrics=(metric, replace(metric, name="auroc", title="AUROC", larger_is_better=True)),
        pairing=Pairing(rows=400, of=500, columns=3),
        params=(Changed(name=word, before=word, after=word + "2"),),
        inputs=(f"+ {word}: number",),
        data=(
            DataChange(
                name=word,
                before="1",
                after="2",
                lines=(word,),
                schema=(f"+ {word}",),
                contract="1 → 2",
                promises=(word,),
            ),
        ),
        code=(CodeChange(step=word, parts=(f"{word}:train changed",)),),
        environment=(Changed(name=word, before="1", after="2"),),
        steps=(
            StepLine(name=word, kind=word, status="cached", key=KEY),
            StepLine(name=word, kind=word, status="failed", key=KEY, error=word, log=word, function="pipeline:train"),
            StepLine(name=word, kind=word, status="not reached"),
        ),
        curves=(Line(label=word, x=(0.0, 1.0), y=(0.0, 1.0)), Line(label=word, x=(0.0, 1.0), y=(0.0, 1.0))),
        confusions=(Confusion(label=word, classes=(word, word), counts=((3, 1), (0, 4))),),
    )
    return replace(whole, **facts)


READER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


def shape(text: str) -> list[Any]:
    """What a Markdown document does, without what stands in its code: every other word and every tag."""
    found: list[Any] = []
    for token in READER.parse(text):
        if token.type == "inline":
            found += [
                (one.type, "" if one.type == "code_inline" else one.content, one.attrs)
                for one in token.children or []
            ]
        else:
            found.append((token.type, "" if token.type == "fence" else token.content, token.attrs))
    return found


def alike(one: Change, other: Change) -> None:
    """Two reports differ in nothing but the text inside of code, and the names in titles that are only letters."""
    first, second = (shape(markdown.render(found, images={"A": "a.svg"})) for found in (one, other))

    def plain(found: list[Any]) -> list[Any]:
        # the marker holds a hash, and the title of a fold a name of which only letters are left
        return [(kind, "" if "summary" in text or "<!--" in text[:4] else text, attrs) for kind, text, attrs in found]

    assert plain(first) == plain(second)


@pytest.mark.parametrize("word", HOSTILE)
def test_a_name_cannot_do_anything(word: str) -> None:
    """No tag, link, picture, mention, heading or cell comes from a name, a value or a message."""
    alike(change(word), change("delay"))


@given(st.text(st.characters(exclude_categories=()), max_size=40))
@example("`")
@example("|")
def test_no_text_leaves_its_code_span(text: str) -> None:
    """In a cell of a table and in a paragraph: one code span, and nothing beside it."""
    tokens = READER.parse(f"| a | b |\n| --- | --- |\n| {code(text)} | c |\n\nx {code(text)} y")
    inner = [[one.type for one in token.children or []] for token in tokens if token.type == "inline"]

    assert [["text"], ["text"], ["code_inline"], ["text"], ["text", "code_inline", "text"]] == inner


@given(st.text(st.characters(exclude_categories=()), max_size=200))
@example("```\n# clear")
@example("~~~\n````\n")
def test_no_text_leaves_its_block(text: str) -> None:
    """A log is one fenced block, and what follows is as it was written."""
    tokens = READER.parse(f"{block(text)}\n\nafter")

    assert ["fence", "paragraph_open", "inline", "paragraph_close"] == [token.type for token in tokens]


@pytest.mark.parametrize("word", HOSTILE)
def test_titles_of_folds_hold_letters_only(word: str) -> None:
    """They stand in HTML, where no code span helps."""
    text = markdown.render(change(word))

    titles = [line for line in text.splitlines() if line.startswith("<details><summary>")]

    assert titles
    for title in titles:
        plain = title.removeprefix("<details><summary>").removesuffix("</summary>")
        assert not set(plain.replace("<code>", "").replace("</code>", "")) & set("<>&@#[]()!`|")


def test_the_verdict_comes_first() -> None:
    """Then why, then what failed and how to fetch it, then the numbers, then what changed, then the details."""
    text = markdown.render(change(next=f"stellwerk step fetch {KEY}"))
    places = [
        text.index(word)
        for word in (
            "## 🔴 stop · `delay@2`", "Step `delay` failed.", "Compared with `delay@1`",
            f"`stellwerk step fetch {KEY}`", "| metric |", "### What changed", "<details>", "ci report` ·",
        )
    ]  # fmt: skip

    assert text.startswith("<!-- stellwerk ci report ")
    assert sorted(places) == places


def test_what_is_unproven_says_what_is_missing() -> None:
    """The number of cases, and the command that leads on."""
    steps = (StepLine(name="train", kind="train", status="ran"),)
    verdicts = (Judged(endpoint="delay", outcome="unproven", why="1 unproven, 2 of 3 checks passed", n_needed=1240),)
    text = markdown.render(change(outcome="unproven", steps=steps, verdicts=verdicts, next="stellwerk prove delay"))

    assert "## 🟡 unproven" in text
    assert "About **1,240 more labelled gate cases** would probably settle it." in text
    assert "Settle it: `stellwerk prove delay`" in text


def test_no_interval_says_why() -> None:
    """A difference without one stands there as a difference, and the reason below."""
    bare = Measured(name="auroc", title="AUROC", after=0.7, before=0.6, gain=0.1, larger_is_better=True)
    text = markdown.render(change(metrics=(bare,), pairing=Pairing(why_not="the other run made no model")))

    assert "| AUROC ↑ | 0.6 | 0.7 | **+0.1** |" in text
    assert "No intervals: `the other run made no model`." in text
    assert "interval |" not in text


def test_a_report_that_is_too_long_says_so() -> None:
    """Details are left out from the end; verdict, numbers and changes stay."""
    steps = tuple(StepLine(name="s" * 100 + str(at), kind="x", status="ran", key=KEY) for at in range(60))
    long = change(steps=steps)

    text = markdown.render(long, limit=6000)

    assert len(text) <= 6000
    assert "more parts are in the full report" in text
    assert "### What changed" in text
    assert markdown.render(long).count("<details>") > text.count("<details>")


def test_intervals_are_drawn_around_zero() -> None:
    """Worse left, better right, in the direction in which the metric is better."""
    loss = Measured(
        name="log_loss", title="log loss", after=0.5, before=0.6, gain=0.1, lower=0.05, upper=0.15,
        larger_is_better=False,
    )  # fmt: skip

    assert ("−0.1", "−0.15 to −0.05") == (figures.difference(loss), figures.interval(loss))
    assert "╌╌╌╌╌╌╌╌╌╌┆╌╌━━━━●━━━"[:11] == figures.strip(loss)[:11]
    assert figures.strip(loss).index("●") > 10
    assert figures.WIDTH == len(figures.strip(loss))
    assert "" == figures.strip(replace(loss, lower=None))


def test_junit_counts_what_went_wrong() -> None:
    """A case for each step and each check: failed ones are failures, unproven ones errors, unreached ones skipped."""
    root = ElementTree.fromstring(junit.render(change()))

    assert ("6", "2", "1", "1") == tuple(root.get(key) for key in ("tests", "failures", "errors", "skipped"))
    assert ["3", "3"] == [suite.get("tests") for suite in root]
    assert f"stellwerk step fetch {KEY}" == root.findtext(".//system-out")
    assert "unproven" == root.find(".//error").get("type")  # type: ignore[union-attr]


def test_junit_without_a_verdict_is_not_green() -> None:
    """Nobody has proven it: an error, whatever the steps did."""
    root = ElementTree.fromstring(junit.render(change(verdicts=(), steps=(), outcome="unproven", why="not proven")))

    assert ("1", "1") == (root.get("tests"), root.get("errors"))


@pytest.mark.parametrize("word", HOSTILE)
def test_xml_is_xml(word: str) -> None:
    """Whatever names hold; also in pictures, which hold no script, no link and no tag of a name's."""
    root = ElementTree.fromstring(junit.render(change(word)))
    drawn = [ElementTree.fromstring(svg) for _, svg in pictures.pictures(change(word)).values()]

    assert "6" == root.get("tests")
    assert 3 == len(drawn)
    tags = {element.tag.rpartition("}")[2] for one in drawn for element in one.iter()}
    assert tags <= {"svg", "style", "g", "text", "line", "rect", "circle", "polyline"}
    assert not {key for one in drawn for element in one.iter() for key in element.attrib if key.startswith("on")}


def test_sarif_leads_to_the_code() -> None:
    """A failed step lies where its function is defined, everything else at the project; every result has its rule."""
    places = {"pipeline:train": Place(path="src/pipe line.py", line=12)}
    document = json.loads(sarif.render(change(), places=places, otherwise=Place(path="stellwerk.toml")))
    (run,) = document["runs"]
    where = [one["locations"][0]["physicalLocation"] for one in run["results"]]

    assert "2.1.0" == document["version"]
    assert ["step-failed", "check-failed", "check-unproven", "schema-changed"] == [
        r["ruleId"] for r in run["results"]
    ]
    assert ("src/pipe%20line.py", 12) == (where[0]["artifactLocation"]["uri"], where[0]["region"]["startLine"])
    assert {"stellwerk.toml"} == {one["artifactLocation"]["uri"] for one in where[1:]}
    for result in run["results"]:
        assert result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]


def test_code_quality_says_what_sarif_says() -> None:
    """The same findings at the same places, each with a fingerprint of its own, in the form that GitLab reads."""
    places = {"pipeline:train": Place(path="src/pipe line.py", line=12)}
    text = sarif.render(change(), places=places, otherwise=Place(path="stellwerk.toml"))

    found = json.loads(codequality.render(text))

    assert [one["message"]["text"] for one in json.loads(text)["runs"][0]["results"]] == [
        one["description"] for one in found
    ]
    assert {"path": "src/pipe line.py", "lines": {"begin": 12}} == found[0]["location"]
    assert ["critical", "critical", "major", "info"] == [one["severity"] for one in found]
    assert 4 == len({one["fingerprint"] for one in found})


def test_sarif_knows_a_result_again() -> None:
    """The same trouble has the same fingerprint in the next build, however its text changed."""
    place = Place(path="stellwerk.toml")

    def prints(found: Change) -> list[str]:
        run = json.loads(sarif.render(found, places={}, otherwise=place))["runs"][0]
        return [one["partialFingerprints"]["stellwerk/v1"] for one in run["results"]]

    other = change(why="another sentence", made_at=NOW.replace(hour=13))
    assert prints(change()) == prints(other)
    assert 4 == len(set(prints(change())))


@pytest.mark.parametrize("word", ["delay", 'a"b', "a\\", "a\nb", "{x}", "é"])
def test_openmetrics_can_be_read_again(word: str) -> None:
    """By the parser of Prometheus' own client: names, labels and values."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")

    families = {
        family.name: family for family in parser.text_string_to_metric_families(openmetrics.render(change(word)))
    }

    sample = families["stellwerk_metric"].samples[0]
    assert ({"pipeline": word, "metric": word}, 0.7) == (sample.labels, sample.value)
    assert {"stop": 1.0, "clear": 0.0, "unproven": 0.0} == {
        one.labels["outcome"]: one.value for one in families["stellwerk_verdict"].samples
    }
    assert [900.0] == [one.value for one in families["stellwerk_cases_needed"].samples]
