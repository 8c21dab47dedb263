"""Traces: told in spans that come in any order and more than once, and judged by people and programs."""

from __future__ import annotations

import base64
import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking import spans
from stellwerk.tracking.adapters.counts import SqlCounts
from stellwerk.tracking.adapters.traces import SqlTraces
from stellwerk.tracking.assessments import Assessments
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.correlation import npmi
from stellwerk.tracking.experiments import Experiments
from stellwerk.tracking.spans import Span
from stellwerk.tracking.traced import LOCATION_TAG, SIZE_KEY, SPANS_TAG, Assessment, Trace, complete
from stellwerk.tracking.traces import Traces


@dataclass
class Desk:
    """Traces of one workspace."""

    book: WorkspaceBook
    blobs: MemoryBlobs
    clock: StandingClock

    def __post_init__(self) -> None:
        self.collector = Collector(self.book, self.blobs, SqlCounts())
        self.traces = Traces(self.book, self.clock, self.collector, SqlTraces())
        self.assessments = Assessments(self.book, self.clock)
        self.experiments = Experiments(self.book, self.clock)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.book.entries(kinds=["trace."])]

    def tell(self, number: int, **facts: Any) -> Trace:
        return self.traces.tell(told(number, **facts)).trace

    def names(self, where: str = "", **asked: Any) -> list[int]:
        """The numbers of the traces that a search finds."""
        return [int(one.trace.id[3:], 16) for one in self.traces.search(["0"], where=where, **asked)]


@pytest.fixture
def desk(database: Database, clock: StandingClock) -> Desk:
    return Desk(WorkspaceBook(database, "default", "anna"), MemoryBlobs(), clock)


def identity(number: int) -> str:
    return f"tr-{number:032x}"


def told(number: int, **facts: Any) -> Trace:
    return Trace(**{"id": identity(number), "experiment": "0", "at": number, "duration": 10, "state": "ok", **facts})


def span(trace: int, number: int, parent: int = 0, **attributes: Any) -> Span:
    made: Span = {
        "trace_id": base64.b64encode(trace.to_bytes(16, "big")).decode(),
        "span_id": base64.b64encode(number.to_bytes(8, "big")).decode(),
        **({"parent_span_id": base64.b64encode(parent.to_bytes(8, "big")).decode()} if parent else {}),
        "name": f"span {number}",
        "start_time_unix_nano": 1_795_199_813_462_281_666 + number,
        "end_time_unix_nano": 1_795_199_815_462_281_666 + number,
        "attributes": [{"key": key, "value": {"string_value": text}} for key, text in attributes.items()],
        "status": {"code": "STATUS_CODE_OK"},
    }
    return made


def said(number: int, name: str = "good", value: str = "true", **facts: Any) -> Assessment:
    return Assessment(
        **{"trace": identity(number), "id": "", "name": name, "kind": "feedback", "value": value, "created": 0,
           "changed": 0, **facts}
    )  # fmt: skip


# Telling


def test_what_was_told_is_there(desk: Desk) -> None:
    """With the place of its files; telling it again changes nothing and needs no entry."""
    first = desk.tell(1, tags={"team": "a"}, metadata={"m": "1"}, request="in", response="out", client_id="r")
    desk.tell(1, tags={"team": "a"}, metadata={"m": "1"}, request="in", response="out", client_id="r")

    assert first == desk.traces.get(identity(1)).trace
    assert {"team": "a", LOCATION_TAG: f"mlflow-artifacts:/0/traces/{identity(1)}/artifacts"} == first.tags
    assert ["trace.told"] == desk.kinds()


def test_telling_adds_to_what_spans_told(desk: Desk) -> None:
    """The application knows better when it began; tags of both stay."""
    desk.collector.log("0", {identity(1): [span(1, 1)]}, {identity(1): {"service.name": "shop"}})
    trace = desk.tell(1, at=5, duration=7, tags={"team": "a"})

    assert (5, 7, "ok") == (trace.at, trace.duration, trace.state)
    assert {"service.name", "team", SPANS_TAG, LOCATION_TAG} == set(trace.tags)
    assert 1 == len(desk.collector.spans(trace))


