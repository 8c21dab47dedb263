"""Traces through MLflow's door, over real HTTP: as its clients and OpenTelemetry's exporters send them."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Semaphore
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from stellwerk.core.errors import Invalid
from stellwerk.tracking.arrivals import Arrivals
from stellwerk.web.doors.mlflow import otlp, traces
from stellwerk.workspace.rooms import Rooms

PROTOBUF, JSON = "application/x-protobuf", "application/json"
AT = 1_795_199_813_462_281_666


@pytest.fixture(scope="module")
def rooms(shared_rooms: Rooms) -> Rooms:
    return shared_rooms


@pytest.fixture(scope="module")
def url(address: str) -> str:
    return address


@pytest.fixture
def ask(url: str) -> Any:
    """Asks MLflow's door, and returns status and answer."""

    def asked(method: str, path: str, body: Any = None, **fields: Any) -> tuple[int, Any]:
        options: dict[str, Any] = {}
        if body is not None:
            options = {"body": json.dumps(body), "headers": {"content-type": JSON}}
        answer = urllib3.request(
            method, f"{url}/api/{path}?{urlencode(fields, doseq=True)}", retries=False, timeout=60, **options
        )
        return answer.status, json.loads(answer.data) if answer.data else None

    return asked


@pytest.fixture
def home(rooms: Rooms) -> str:
    return rooms.experiments.create(f"home {rooms.database.size()}").id


def send(url: str, body: bytes, kind: str = PROTOBUF, home: str = "0", **headers: str) -> urllib3.BaseHTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"content-type": kind, "x-mlflow-experiment-id": home, **named}
    return urllib3.request("POST", f"{url}/v1/traces", body=body, headers=named, retries=False, timeout=60)


def part(number: int, data: bytes) -> bytes:
    assert len(data) < 1 << 14
    size = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + size + data


def span(trace: int, number: int, parent: int = 0, name: str = "work", at: int = AT) -> bytes:
    return (
        part(1, trace.to_bytes(16, "big"))
        + part(2, number.to_bytes(8, "big"))
        + (part(4, parent.to_bytes(8, "big")) if parent else b"")
        + part(5, name.encode())
        + b"\x39" + struct.pack("<Q", at) + b"\x41" + struct.pack("<Q", at + 1_000_000)
        + part(9, part(1, b"fruit") + part(2, part(1, b"apple")))
    )  # fmt: skip


def request(*spans: bytes) -> bytes:
    return part(1, part(2, b"".join(part(2, one) for one in spans)))


def identity(trace: int) -> str:
    return f"tr-{trace:032x}"


def info(trace: int, home: str, **more: Any) -> dict[str, Any]:
    return {
        "trace_id": identity(trace),
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": home}},
        "request_time": "2026-11-21T10:00:00.123456789Z",
        "execution_duration": "1.5s",
        "state": "OK",
        **more,
    }


# OpenTelemetry


def test_spans_come_back_as_they_were_sent(url: str, ask: Any, home: str) -> None:
    """Nanoseconds as numbers, identities in base64."""
    answer = send(url, request(span(1, 1), span(1, 2, parent=1)), home=home)
    status, found = ask("GET", "3.0/mlflow/traces/get", trace_id=identity(1), allow_partial="False")

    assert (200, PROTOBUF, b"") == (answer.status, answer.headers["content-type"], answer.data)
    assert 200 == status
    root, inner = found["trace"]["spans"]
    assert (AT, "AAAAAAAAAAE=") == (root["start_time_unix_nano"], root["span_id"])
    assert root["span_id"] == inner["parent_span_id"]
    assert [{"key": "fruit", "value": {"string_value": "apple"}}] == root["attributes"]
    shown = found["trace"]["trace_info"]
    assert ("2026-11-20T18:36:53.462Z", "0.001s", "OK") == (
        shown["request_time"], shown["execution_duration"], shown["state"]
    )  # fmt: skip
    assert "TRACKING_STORE" == shown["tags"]["mlflow.trace.spansLocation"]


