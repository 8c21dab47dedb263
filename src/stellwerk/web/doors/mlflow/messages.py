"""What the door answers, as types: MLflow's messages (service.proto and its neighbours, 3.17).

`shapes` and its neighbours make them of what the rooms know, and `openapi` describes them. Whatever is not required
is left out where there is nothing to say.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A number as protobuf's JSON spells it."""


class Failure(TypedDict):
    """What every call answers that fails. The client makes its exception of the code."""

    error_code: str
    message: str


class Nothing(TypedDict):
    """It is done, and there is nothing to say."""


class Next(TypedDict, total=False):
    """Where the next page begins, if there is one."""

    next_page_token: str


class Pair(TypedDict):
    """A tag or a parameter."""

    key: str
    value: str


# Experiments and runs


class Experiment(TypedDict):
    """An experiment. Times are milliseconds since 1970, here and where nothing else is said."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: Literal["active", "deleted"]
    creation_time: int
    last_update_time: int
    tags: list[Pair]


class CreatedExperiment(TypedDict):
    """The id of a new experiment."""

    experiment_id: str


class OneExperiment(TypedDict):
    """One experiment."""

    experiment: Experiment


class Experiments(Next):
    """A page of experiments."""

    experiments: list[Experiment]


class RunInfo(TypedDict):
    """What a run is."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    start_time: int
    end_time: NotRequired[int]
    artifact_uri: str
    lifecycle_stage: Literal["active", "deleted"]


class Metric(TypedDict):
    """A point of a metric."""

    key: str
    value: Number
    timestamp: int
    step: int
    model_id: NotRequired[str]
    dataset_name: NotRequired[str]
    dataset_digest: NotRequired[str]
    run_id: NotRequired[str]


class RunData(TypedDict):
    """What a run logged; of each metric how it stands."""

    metrics: list[Metric]
    params: list[Pair]
    tags: list[Pair]


class Dataset(TypedDict):
    """Data that a run used."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: NotRequired[str]
    profile: NotRequired[str]


class DatasetInput(TypedDict):
    """Data that a run used, and for what."""

    tags: list[Pair]
    dataset: Dataset


class ModelInput(TypedDict):
    """A logged model that a run used."""

    model_id: str


class ModelOutput(TypedDict):
    """A logged model that a run made."""

    model_id: str
    step: int


class RunInputs(TypedDict):
    """What a run used."""

    dataset_inputs: list[DatasetInput]
    model_inputs: list[ModelInput]


class RunOutputs(TypedDict):
    """What a run made."""

    model_outputs: list[ModelOutput]


class Run(TypedDict):
    """A run with what it logged, used and made."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


class OneRun(TypedDict):
    """One run."""

    run: Run


class ChangedRun(TypedDict):
    """What a run is now."""

    run_info: RunInfo


class Runs(Next):
    """A page of runs."""

    runs: list[Run]


class Metrics(Next):
    """Points of metrics."""

    metrics: list[Metric]


class DatasetSummary(TypedDict):
    """Data that runs of an experiment used."""

    experiment_id: str
    name: str
    digest: str
    context: NotRequired[str]


class DatasetSummaries(TypedDict):
    """Data that runs of experiments used."""

    dataset_summaries: list[DatasetSummary]


# Files


class FileInfo(TypedDict):
    """A file or a folder. Folders have no size."""

    path: str
    is_dir: bool
    file_size: NotRequired[int]


class Files(TypedDict):
    """What is in a folder."""

    files: list[FileInfo]


class RootedFiles(Next):
    """A page of what is in a folder, below an address."""

    root_uri: str
    files: list[FileInfo]


class PartAddress(TypedDict):
    """Where one part of a long file is to be sent, with these headers."""

    url: str
    part_number: int
    headers: dict[str, str]


class Upload(TypedDict):
    """A long file that was announced."""

    upload_id: str
    credentials: list[PartAddress]


class Address(TypedDict):
    """Where a file is fetched, with these headers, in ranges."""

    url: str
    headers: dict[str, str]
    file_size: int


# Logged models


class LoggedModelInfo(TypedDict):
    """What a logged model is."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: Literal["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]
    model_type: str
    source_run_id: str
    tags: list[Pair]


class LoggedModelData(TypedDict):
    """What was logged of a model."""

    params: list[Pair]
    metrics: list[Metric]


class LoggedModel(TypedDict):
    """A logged model."""

    info: LoggedModelInfo
    data: LoggedModelData


class OneLoggedModel(TypedDict):
    """One logged model."""

    model: LoggedModel


class LoggedModels(Next):
    """A page of logged models."""

    models: list[LoggedModel]


# The registry


class ModelVersion(TypedDict):
    """A version of a registered model."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    run_link: str
    status: Literal["READY"]
    user_id: NotRequired[str]
    model_id: NotRequired[str]
    tags: NotRequired[list[Pair]]
    aliases: NotRequired[list[str]]


class Alias(TypedDict):
    """An alias and the version that it means."""

    alias: str
    version: str


class RegisteredModel(TypedDict):
    """A registered model."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: NotRequired[str]
    tags: NotRequired[list[Pair]]
    latest_versions: NotRequired[list[ModelVersion]]
    aliases: NotRequired[list[Alias]]


class OneRegisteredModel(TypedDict):
    """One registered model."""

    registered_model: RegisteredModel


class RegisteredModels(Next):
    """A page of registered models."""

    registered_models: NotRequired[list[RegisteredModel]]


class OneModelVersion(TypedDict):
    """One version."""

    model_version: ModelVersion


class ModelVersions(Next):
    """A page of versions."""

    model_versions: NotRequired[list[ModelVersion]]


class Place(TypedDict):
    """Where the files of a version are fetched."""

    artifact_uri: str


# Webhooks


class WebhookEvent(TypedDict):
    """What is told."""

    entity: str
    action: str


class Webhook(TypedDict):
    """Whom to tell what. Secrets are never shown."""

    webhook_id: str
    name: str
    url: str
    events: list[WebhookEvent]
    status: Literal["ACTIVE", "DISABLED"]
    creation_timestamp: int
    last_updated_timestamp: int
    description: NotRequired[str]


class OneWebhook(TypedDict):
    """One webhook."""

    webhook: Webhook


class Webhooks(Next):
    """A page of webhooks."""

    webhooks: list[Webhook]


class WebhookResult(TypedDict):
    """What became of a sample that was sent."""

    success: bool
    response_status: NotRequired[int]
    response_body: NotRequired[str]
    error_message: NotRequired[str]


class WebhookTest(TypedDict):
    """What became of a sample that was sent."""

    result: WebhookResult


# About the server


class Workspace(TypedDict):
    """A workspace."""

    name: str


class OneWorkspace(TypedDict):
    """One workspace."""

    workspace: Workspace


class Workspaces(TypedDict):
    """The workspaces of the server."""

    workspaces: list[Workspace]


class ServerInfo(TypedDict):
    """What clients ask before they choose how to speak."""

    store_type: str
    workspaces_enabled: bool
    multipart_uploads_enabled: bool
    multipart_downloads_enabled: bool
