"""A change as SARIF 2.1.0: failed steps, checks and worse metrics where the code stands that they are about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from stellwerk._version import __version__
from stellwerk.governance.change import figures
from stellwerk.governance.change.model import Change
from stellwerk.governance.change.safe import visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
Level = Literal["error", "warning", "note"]
RULES: dict[str, tuple[str, Level]] = {
    "step-failed": ("A step of the pipeline failed.", "error"),
    "check-failed": ("A check that the policy demands failed.", "error"),
    "check-unproven": ("A check that the policy demands could not be proven.", "warning"),
    "not-proven": ("Nobody has proven the model of this change.", "warning"),
    "metric-worse": ("The model is worse than the one it would replace, on the rows both answered.", "warning"),
    "schema-changed": ("Columns of a dataset came, went or changed their type.", "note"),
}
TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file, by its path from the top of the repository."""

    path: str
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    rule: str
    about: str
    text: str
    function: str = ""


def render(change: Change, *, places: Mapping[str, Place], otherwise: Place) -> str:
    """The document.

    Args:
        places: Where the function of a step is defined, by `module:qualname`.
        otherwise: Where everything else belongs to; whoever shows SARIF wants a line of a file for each result.
    """
    used = list(_results(change))
    names = [name for name in RULES if any(one.rule == name for one in used)]
    rules = [
        {
            "id": name,
            "shortDescription": {"text": RULES[name][0]},
            "defaultConfiguration": {"level": RULES[name][1]},
        }
        for name in names
    ]
    driver = {
        "name": "Stellwerk",
        "semanticVersion": __version__,
        "rules": rules,
    }
    results = [_document(one, names.index(one.rule), change, places.get(one.function, otherwise)) for one in used]
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"stellwerk/{quote(visible(change.head.pipeline), safe='')}/"},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The top folder of the repository."}}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _results(change: Change) -> Iterator[_Result]:
    for step in change.failed:
        text = f"step {step.name} failed: {step.error}"
        fetch = f"\nstellwerk step fetch {step.key}" if step.key else ""
        yield _Result(rule="step-failed", about=step.name, text=text + fetch, function=step.function)
    for judged in change.verdicts:
        for reason in judged.reasons:
            if reason.outcome != "pass":
                rule = "check-failed" if reason.outcome == "fail" else "check-unproven"
                about = f"{judged.endpoint} {reason.check}"
                yield _Result(rule=rule, about=about, text=f"{reason.check}: {reason.text}")
    if not change.verdicts and change.head.model:
        yield _Result(rule="not-proven", about=change.head.pipeline, text=f"{change.why}\n{change.next}".strip())
    for metric in change.metrics:
        if metric.judgement == "worse":
            text = f"{metric.title}: {figures.difference(metric)} ({figures.interval(metric)})"
            yield _Result(rule="metric-worse", about=metric.name, text=text)
    for data in change.data:
        if data.schema:
            text = f"the schema of {data.name} changed: {', '.join(data.schema)}"
            yield _Result(rule="schema-changed", about=data.name, text=text)


def _document(one: _Result, rule: int, change: Change, place: Place) -> dict[str, Any]:
    same = hashlib.sha256(
        "\x1f".join((change.head.pipeline, one.rule, one.about)).encode("utf-8", "surrogatepass")
    ).hexdigest()
    location = {
        "artifactLocation": {"uri": quote(place.path), "uriBaseId": "SRCROOT"},
        "region": {"startLine": place.line},
    }
    return {
        "ruleId": one.rule,
        "ruleIndex": rule,
        "level": RULES[one.rule][1],
        "message": {"text": visible(one.text)[:TEXT]},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"stellwerk/v1": same},
    }
