"""A change as OpenMetrics text, which the metrics reports of GitLab show beside those of the target branch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from stellwerk.governance.change.model import Change

_TYPES = {
    "stellwerk_metric": "What the pipeline measured of its model.",
    "stellwerk_metric_gain": "How much better than the model it is compared with, on the same rows.",
    "stellwerk_verdict": "1 for the verdict that the change has.",
    "stellwerk_cases_needed": "Labelled gate cases that would probably settle what is unproven.",
    "stellwerk_steps": "Steps by how they ended.",
    "stellwerk_seconds": "Time that the executed steps took.",
}


def render(change: Change) -> str:
    """The text, one family after the other."""
    lines: list[str] = []
    for name, told in _TYPES.items():
        samples = list(_samples(change, name))
        if samples:
            lines += [f"# TYPE {name} gauge", f"# HELP {name} {told}"]
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join([*lines, "# EOF", ""])


def _samples(change: Change, name: str) -> Iterator[tuple[dict[str, str], float]]:
    pipeline = {"pipeline": change.head.pipeline}
    if name == "stellwerk_metric":
        yield from (({**pipeline, "metric": one.name}, one.after) for one in change.metrics if one.after is not None)
    elif name == "stellwerk_metric_gain":
        for one in change.metrics:
            ends = {"estimate": one.gain, "lower": one.lower, "upper": one.upper}
            if one.lower is not None and one.upper is not None:
                for end, value in ends.items():
                    yield {**pipeline, "metric": one.name, "bound": end}, value or 0.0
    elif name == "stellwerk_verdict":
        yield from (
            ({**pipeline, "outcome": one}, float(one == change.outcome)) for one in ("clear", "stop", "unproven")
        )
    elif name == "stellwerk_cases_needed":
        yield from (
            ({**pipeline, "endpoint": one.endpoint}, float(one.n_needed))
            for one in change.verdicts
            if one.n_needed is not None
        )
    elif name == "stellwerk_steps":
        for status in dict.fromkeys(step.status for step in change.steps):
            number = sum(step.status == status for step in change.steps)
            yield {**pipeline, "status": status}, float(number)
    else:
        yield pipeline, sum(step.seconds for step in change.steps if step.status in ("ran", "failed"))


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    plain = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:200])
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
