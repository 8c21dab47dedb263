"""Reading `stellwerk.toml`: what is not understood is refused with the nearest word; what is, means what it says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.releases.declaration import parse
from stellwerk.releases.model import EndpointSpec, Goal, LeaseRule, SliceRule, Steering
from stellwerk.workspace import templates

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights" / "stellwerk.toml"
LEAST = """
[endpoint.delay]
purpose = "Late?"
owner = "anna"
{extra}
[endpoint.delay.goal]
auroc = {{ floor = 0.6 }}
{tables}
"""


def read(extra: str = "", tables: str = "") -> EndpointSpec:
    return parse(LEAST.format(extra=extra, tables=tables)).endpoint("delay")


def refusal(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse(text)
    return caught.value


def test_the_least_that_must_be_said() -> None:
    """Purpose, owner and one goal; everything else has a safe default."""
    assert read() == EndpointSpec(
        name="delay", purpose="Late?", owner="anna", fallback="refuse", goals=(Goal(metric="auroc", floor=0.6),)
    )


def test_everything_that_can_be_said() -> None:
    """Every key lands where it belongs."""
    extra = """
deputy = "ben"
risk = "high"
policy = ["base@1", "leakage@1"]
fallback = "human"
traffic_per_day = 12
environment = "staging"
label_delay = "1w"
groups = ["depot"]
"""
    tables = """
