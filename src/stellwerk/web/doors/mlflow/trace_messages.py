"""What the door answers about traces, scorers and evaluation datasets, as types (see `messages`)."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from stellwerk.web.doors.mlflow.messages import Next, Number, Pair

State = Literal["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"]

OldStatus = Literal["TRACE_STATUS_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"]


class AssessmentSource(TypedDict):
    """Who said it."""

    source_type: Literal["SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE"]
    source_id: str


class Assessment(TypedDict):
    """What somebody said of a trace: a feedback, an expectation or an issue. Times are RFC 3339."""

    assessment_id: str
    assessment_name: str
    trace_id: str
    span_id: NotRequired[str]
    source: AssessmentSource
    create_time: str
    last_update_time: str
    feedback: NotRequired[dict[str, Any]]
    expectation: NotRequired[dict[str, Any]]
    issue: NotRequired[dict[str, Any]]
    rationale: NotRequired[str]
    metadata: NotRequired[dict[str, str]]
    overrides: NotRequired[str]
    valid: bool


class OneAssessment(TypedDict):
    """One assessment."""

    assessment: Assessment


class ExperimentPlace(TypedDict):
    """An experiment as the home of traces."""

    experiment_id: str


class TracePlace(TypedDict):
    """Where a trace belongs."""

    type: Literal["MLFLOW_EXPERIMENT"]
    mlflow_experiment: ExperimentPlace


class TraceInfo(TypedDict):
    """What is known of a trace (`TraceInfoV3`). Its time is RFC 3339, its duration seconds such as `0.250s`."""

    trace_id: str
    client_request_id: NotRequired[str]
    trace_location: TracePlace
    request_preview: NotRequired[str]
    response_preview: NotRequired[str]
    request_time: str
    execution_duration: NotRequired[str]
    state: State
    trace_metadata: dict[str, str]
    tags: dict[str, str]
    assessments: list[Assessment]


class Trace(TypedDict):
    """A trace. Spans are OTLP's messages, with names in snake_case and ids in base64."""

    trace_info: TraceInfo
    spans: NotRequired[list[dict[str, Any]]]


class OneTrace(TypedDict):
    """One trace."""

    trace: Trace


class Traces(TypedDict):
    """Some traces with their spans."""

    traces: list[Trace]


class TraceInfos(TypedDict):
    """What is known of some traces."""

    trace_infos: list[TraceInfo]


class FoundTraces(Next):
    """A page of what is known of traces."""

    traces: list[TraceInfo]


class OldTraceInfo(TypedDict):
    """What is known of a trace, for clients before 3.0."""

    request_id: str
    experiment_id: str
    timestamp_ms: int
    execution_time_ms: int
    status: OldStatus
    request_metadata: list[Pair]
    tags: list[Pair]


class OneOldTrace(TypedDict):
    """One trace, for clients before 3.0."""

    trace_info: OldTraceInfo


class FoundOldTraces(Next):
    """A page of traces, for clients before 3.0."""

    traces: list[OldTraceInfo]


class Deleted(TypedDict):
    """How many traces went."""

    traces_deleted: int


class Correlation(TypedDict):
    """How often two filters find the same traces. What cannot be said is left out."""

    npmi: NotRequired[float]
    npmi_smoothed: NotRequired[float]
    filter1_count: int
    filter2_count: int
    joint_count: int
    total_count: int


class DataPoint(TypedDict):
    """Figures of one group, by how they were summed up: `COUNT`, `P95.0`."""

    metric_name: str
    dimensions: dict[str, str]
    values: dict[str, Number]


class DataPoints(Next):
    """A page of figures."""

    data_points: list[DataPoint]


class PartialSuccess(TypedDict):
    """What of a request of spans was not kept, and why."""

    rejectedSpans: str
    errorMessage: str


class Exported(TypedDict):
    """Empty where everything was kept (`ExportTraceServiceResponse`)."""

    partialSuccess: NotRequired[PartialSuccess]


class ExportRefused(TypedDict):
    """What exporters read of a request that was refused (`google.rpc.Status`), or what MLflow's own client reads."""

    code: NotRequired[int]
    error_code: NotRequired[str]
    message: str


class RegisteredScorer(TypedDict):
    """A version of a scorer that was just kept."""

    version: int
    scorer_id: str
    experiment_id: str
    name: str
    serialized_scorer: str
    creation_time: int


class Scorer(TypedDict):
    """A version of a scorer. Its experiment is left out where its id is no number of 32 bits."""

    experiment_id: NotRequired[int]
    scorer_name: str
    scorer_version: int
    serialized_scorer: str
    creation_time: int
    scorer_id: str


class OneScorer(TypedDict):
    """One scorer."""

    scorer: Scorer


class Scorers(TypedDict):
    """Some scorers."""

    scorers: list[Scorer]


class OnlineConfigs(TypedDict):
    """Which scorers judge traces as they come."""

    configs: list[dict[str, Any]]


class EvaluationDataset(TypedDict):
    """An evaluation dataset. Tags, schema and profile are JSON within texts."""

    dataset_id: str
    name: str
    tags: str
    digest: str
    created_time: int
    last_update_time: int
    created_by: str
    last_updated_by: str
    experiment_ids: list[str]
    schema: NotRequired[str]
    profile: NotRequired[str]


class OneDataset(TypedDict):
    """One evaluation dataset."""

    dataset: EvaluationDataset


class Datasets(Next):
    """A page of evaluation datasets."""

    datasets: list[EvaluationDataset]


class DatasetExperiments(TypedDict):
    """The experiments of an evaluation dataset."""

    experiment_ids: list[str]


class Records(Next):
    """A page of records, which are JSON within one text."""

    records: str


class MergedRecords(TypedDict):
    """How many records are new, and how many were added to."""

    inserted_count: int
    updated_count: int


class DeletedRecords(TypedDict):
    """How many records went."""

    deleted_count: int
