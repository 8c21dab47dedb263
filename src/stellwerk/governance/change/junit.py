"""A change as JUnit XML: a test case for each step and each check, so that every CI system lists what went wrong."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from stellwerk.governance.change.model import Change, Judged, StepLine
from stellwerk.governance.change.safe import visible

TEXT = 10_000


def render(change: Change) -> str:
    """The document. What is unproven is an error: a check that could not come to an end is not one that passed."""
    root = Element("testsuites", {"name": _said(change.head.pipeline)})
    _suite(root, f"{change.head.pipeline}: steps", [_step(step) for step in change.steps])
    for one in change.verdicts:
        _suite(root, f"{change.head.pipeline}: verdict on {one.endpoint}", _checks(one))
    if not change.verdicts:
        _suite(root, f"{change.head.pipeline}: verdict", [_verdict(change)])
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, name: str, cases: list[Element]) -> None:
    suite = SubElement(root, "testsuite", {"name": _said(name), "tests": str(len(cases))})
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    for case in cases:
        case.set("classname", _said(name.replace(": ", ".")))


def _step(step: StepLine) -> Element:
    case = Element("testcase", {"name": _said(step.name), "time": f"{step.seconds:.3f}"})
    if step.status in ("failed", "interrupted"):
        _wrong(case, "failure", step.status, step.error or step.status, step.log)
        if step.key:
            SubElement(case, "system-out").text = _said(f"stellwerk step fetch {step.key}")
    elif step.status in ("skipped", "not reached", "running"):
        SubElement(case, "skipped", {"message": step.status})
    return case


def _checks(one: Judged) -> list[Element]:
    cases = []
    for reason in one.reasons:
        case = Element("testcase", {"name": _said(reason.check), "time": "0"})
        if reason.outcome != "pass":
            more = f" (about {reason.n_needed:,} more cases)" if reason.n_needed else ""
            _wrong(case, "failure" if reason.outcome == "fail" else "error", reason.outcome, reason.text + more, "")
        cases.append(case)
    if one.outcome != "clear" and all(reason.outcome == "pass" for reason in one.reasons):
        case = Element("testcase", {"name": "verdict", "time": "0"})
        _wrong(case, "error", one.outcome, one.why, "")
        cases.append(case)
    return cases


def _verdict(change: Change) -> Element:
    case = Element("testcase", {"name": "verdict", "time": "0"})
    _wrong(case, "failure" if change.outcome == "stop" else "error", change.outcome, change.why, change.next)
    return case


def _wrong(case: Element, tag: str, kind: str, message: str, more: str) -> None:
    first = (message.strip().split("\n") or [""])[0]
    SubElement(case, tag, {"type": kind, "message": _said(first)}).text = _said(
        "\n".join(filter(None, (message, more)))
    )


def _said(text: str) -> str:
    """Text as XML 1.0 may hold it."""
    return visible(text)[:TEXT]