def test_json_is_answered_in_json(url: str, ask: Any, home: str) -> None:
    """And what cannot be kept is counted."""
    spans = [
        {"traceId": f"{2:032x}", "spanId": f"{1:016x}", "name": "ok", "startTimeUnixNano": str(AT)},
        {"traceId": "", "spanId": f"{1:016x}"},
    ]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answer = send(url, body, "application/json; charset=utf-8", home)

    assert (200, JSON) == (answer.status, answer.headers["content-type"])
    assert "1" == answer.json()["partialSuccess"]["rejectedSpans"]
    assert 200 == ask("GET", f"3.0/mlflow/traces/{identity(2)}")[0]


def test_rejected_spans_are_counted_in_protobuf(url: str, home: str) -> None:
    answer = send(url, request(span(3, 1), part(2, b"12345678")), home=home)

    assert 200 == answer.status
    assert answer.data[2:].startswith(b"\x08\x01\x12")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
def test_bodies_may_be_compressed(url: str, ask: Any, home: str, encoding: str) -> None:
    number = 10 + len(encoding)
    plain = request(span(number, 1))
    raw = zlib.compressobj(wbits=-15)
    packed = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain), "raw": raw.compress(plain) + raw.flush()}
    answer = send(url, packed[encoding], home=home, content_encoding=encoding.replace("raw", "deflate"))

    assert 200 == answer.status
    assert 200 == ask("GET", f"3.0/mlflow/traces/{identity(number)}")[0]