brier = { ceiling = 0.2, margin = 0.01 }
[endpoint.delay.slices]
by = ["carrier"]
auroc = { floor = 0.5 }
unproven = "refuse"
[endpoint.delay.lease]
max = "12d"
[endpoint.delay.steering]
audit = 1
review = { queue = "desk", due = "90s" }
"""
    assert read(extra, tables) == EndpointSpec(
        name="delay",
        purpose="Late?",
        owner="anna",
        deputy="ben",
        risk="high",
        policy=("base@1", "leakage@1"),
        fallback="human",
        goals=(Goal(metric="auroc", floor=0.6), Goal(metric="brier", ceiling=0.2, margin=0.01)),
        slices=SliceRule(by=("carrier",), goals=(Goal(metric="auroc", floor=0.5),), unproven="refuse"),
        lease=LeaseRule(maximum=timedelta(days=12)),
        steering=Steering(audit=1.0, review_queue="desk", review_due=timedelta(seconds=90)),
        label_delay=timedelta(weeks=1),
        traffic_per_day=12,
        environment="staging",
        groups=("depot",),
    )


def test_the_flights_example() -> None:
    """What ships with the project is read as the owner meant it."""
    project = parse(FLIGHTS.read_text("utf-8"))
    delay = project.endpoint("delay")

    assert ("flights", "pipeline.py", ["delay"]) == (project.name, project.pipeline, list(project.endpoints))
    assert ("anna", "ben", "previous", timedelta(days=5), 900) == (
        delay.owner,
        delay.deputy,
        delay.fallback,
        delay.label_delay,
        delay.traffic_per_day,
    )
    assert ("carrier", "origin") == delay.slices.by
    assert "human" == delay.slices.unproven
    assert {"auroc", "brier", "latency_p99_ms"} == {goal.metric for goal in delay.goals}


@pytest.mark.parametrize("task", sorted(templates.GOALS))
@pytest.mark.parametrize("slices", [(), ("a b", 'q"uote')])
def test_what_ship_writes_is_read(task: str, slices: tuple[str, ...]) -> None:
    """Every generated project file is a declaration."""
    order = templates.Order(name="x", target='a "b" \\ c', task=task, owner="o", rows=100, slices=slices)
    endpoint = parse(templates.project(order)).endpoint("x")

    assert slices == endpoint.slices.by
    assert bool(slices) == bool(endpoint.slices.goals)


UNKNOWN = [
    ("[projekt]\nname = 'x'", "projekt", "project"),
    ("[project]\nnam = 'x'", "nam", "name"),
    ("[endpoints.delay]\nowner = 'x'", "endpoints", "endpoint"),
    (LEAST.format(extra="ownr = 'x'", tables=""), "ownr", "owner"),
    (LEAST.format(extra="polcy = ['x']", tables=""), "polcy", "policy"),
    (LEAST.format(extra="fallbck = 'x'", tables=""), "fallbck", "fallback"),
    (LEAST.format(extra="", tables="brier = { cieling = 0.2 }"), "cieling", "ceiling"),
    (LEAST.format(extra="", tables="brier = { floor = 0.2, margn = 1 }"), "margn", "margin"),
    (LEAST.format(extra="", tables="[endpoint.delay.lease]\nmaximum = '3d'"), "maximum", "max"),
    (LEAST.format(extra="", tables="[endpoint.delay.steering]\naudits = 1"), "audits", "audit"),
    (LEAST.format(extra="", tables="[endpoint.delay.steering]\nanomaly = { stop = 0.9 }"), "anomaly", ""),
    (LEAST.format(extra="", tables="[endpoint.delay.steering.review]\nqeue = 'x'"), "qeue", "queue"),
    (LEAST.format(extra="", tables="[endpoint.delay.slicing]\nby = ['x']"), "slicing", "slices"),
]


@pytest.mark.parametrize(("text", "unknown", "near"), UNKNOWN, ids=[item[1] for item in UNKNOWN])
def test_unknown_keys_are_refused_with_the_nearest(text: str, unknown: str, near: str) -> None:
    """A slip of the pen never becomes a default: it is named, and so is what was probably meant."""
    error = refusal(text)

    assert "invalid-project" == error.code
    assert unknown in error.message
    assert near in error.hint


WRONG: dict[str, str] = {
    "purpose": "purpose = 3",
    "owner": "owner = ['anna']",
    "deputy": "deputy = 3",
    "risk": "risk = 'huge'",
    "risk type": "risk = 3",
    "policy text": "policy = 'base@1'",
    "policy numbers": "policy = [1]",
    "fallback": "fallback = 'previos'",
    "traffic text": "traffic_per_day = '900'",
    "traffic none": "traffic_per_day = 0",
    "traffic negative": "traffic_per_day = -5",
    "traffic nan": "traffic_per_day = nan",
    "traffic infinite": "traffic_per_day = inf",
    "traffic flag": "traffic_per_day = true",
    "environment": "environment = 7",
    "label_delay number": "label_delay = 5",
    "label_delay words": "label_delay = '5 days'",
    "label_delay": "label_delay = '-1d'",
    "groups": "groups = 'day'",
}
WRONG_TABLES: dict[str, str] = {
    "goal number": "brier = 0.2",
    "goal empty": "brier = {}",
    "goal only margin": "brier = { margin = 0.1 }",
    "goal text": "brier = { ceiling = '0.2' }",
    "goal flag": "brier = { ceiling = true }",
    "goal nan": "brier = { ceiling = nan }",
    "goal infinite": "brier = { ceiling = inf }",
    "margin zero": "brier = { ceiling = 0.2, margin = 0 }",
    "margin nan": "brier = { ceiling = 0.2, margin = nan }",
    "margin of latency": "latency_p99_ms = { ceiling = 50, margin = 5 }",
    "slices without by": "[endpoint.delay.slices]\nauroc = { floor = 0.5 }",
    "slices without metric": "[endpoint.delay.slices]\nby = ['a']",
    "slices by text": "[endpoint.delay.slices]\nby = 'a'\nauroc = { floor = 0.5 }",
    "slices by numbers": "[endpoint.delay.slices]\nby = [1]\nauroc = { floor = 0.5 }",
    "slices unproven": "[endpoint.delay.slices]\nby = ['a']\nauroc = { floor = 0.5 }\nunproven = 'ignore'",
    "slices margin": "[endpoint.delay.slices]\nby = ['a']\nauroc = { floor = 0.5, margin = 0.1 }",
    "slices latency": "[endpoint.delay.slices]\nby = ['a']\nlatency_p99_ms = { ceiling = 5 }",
    "lease number": "[endpoint.delay.lease]\nmax = 30",
    "lease nothing": "[endpoint.delay.lease]\nmax = '0d'",
    "lease forever": "[endpoint.delay.lease]\nmax = '9999999999w'",
    "audit never": "[endpoint.delay.steering]\naudit = 0",
    "audit negative": "[endpoint.delay.steering]\naudit = -0.1",
    "audit too much": "[endpoint.delay.steering]\naudit = 1.01",
    "audit nan": "[endpoint.delay.steering]\naudit = nan",
    "audit flag": "[endpoint.delay.steering]\naudit = true",
    "audit word": "[endpoint.delay.steering]\naudit = 'some'",
    "review text": "[endpoint.delay.steering]\nreview = 'desk'",
    "review due": "[endpoint.delay.steering]\nreview = { due = 4 }",
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_values_are_refused(what: str) -> None:
    """Each value of the wrong kind or out of its range is Invalid and names its key."""
    key = what.partition(" ")[0]
    text = LEAST.format(extra=WRONG[what], tables="")
    for given_twice in ("purpose", "owner"):
        if key == given_twice:
            text = "\n".join(line for line in text.splitlines() if not line.startswith(f'{key} = "'))
    error = refusal(text)

    assert error.code in ("invalid-project", "invalid-duration")
    assert key in error.message or error.code == "invalid-duration"


@pytest.mark.parametrize("what", WRONG_TABLES)
def test_wrong_tables_are_refused(what: str) -> None:
    """The same for the tables below an endpoint."""
    assert refusal(LEAST.format(extra="", tables=WRONG_TABLES[what])).code in ("invalid-project", "invalid-duration")


@pytest.mark.parametrize(
    "text",
    [
        "this is not TOML",
        "project = 3",
        "endpoint = 3",
        "[project]\nname = 3",
        "[project]\npipeline = ['a.py']",
        "[endpoint]\ndelay = 3",
        "[endpoint.delay]",
        "[endpoint.delay]\npurpose = 'x'\nowner = ''\n[endpoint.delay.goal]\nauroc = { floor = 0.6 }",
        "[endpoint.delay]\npurpose = 'x'\nowner = 'anna'\ngoal = 3",
        "[endpoint.delay]\npurpose = 'x'\nowner = 'anna'\n[endpoint.delay.goal]",
        "[endpoint.'../x']\npurpose = 'x'\nowner = 'anna'\n[endpoint.'../x'.goal]\nauroc = { floor = 0.6 }",
    ],
)
def test_files_that_are_no_projects(text: str) -> None:
    """Not TOML, tables that are none, nobody responsible, nothing to prove, names that cannot be: Invalid."""
    assert refusal(text).code in ("invalid-project", "invalid-name")


def test_an_unknown_endpoint_names_the_nearest() -> None:
    """Asking for an endpoint that is not declared says which is meant."""
    with pytest.raises(NotFound) as caught:
        parse(LEAST.format(extra="", tables="")).endpoint("delya")

    assert ("unknown-endpoint", "did you mean 'delay'?") == (caught.value.code, caught.value.hint)


toml_values = st.one_of(
    st.integers(-(2**62), 2**62).map(str),
    st.sampled_from(["nan", "inf", "-inf", "true", "0.0", "1e308", "[]", "{}", "['x']", "[[1]]", "{ a = 1 }"]),
    st.text(st.characters(codec="ascii", exclude_characters="'\n\r\x7f", min_codepoint=32), max_size=8).map(repr),
    st.just("2024-01-01T00:00:00Z"),
)
keys = st.sampled_from(
    ["purpose", "owner", "deputy", "risk", "policy", "fallback", "traffic_per_day", "environment", "label_delay",
     "groups", "goal", "slices", "lease", "steering", "goal.auroc", "goal.auroc.floor", "goal.auroc.margin",
     "slices.by", "slices.auroc", "lease.max", "steering.audit", "steering.review", "steering.review.due"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(keys, toml_values, max_size=8))
def test_any_file_is_read_or_refused(entries: dict[str, Any]) -> None:
    """Whatever stands in the file: a declaration that is sound, or Invalid; never another exception."""
    lines = ["[endpoint.delay]", *(f"{key} = {value}" for key, value in entries.items())]
    try:
        endpoint = parse("\n".join(lines)).endpoint("delay")
    except Invalid:
        return
    assert endpoint.goals
    assert endpoint.owner
    assert "auto" == endpoint.steering.audit or 0 < endpoint.steering.audit <= 1
    assert endpoint.lease.maximum > timedelta(0)
    assert endpoint.traffic_per_day >= 1