@pytest.mark.parametrize("wrong", ["", "a b", "../x", "x" * 101, "tr-\0"])
def test_what_can_be_no_trace_is_refused(desk: Desk, wrong: str) -> None:
    with pytest.raises(Invalid):
        desk.traces.tell(replace(told(1), id=wrong))


def test_an_experiment_that_is_not_there_or_in_the_bin_takes_none(desk: Desk) -> None:
    gone = desk.experiments.create("gone").id
    desk.experiments.delete(gone)

    with pytest.raises(NotFound):
        desk.tell(1, experiment="9999")
    with pytest.raises(Invalid):
        desk.tell(1, experiment=gone)
    with pytest.raises(Invalid):
        desk.collector.log(gone, {identity(1): [span(1, 1)]}, {})
    assert [] == desk.kinds()


def test_a_trace_is_begun_and_ended(desk: Desk) -> None:
    """As old clients do it."""
    begun = desk.traces.begin("0", 1000, {"a": "1"}, {"t": "1"}).trace
    ended = desk.traces.end(begun.id, 3000, "failed", {"a": "2", "b": "3"}, {"t": "2"}).trace

    assert ("running", None) == (begun.state, begun.duration)
    assert ("failed", 2000, {"a": "2", "b": "3"}, "2") == (
        ended.state,
        ended.duration,
        ended.metadata,
        ended.tags["t"],
    )
    assert ["trace.begun", "trace.ended"] == desk.kinds()


# Spans


def test_spans_come_back_exactly(desk: Desk) -> None:
    """Nanoseconds beyond what a float holds, and every character."""
    sent = [span(1, 1, key='größe "x"\u2028\n'), span(1, 2, parent=1)]
    desk.collector.log("0", {identity(1): sent}, {})

    assert sent == desk.collector.spans(desk.traces.get(identity(1)).trace)


def test_spans_that_come_in_pieces_make_one_trace(desk: Desk) -> None:
    """In any order, some of them twice; and there are few blobs to read."""
    everything = [span(1, number, parent=number > 1) for number in range(1, 60)]
    order = everything + random.Random(1).sample(everything, 20)
    random.Random(2).shuffle(order)
    for one in order:
        desk.collector.log("0", {identity(1): [one]}, {})
    trace = desk.traces.get(identity(1)).trace

    assert everything == desk.collector.spans(trace)
    assert len(trace.parts) < 10
    assert (1_795_199_813_462, 2000, "ok") == (trace.at, trace.duration, trace.state)


def test_many_write_one_trace_at_once(desk: Desk) -> None:
    """As clients do that send spans from several threads: none is lost."""
    sent = [span(1, number, parent=number > 1) for number in range(1, 41)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda one: desk.collector.log("0", {identity(1): [one]}, {}), sent))

    assert sent == desk.collector.spans(desk.traces.get(identity(1)).trace)


def test_what_is_deleted_is_named_by_nothing(desk: Desk) -> None:
    """So its spans are collected: no entry holds their digests."""
    desk.collector.log("0", {identity(1): [span(1, 1)]}, {})
    desk.collector.log("0", {identity(1): [span(1, 2, parent=1)]}, {})

    assert "sha256:" not in "".join(str(entry.body) for entry in desk.book.entries())


def test_spans_sent_twice_are_one_entry(desk: Desk) -> None:
    for _ in range(3):
        desk.collector.log("0", {identity(1): [span(1, 1), span(1, 2, parent=1)]}, {})

    assert ["trace.logged"] == desk.kinds()


def test_a_span_that_is_sent_again_replaces_the_one_before(desk: Desk) -> None:
    """As exporters do that send spans when they begin and when they end."""
    unfinished = span(1, 1)
    del unfinished["end_time_unix_nano"]
    desk.collector.log("0", {identity(1): [unfinished]}, {})
    desk.collector.log("0", {identity(1): [span(1, 1)]}, {})

    assert [span(1, 1)] == desk.collector.spans(desk.traces.get(identity(1)).trace)