def test_a_body_that_inflates_without_end_is_refused() -> None:
    """Several in a row, too; and nothing that stops in the middle is taken for the whole."""
    bomb = gzip.compress(bytes(1 << 20))
    for data, most in ((bomb, 1 << 16), (bomb * 3, 2 << 20), (bomb[:-9], 2 << 20), (b"x", 10)):
        with pytest.raises(Invalid):
            otlp.inflated(data, "gzip", most)
    assert bytes(2 << 20) == otlp.inflated(bomb * 2, "gzip", 2 << 20)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"\xff\xff", {}, 400, 3),
        (b"", {}, 400, 3),
        (b"x", {"content_encoding": "gzip"}, 400, 3),
        (b"x", {"content_encoding": "br"}, 400, 3),
        (request(span(4, 1)), {"home": "99999"}, 404, 5),
        (request(span(4, 1)), {"home": ""}, 400, 3),
    ],
)
def test_errors_are_spelled_as_each_client_reads_them(
    url: str, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    """`google.rpc.Status` for exporters, MLflow's own for MLflow's client."""
    other = send(url, body, **headers)
    own = send(url, body, **headers, user_agent="mlflow-python-client/3.17.2")

    assert (status, PROTOBUF, bytes([8, code])) == (other.status, other.headers["content-type"], other.data[:2])
    assert status == own.status
    assert own.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


def test_another_type_is_refused(url: str) -> None:
    assert 400 == send(url, b"x", "text/plain").status


# MLflow's calls


def test_a_trace_is_told_and_found(ask: Any, url: str, home: str) -> None:
    told = info(20, home, tags={"a": "1"}, trace_metadata={"m": "x"}, request_preview="in", client_request_id="c")
    send(url, request(span(20, 1)), home=home)
    status, answer = ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": told}})
    again = ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": told}})[1]
    shown = answer["trace"]["trace_info"]

    assert 200 == status
    assert answer == again
    assert ("2026-11-21T10:00:00.123Z", "1.500s", "OK", "in", "c") == tuple(
        shown[one] for one in ("request_time", "execution_duration", "state", "request_preview", "client_request_id")
    )
    search = {"locations": [{"type": 1, "mlflow_experiment": {"experiment_id": home}}], "filter": "tags.a = '1'"}
    assert [shown] == ask("POST", "3.0/mlflow/traces/search", search)[1]["traces"]
    both = {"trace_ids": [identity(99), identity(20)]}
    assert [shown] == ask("POST", "3.0/mlflow/traces/batchGetInfos", both)[1]["trace_infos"]
    assert [shown] == [one["trace_info"] for one in ask("GET", "3.0/mlflow/traces/batchGet", **both)[1]["traces"]]
    other = {**both, "experiment_ids": ["0"]}
    assert [] == ask("POST", "3.0/mlflow/traces/batchGetInfos", other)[1]["trace_infos"]


def test_pages_are_turned(ask: Any, home: str) -> None:
    for number in range(30, 35):
        told = info(number, home, request_time=f"2026-11-21T10:00:{number}Z")
        assert 200 == ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": told}})[0]
    search = {"locations": [{"mlflow_experiment": {"experiment_id": home}}], "max_results": 2}
    found = []
    for _ in range(3):
        page = ask("POST", "3.0/mlflow/traces/search", search)[1]
        found += [one["trace_id"] for one in page["traces"]]
        search["page_token"] = page.get("next_page_token", "")

    assert [identity(number) for number in range(34, 29, -1)] == found
    assert "" == search["page_token"]
    assert 400 == ask("POST", "3.0/mlflow/traces/search", {**search, "max_results": 501})[0]
    assert 400 == ask("POST", "3.0/mlflow/traces/search", {**search, "page_token": "zz"})[0]


def test_a_trace_whose_spans_are_not_here_is_not_half_shown(ask: Any, url: str, home: str) -> None:
    told = info(40, home, trace_metadata={"mlflow.trace.sizeStats": '{"num_spans": 2}'})
    ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": told}})
    nowhere = ask("GET", "3.0/mlflow/traces/get", trace_id=identity(40))
    send(url, request(span(40, 1)), home=home)
    half = ask("GET", "3.0/mlflow/traces/get", trace_id=identity(40))
    partial = ask("GET", "3.0/mlflow/traces/get", trace_id=identity(40), allow_partial="True")

    assert (400, "INVALID_STATE") == (nowhere[0], nowhere[1]["error_code"])
    assert (404, 200, 1) == (half[0], partial[0], len(partial[1]["trace"]["spans"]))
    assert [] == ask("GET", "3.0/mlflow/traces/batchGet", trace_ids=identity(40))[1]["traces"]


class Counted(Arrivals):
    """Says when somebody begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = Semaphore(0)

    @contextmanager
    def awaited(self, trace: str, tell: Callable[[], object]) -> Iterator[None]:
        with super().awaited(trace, tell):
            self.begun.release()
            yield


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch, rooms: Rooms) -> Semaphore:
    """Who waits; and however slow this machine is, spans come before time is up."""
    monkeypatch.setattr(traces, "PATIENCE", 60.0)
    monkeypatch.setattr(traces, "ON_THEIR_WAY", 60.0)
    counted = Counted()
    monkeypatch.setattr(rooms.collector, "arrivals", counted)
    return counted.begun


def test_whoever_asks_too_early_is_answered_when_the_spans_come(
    ask: Any, url: str, home: str, waiting: Semaphore
) -> None:
    """A client that sends spans from another thread, and asks for the trace or tells of it at the same time."""
    sizes = {"mlflow.trace.sizeStats": '{"num_spans": 2}'}
    with ThreadPoolExecutor() as clients:
        telling = clients.submit(
            ask, "POST", "3.0/mlflow/traces", {"trace": {"trace_info": info(41, home, trace_metadata=sizes)}}
        )
        assert waiting.acquire(timeout=60)
        send(url, request(span(41, 1)), home=home)
        told = telling.result()[1]["trace"]["trace_info"]
        asking = clients.submit(ask, "GET", "3.0/mlflow/traces/get", trace_id=identity(41))
        assert waiting.acquire(timeout=60)
        send(url, request(span(41, 2, parent=1)), home=home)
        status, answer = asking.result()

    assert "TRACKING_STORE" == told["tags"]["mlflow.trace.spansLocation"]
    assert (200, 2) == (status, len(answer["trace"]["spans"]))


def test_waiting_holds_no_thread(ask: Any, url: str, home: str, waiting: Semaphore) -> None:
    """More clients wait than there are threads, and others are answered meanwhile."""
    sizes = {"mlflow.trace.sizeStats": '{"num_spans": 2}'}
    send(url, request(span(42, 1)), home=home)  # before it is told of: else telling would wait
    ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": info(42, home, trace_metadata=sizes)}})
    with ThreadPoolExecutor(60) as clients:
        asking = [clients.submit(ask, "GET", "3.0/mlflow/traces/get", trace_id=identity(42)) for _ in range(60)]
        assert all(waiting.acquire(timeout=60) for _ in asking)
        send(url, request(span(42, 2, parent=1)), home=home)
        answers = [one.result()[0] for one in asking]

    assert [200] * 60 == answers


@pytest.mark.parametrize(
    "wrong",
    [
        {"trace_location": {}}, {"trace_id": "a b"}, {"trace_id": None}, {"request_time": "yesterday"},
        {"execution_duration": "long"}, {"state": "FINE"}, {"tags": ["a"]}, {"tags": {"a": 1}},
        {"trace_metadata": {"k" * 300: "x"}}, {"assessments": [{"assessment_name": "x"}]},
    ],
)  # fmt: skip
def test_what_is_told_wrongly_is_refused(ask: Any, home: str, wrong: dict[str, Any]) -> None:
    status, answer = ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": {**info(50, home), **wrong}}})

    assert (400, "INVALID_PARAMETER_VALUE") == (status, answer["error_code"])


def test_tags_links_and_deletion(ask: Any, home: str) -> None:
    for number in (60, 61):
        ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": info(number, home)}})
    for version in ("2.0", "3.0"):
        place = f"{version}/mlflow/traces/{identity(60)}/tags"
        assert 200 == ask("PATCH", place, {"key": "a", "value": "1"})[0]
        assert 200 == ask("DELETE", place, {"key": "a"})[0]
        assert 404 == ask("DELETE", place, {"key": "a"})[0]
    assert 200 == ask("POST", "2.0/mlflow/traces/link-to-run", {"trace_ids": [identity(60)], "run_id": "r"})[0]
    prompt = {"trace_id": identity(61), "prompt_versions": [{"name": "p", "version": "1"}]}
    assert 200 == ask("POST", "2.0/mlflow/traces/link-prompts", prompt)[0]
    for where, number in (("run_id = 'r'", 60), ("prompt = 'p/1'", 61)):
        found = ask("GET", "2.0/mlflow/traces", experiment_ids=home, filter=where)[1]["traces"]
        assert [identity(number)] == [one["request_id"] for one in found]
    counts = ask(
        "POST", "3.0/mlflow/traces/calculate-filter-correlation",
        {"experiment_ids": [home], "filter_string1": "run_id = 'r'", "filter_string2": "status = 'OK'"},
    )[1]  # fmt: skip
    assert (1, 2, 1, 2) == tuple(counts[f"{one}_count"] for one in ("filter1", "filter2", "joint", "total"))
    delete = {"experiment_id": home, "max_timestamp_millis": 10**15, "max_traces": 1}
    assert {"traces_deleted": 1} == ask("POST", "2.0/mlflow/traces/delete-traces", delete)[1]
    some = {"experiment_id": home, "request_ids": [identity(60), identity(61)]}
    assert {"traces_deleted": 1} == ask("POST", "3.0/mlflow/traces/delete-traces", some)[1]
    assert 400 == ask("POST", "3.0/mlflow/traces/delete-traces", {"experiment_id": home})[0]


def test_old_clients_begin_and_end(ask: Any, home: str) -> None:
    begun = ask("POST", "2.0/mlflow/traces", {"experiment_id": home, "timestamp_ms": "1000", "tags": []})[1]
    name = begun["trace_info"]["request_id"]
    ended = ask("PATCH", f"2.0/mlflow/traces/{name}", {"timestamp_ms": 3000, "status": "OK"})[1]["trace_info"]

    assert ("IN_PROGRESS", 0) == (begun["trace_info"]["status"], begun["trace_info"]["execution_time_ms"])
    assert ("OK", 2000) == (ended["status"], ended["execution_time_ms"])
    assert ended == ask("GET", f"2.0/mlflow/traces/{name}/info")[1]["trace_info"]


def test_the_file_of_spans_is_made(ask: Any, url: str, home: str) -> None:
    """As clients wrote it themselves before; what they wrote elsewhere is passed on."""
    send(url, request(span(70, 1)), home=home)
    place = f"{url}/ajax-api/2.0/mlflow/get-trace-artifact"
    answer = urllib3.request("GET", place, fields={"request_id": identity(70)}, retries=False)
    ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": info(71, home)}})
    files = f"{url}/api/2.0/mlflow-artifacts/artifacts/{home}/traces/{identity(71)}/artifacts"
    for name, data in (("traces.json", b"spans"), ("attachments/a.png", b"image")):
        assert 200 == urllib3.request("PUT", f"{files}/{name}", body=data, retries=False).status
    other = urllib3.request("GET", place, fields={"request_id": identity(71)}, retries=False)
    attached = urllib3.request("GET", place, fields={"request_id": identity(71), "path": "a.png"}, retries=False)

    made = answer.json()["spans"][0]
    assert ("attachment; filename=traces.json", "nosniff") == (
        answer.headers["content-disposition"], answer.headers["x-content-type-options"]
    )  # fmt: skip
    assert {"mlflow.traceRequestId": f'"{identity(70)}"', "fruit": '"apple"'} == made["attributes"]
    assert (b"spans", b"image") == (other.data, attached.data)
    for path in ("../traces.json", "none", "/etc/passwd"):
        wrong = urllib3.request("GET", place, fields={"request_id": identity(71), "path": path}, retries=False)
        assert wrong.status in (400, 404)
    assert 404 == urllib3.request("GET", place, fields={"request_id": identity(72)}, retries=False).status


# Assessments


@pytest.fixture
def judged(ask: Any, home: str) -> str:
    number = 1000 + int(home)
    assert 200 == ask("POST", "3.0/mlflow/traces", {"trace": {"trace_info": info(number, home)}})[0]
    return f"3.0/mlflow/traces/{identity(number)}/assessments"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            {"feedback": {"value": {"rating": 4, "why": ["a", None]}}},
            {"feedback": {"value": {"rating": 4, "why": ["a", None]}}},
        ),
        ({"feedback": {"value": 0.1}}, {"feedback": {"value": 0.1}}),
        (
            {"feedback": {"value": None, "error": {"error_code": "X"}}},
            {"feedback": {"value": None, "error": {"error_code": "X"}}},
        ),
        ({"expectation": {"value": True}}, {"expectation": {"value": True}}),
        (
            {"expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": '{"a": [1]}'}}},
            {"expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": '{"a": [1]}'}}},
        ),
        ({"issue": {"issue_name": "slow"}}, {"issue": {"issue_name": "slow"}}),
    ],
)  # fmt: skip
def test_what_is_said_comes_back(ask: Any, judged: str, sent: dict[str, Any], shown: dict[str, Any]) -> None:
    said = {"assessment_name": "n", "source": {"source_type": 1, "source_id": "anna"}, **sent}
    status, answer = ask("POST", judged, {"assessment": said})
    made = answer["assessment"]

    assert 200 == status
    assert shown.items() <= made.items()
    assert ({"source_type": "HUMAN", "source_id": "anna"}, True) == (made["source"], made["valid"])
    assert made == ask("GET", f"{judged}/{made['assessment_id']}")[1]["assessment"]


def test_the_mask_says_what_changes(ask: Any, judged: str) -> None:
    said = {"assessment_name": "n", "feedback": {"value": 1}, "rationale": "so", "metadata": {"a": "1"}}
    made = ask("POST", judged, {"assessment": said})[1]["assessment"]
    place = f"{judged}/{made['assessment_id']}"
    more = {"assessment_name": "other", "feedback": {"value": 2}, "rationale": "not", "metadata": {"b": "2"}}
    changed = ask("PATCH", place, {"assessment": more, "update_mask": "assessmentName,feedback,metadata"})[1][
        "assessment"
    ]

    assert ("other", {"value": 2}, "so", {"a": "1", "b": "2"}) == tuple(
        changed[one] for one in ("assessment_name", "feedback", "rationale", "metadata")
    )
    wrong = {"assessment": {"expectation": {"value": 1}}, "update_mask": "expectation"}
    assert 400 == ask("PATCH", place, wrong)[0]
    assert [200, 200, 404] == [ask(*one)[0] for one in (("DELETE", place), ("DELETE", place), ("GET", place))]


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"feedback": 1}, {"feedback": {"error": "x"}}, {"assessment_name": "", "feedback": {}},
        {"feedback": {}, "metadata": {"a": 1}}, {"feedback": {}, "source": {"source_type": "DOG"}},
        {"expectation": {"serialized_value": {"value": "{"}}}, {"feedback": {}, "create_time": "now"},
        {"feedback": {}, "assessment_id": "a b"},
    ],
)  # fmt: skip
def test_what_is_said_wrongly_is_refused(ask: Any, judged: str, wrong: dict[str, Any]) -> None:
    assert 400 == ask("POST", judged, {"assessment": {"assessment_name": "n", **wrong}})[0]
