"""Figures of many traces through MLflow's door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from stellwerk.web.app import application
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

SETTINGS = Settings(actor="anna")
HERE, BASE = "/api/3.0/mlflow/traces", 1_790_000_000_000
MINUTE = 60_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    rooms = Rooms(create(tmp_path_factory.mktemp("measured"), SETTINGS), SETTINGS)
    with TestClient(application(rooms, {}), base_url="http://localhost") as made:
        for number in range(6):
            _trace(made, number)
        yield made
    rooms.close()


def _trace(client: TestClient, number: int) -> None:
    """A trace of two spans, of which every third failed; each minute one, `number` + 1 seconds long."""
    at = (BASE + number * MINUTE) * 1_000_000
    first = {"traceId": f"{number + 1:032x}", "spanId": f"{1:016x}", "name": f"job{number % 2}", "kind": 1}
    first |= {"startTimeUnixNano": str(at), "endTimeUnixNano": str(at + (number + 1) * 10**9)}
    first |= {"status": {"code": 2 if number % 3 == 0 else 1}}
    usage, cost = {"input_tokens": 10 * number}, {"total_cost": number / 4}
    said = {"mlflow.chat.tokenUsage": json.dumps(usage), "mlflow.llm.cost": json.dumps(cost), "mlflow.llm.model": "m"}
    said |= {"session.id": f"s{number % 2}"} if number < 4 else {}
    inner = {**first, "spanId": f"{2:016x}", "parentSpanId": f"{1:016x}", "name": "chat", "status": {}}
    inner["attributes"] = [{"key": key, "value": {"stringValue": text}} for key, text in said.items()]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [first, inner]}]}]}
    assert 200 == client.post("/v1/traces", json=body, headers={"x-mlflow-experiment-id": "0"}).status_code
    trace = f"tr-{number + 1:032x}"
    assert (
        200
        == client.patch(f"{HERE}/{trace}/tags", json={"key": "mlflow.traceName", "value": first["name"]}).status_code
    )
    judged = {"assessment_name": "good", "source": {"source_type": "CODE"}, "feedback": {"value": number % 2 == 0}}
    assert 200 == client.post(f"{HERE}/{trace}/assessments", json={"assessment": judged}).status_code


def ask(client: TestClient, view: str, figure: str, *how: Any, **more: Any) -> list[tuple[list[str], list[Any]]]:
    """Labels and values of each point."""
    ways = [
        {"aggregation_type": one} if isinstance(one, str) else {"aggregation_type": 4, "percentile_value": one}
        for one in how
    ]
    body = {"experiment_ids": ["0"], "view_type": view, "metric_name": figure, "aggregations": ways, **more}
    answer = client.post(f"{HERE}/metrics", json=body)
    assert 200 == answer.status_code, answer.text
    return [(list(one["dimensions"].values()), list(one["values"].values())) for one in answer.json()["data_points"]]


def test_traces_are_counted_and_measured(client: TestClient) -> None:
    """How many, how long and with how many tokens, as a whole and by name and status."""
    assert [([], [6.0])] == ask(client, "TRACES", "trace_count", "COUNT")
    assert [([], [3500.0, 1000.0, 6000.0, 5750.0])] == ask(client, "TRACES", "latency", "AVG", "MIN", "MAX", 95)
    assert [(["job0"], [60.0]), (["job1"], [90.0])] == ask(
        client, "TRACES", "input_tokens", "SUM", dimensions=["trace_name"]
    )
    assert [(["ERROR"], [2.0]), (["OK"], [4.0])] == ask(
        client, "TRACES", "trace_count", "COUNT", dimensions=["trace_status"]
    )
    assert [([], [2.0])] == ask(client, "TRACES", "session_count", "COUNT")


def test_time_is_cut_into_stretches(client: TestClient) -> None:
    """Each a point of its own; first and last millisecond are included, what is outside is not."""
    between = {"start_time_ms": BASE + MINUTE, "end_time_ms": BASE + 4 * MINUTE}
    found = ask(client, "TRACES", "trace_count", "COUNT", **between, time_interval_seconds=120)

    assert [4.0] == [sum(values[0] for _, values in found)]
    assert sorted(labels for labels, _ in found) == [labels for labels, _ in found]
    assert found[0][0][0].endswith(":00+00:00")


def test_spans_are_counted_and_measured(client: TestClient) -> None:
    """By their own names, kinds and models, and filtered by what they are and by their trace."""
    assert [(["chat"], [6.0]), (["job0"], [3.0]), (["job1"], [3.0])] == ask(
        client, "SPANS", "span_count", "COUNT", dimensions=["span_name"]
    )
    assert [(["m"], [3.75])] == ask(client, "SPANS", "total_cost", "SUM", dimensions=["span_model_name"])
    failed = ["trace.status = 'ERROR'", "span.name = 'chat'"]
    assert [([], [2.0])] == ask(client, "SPANS", "span_count", "COUNT", filters=failed)
    assert [([], [0.25])] == ask(
        client, "SPANS", "total_cost", "SUM", start_time_ms=BASE + MINUTE, end_time_ms=BASE + MINUTE
    )


def test_assessments_are_counted_and_measured(client: TestClient) -> None:
    """Yes is one and no is nought; one that was corrected does not count."""
    assert [(["good"], [0.5])] == ask(
        client, "ASSESSMENTS", "assessment_value", "AVG", dimensions=["assessment_name"]
    )
    assert [(["false"], [3.0]), (["true"], [3.0])] == ask(
        client, "ASSESSMENTS", "assessment_count", "COUNT", dimensions=["assessment_value"]
    )
    assert [([], [0.0])] == ask(client, "ASSESSMENTS", "assessment_count", "COUNT", filters=["assessment.name = 'x'"])


def test_points_come_in_pages(client: TestClient) -> None:
    """With a token for the rest, which leads to it."""
    body = {
        "experiment_ids": ["0"], "view_type": "SPANS", "metric_name": "span_count", "dimensions": ["span_name"],
        "aggregations": [{"aggregation_type": "COUNT"}], "max_results": 2,
    }  # fmt: skip
    first = client.post(f"{HERE}/metrics", json=body).json()
    second = client.post(f"{HERE}/metrics", json={**body, "page_token": first["next_page_token"]}).json()

    assert (2, 1) == (len(first["data_points"]), len(second["data_points"]))
    assert "next_page_token" not in second


def test_links_to_a_run_count_like_what_the_trace_says_itself(client: TestClient) -> None:
    """A trace that was linked afterwards belongs to the run, too."""
    run = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    linked = {"trace_ids": [f"tr-{1:032x}"], "run_id": run}
    assert 200 == client.post("/api/2.0/mlflow/traces/link-to-run", json=linked).status_code

    of_run = [f"trace.metadata.`mlflow.sourceRun` = '{run}'"]
    assert [([], [1.0])] == ask(client, "TRACES", "trace_count", "COUNT", filters=of_run)


@pytest.mark.parametrize(
    "change",
    [
        {"view_type": "NOTHING"}, {"metric_name": "nothing"}, {"aggregations": [{"aggregation_type": "SUM"}]},
        {"aggregations": [{}]}, {"dimensions": ["span_name"]}, {"filters": ["span.name = 'x'"]}, {"max_results": -1},
        {"time_interval_seconds": 60}, {"filters": ["trace.status = 'OK'"] * 101}, {"page_token": "x"},
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(client: TestClient, change: dict[str, Any]) -> None:
    """With 400 and MLflow's code."""
    right = {
        "experiment_ids": ["0"], "view_type": "TRACES", "metric_name": "trace_count",
        "aggregations": [{"aggregation_type": "COUNT"}],
    }  # fmt: skip
    answer = client.post(f"{HERE}/metrics", json={**right, **change})

    assert (400, "INVALID_PARAMETER_VALUE") == (answer.status_code, answer.json()["error_code"])