def test_a_trace_is_running_until_its_first_span_ends(desk: Desk) -> None:
    desk.collector.log("0", {identity(1): [span(1, 2, parent=1)]}, {})
    before = desk.traces.get(identity(1)).trace.state
    desk.collector.log("0", {identity(1): [{**span(1, 1), "status": {"code": "STATUS_CODE_ERROR"}}]}, {})

    assert ("running", "failed") == (before, desk.traces.get(identity(1)).trace.state)


def test_spans_say_what_went_in_and_out_and_what_it_cost(desk: Desk) -> None:
    """What a span counted for those within it is not counted twice, even if they come in different requests."""
    usage = {"mlflow.chat.tokenUsage": '{"input_tokens": 3, "total_tokens": 5}'}
    question = json.dumps({"messages": [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}]})
    desk.collector.log("0", {identity(1): [span(1, 3, parent=2, **usage), span(1, 4, parent=1, **usage)]}, {})
    root = span(
        1, 1, **{"mlflow.spanOutputs": "y" * 2000, "session.id": "s", "user.id": "u", "mlflow.traceTag.t": "1"}
    )
    root["attributes"].append(
        {"key": "mlflow.spanInputs", "value": {"kvlist_value": {"values": [
            {"key": "messages", "value": {"array_value": {"values": [
                {"kvlist_value": {"values": [{"key": "role", "value": {"string_value": one["role"]}},
                                             {"key": "content", "value": {"string_value": one["content"]}}]}}
                for one in json.loads(question)["messages"]]}}}]}}}
    )  # fmt: skip
    desk.collector.log("0", {identity(1): [root, span(1, 2, parent=1, **usage)]}, {})
    trace = desk.traces.get(identity(1)).trace

    assert {"input_tokens": 6, "total_tokens": 10} == json.loads(trace.metadata["mlflow.trace.tokenUsage"])
    assert ("s", "u", "1") == (
        trace.metadata["mlflow.trace.session"], trace.metadata["mlflow.trace.user"], trace.tags["t"]
    )  # fmt: skip
    assert ("why?", 1000) == (trace.request, len(trace.response or ""))


def test_damaged_spans_are_said() -> None:
    for data in (b"", b"stellwerk-spans/2\n{}\n", spans.MAGIC + b"{\n"):
        with pytest.raises(Corrupt):
            spans.decode(data)


def test_a_trace_is_complete_when_all_its_spans_are_here() -> None:
    trace = told(1, metadata={SIZE_KEY: '{"num_spans": 2}'})

    assert [False, False, True] == [complete(trace, count) for count in range(3)]
    assert complete(told(1), 1)
    assert complete(told(1, metadata={SIZE_KEY: "["}), 1)


# Tags, links, deleting


def test_tags_are_set_and_taken_away(desk: Desk) -> None:
    desk.tell(1)
    desk.traces.tag(identity(1), "a", "1")
    desk.traces.tag(identity(1), "a", "1")
    desk.traces.tag(identity(1), "a", None)

    with pytest.raises(NotFound):
        desk.traces.tag(identity(1), "a", None)
    with pytest.raises(NotFound):
        desk.traces.tag(identity(2), "a", "1")
    with pytest.raises(Invalid):
        desk.traces.tag(identity(1), SPANS_TAG, "ARCHIVE")
    assert ["trace.told", "trace.tagged", "trace.tagged"] == desk.kinds()


def test_links_may_come_before_their_traces(desk: Desk) -> None:
    desk.traces.link([identity(1), identity(2)], "run", ["r1"])
    desk.traces.link([identity(1)], "run", ["r1"])
    desk.traces.link([identity(1)], "prompt", ["greeting/1"])
    for number in (1, 2, 3):
        desk.tell(number, metadata={"mlflow.sourceRun": "r1"} if number == 3 else {})

    assert [3, 2, 1] == desk.names("run_id = 'r1'")
    assert [1] == desk.names("prompt = 'greeting/1'")
    assert [] == desk.names("run_id = 'r2'")
    assert 3 == desk.kinds().count("trace.linked")


def test_what_is_deleted_is_gone_with_all_that_was_said_of_it(desk: Desk) -> None:
    for number in range(1, 6):
        desk.tell(number)
        desk.assessments.say(said(number))
        desk.traces.link([identity(number)], "run", ["r"])

    assert 1 == desk.traces.delete("0", until=100, most=1)
    assert [5, 4, 3, 2] == desk.names()
    assert 1 == desk.traces.delete("0", traces=[identity(3), identity(99), "\0"])
    assert 0 == desk.traces.delete("1", traces=[identity(2)])
    assert 1 == desk.traces.delete("0", until=2)
    assert [5, 4] == desk.names("run_id = 'r'")
    desk.tell(3)
    assert [] == desk.traces.get(identity(3)).assessments


# Assessments


def test_an_assessment_overrides_another_until_it_is_taken_back(desk: Desk) -> None:
    desk.tell(1)
    first = desk.assessments.say(said(1))
    second = desk.assessments.say(said(1, value="false", overrides=first.id))

    assert not desk.assessments.get(identity(1), first.id).valid
    desk.assessments.withdraw(identity(1), second.id)
    desk.assessments.withdraw(identity(1), second.id)
    assert first == desk.assessments.get(identity(1), first.id)
    with pytest.raises(NotFound):
        desk.assessments.say(said(1, overrides="a-none"))
    with pytest.raises(NotFound):
        desk.assessments.say(said(2))


def test_the_same_said_twice_is_once(desk: Desk) -> None:
    """A client that heard no answer sends it again, with the time at which it was first said."""
    desk.tell(1)
    first = desk.assessments.say(said(1, created=1000))

    assert first == desk.assessments.say(said(1, created=1000))
    assert first == desk.assessments.say(replace(said(1), id=first.id))
    with pytest.raises(Conflict):
        desk.assessments.say(replace(said(1, value="false"), id=first.id))
    assert ["trace.told", "trace.assessed"] == desk.kinds()


def test_what_was_said_is_revised(desk: Desk, clock: StandingClock) -> None:
    """Who said it and when stays; another kind of value it cannot get."""
    desk.tell(1)
    first = desk.assessments.say(said(1, metadata={"a": "1"}, source="anna", source_kind="HUMAN"))
    changed = desk.assessments.revise(
        identity(1), first.id, "feedback", value="0.5", name="score", metadata={"b": "2"}, rationale="so"
    )

    assert ("score", "0.5", {"a": "1", "b": "2"}, "so", "anna") == (
        changed.name, changed.value, changed.metadata, changed.rationale, changed.source
    )  # fmt: skip
    with pytest.raises(Invalid):
        desk.assessments.revise(identity(1), first.id, "expectation", value="1")


# Searching


@pytest.fixture
def library(desk: Desk) -> Desk:
    """Six traces: even ones of team a, odd ones of team b; the third failed."""
    for number in range(1, 7):
        desk.tell(
            number,
            tags={"team": "b" if number % 2 else "a", "mlflow.traceName": f"name {number}"},
            metadata={"session": f"s{number % 3}"},
            state="failed" if number == 3 else "ok",
            duration=number * 10,
            client_id=f"c{number}" if number > 4 else None,
        )
        inner = span(number, 2, parent=1, model="gpt" if number < 3 else "llama", text=f"value{number}")
        desk.collector.log("0", {identity(number): [span(number, 1, **{"mlflow.spanType": "TOOL"}), inner]}, {})
    desk.assessments.say(said(1, "score", "0.25"))
    desk.assessments.say(said(2, "score", "0.75"))
    desk.assessments.say(said(3, "good", "true"))
    desk.assessments.say(said(4, "good", '"yes"'))
    desk.assessments.say(said(5, "right", '["a"]', kind="expectation"))
    desk.assessments.say(said(6, "issue-1", '"slow"', kind="issue"))
    return desk


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", [6, 5, 4, 3, 2, 1]),
        ("tags.team = 'a'", [6, 4, 2]),
        ("tag.team != 'a' AND metadata.session = 's0'", [3]),
        ("request_metadata.session LIKE 's%' AND timestamp_ms > 4", [6, 5]),
        ("attributes.status = 'ERROR'", [3]),
        ("trace.status IN ('ERROR', 'IN_PROGRESS')", [3]),
        ("name = 'name 2'", [2]),
        ("trace.name RLIKE '^name [12]$'", [2, 1]),
        ("tags.team RLIKE '(a|a)+$'", [6, 4, 2]),
        ("execution_time_ms >= 50", [6, 5]),
        ("end_time <= 22", [2, 1]),
        ("client_request_id IS NOT NULL", [6, 5]),
        (f"request_id = '{identity(2)}'", [2]),
        ("tags.none IS NULL AND timestamp < 2", [1]),
        ("span.name = 'span 2' AND span.attributes.model = 'gpt'", [2, 1]),
        ("span.name = 'span 1' AND span.attributes.model = 'gpt'", []),
        ("span.type = 'TOOL' AND span.status = 'OK' AND tags.team = 'b'", [5, 3, 1]),
        ("span.attributes.model IN ('gpt', 'other')", [2, 1]),
        ("span.content LIKE '%value3%'", [3]),
        ("trace.text ILIKE '%VALUE4%'", [4]),
        ("feedback.score > 0.5", [2]),
        ("feedback.score <= 0.75", [2, 1]),
        ("feedback.good = 'true'", [3]),
        ("feedback.good = 'yes'", [4]),
        ("feedback.good IS NOT NULL", [4, 3]),
        ("feedback.good IS NULL AND feedback.score IS NULL", [6, 5]),
        ("expectation.right LIKE '%a%'", [5]),
        ("expectation.good IS NOT NULL", []),
        ("issue.id = 'issue-1'", [6]),
    ],
)
def test_traces_are_found(library: Desk, where: str, found: list[int]) -> None:
    assert found == library.names(where)


@pytest.mark.parametrize(
    "where",
    [
        "invalid.filter = 'x'",
        "span.colour = 'red'",
        "feedback.score > 'much'",
        "issue.id LIKE 'x'",
        "prompt = 'x'",
        "prompt LIKE 'x/1'",
        "name RLIKE '(?=x)'",
        "timestamp_ms = 'x'",
        "text IS NULL",
    ],
)
def test_what_cannot_be_asked_is_said(library: Desk, where: str) -> None:
    with pytest.raises(Invalid, match=r"Invalid|pattern"):
        library.names(where)


def test_pages_follow_each_other(library: Desk) -> None:
    order = ["execution_time_ms ASC"]

    assert [1, 2, 3, 4, 5, 6] == library.names(order=order)
    assert [6, 5, 4, 3] == library.names(limit=2) + library.names(limit=2, offset=2)
    assert [3, 4] == library.names(order=order, limit=2, offset=2)
    with pytest.raises(Invalid):
        library.names(order=["feedback.score DESC"])


def test_experiments_are_sought_together(library: Desk) -> None:
    other = library.experiments.create("other").id
    library.tell(7, experiment=other, at=3)

    found = library.traces.search([other, "0", "777"], limit=5)
    assert [6, 5, 4, 3, 7] == [int(one.trace.id[3:], 16) for one in found]
    assert [] == library.traces.search(["a\0"])


def test_how_filters_go_together(library: Desk) -> None:
    found = library.traces.correlation(["0"], "tags.team = 'a'", "metadata.session = 's0'")
    never = library.traces.correlation(["0"], "tags.team = 'a'", "status = 'ERROR'", "timestamp_ms > 1")
    none = library.traces.correlation(["0"], "tags.team = 'z'", "status = 'OK'")

    assert (3, 2, 1, 6) == (found.first, found.second, found.joint, found.total)
    assert math.isclose(0.0, found.npmi, abs_tol=1e-12)
    assert (-1.0, 5) == (never.npmi, never.total)
    assert math.isnan(none.npmi)
    assert 1.0 == npmi(4, 4, 4, 4, smoothing=0.5)
