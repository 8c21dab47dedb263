"""What may be logged under which name, and how much of it at once. The limits and most words are those of MLflow.

Source: mlflow/utils/validation.py (3.17). Where MLflow cuts a long value off, it is kept whole here, or refused.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.core.names import new_id
from stellwerk.tracking.model import DatasetUse, Point, Run

INDEXED = 200
"""Characters of a text that are in an index. PostgreSQL takes no row of more than 2,700 bytes into one."""
MAX_KEY = 250
MAX_PARAM = 65_536
MAX_TAG = 65_536
MAX_EXPERIMENT_TAG = 20_000
MAX_EXPERIMENT_NAME = 500
MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_TOGETHER = 1000, 100, 100, 1000
"""In one request."""
MAX_DATASETS = 1000
MAX_DATASET = {"name": 500, "digest": 36, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
MAX_USE_KEY, MAX_USE_TAG = 255, 500
_KEY = re.compile(r"[/\w.\- :]*")
_RUN = re.compile(r"[a-zA-Z0-9][\w-]{0,255}")
RESERVED = ("models", "traces")
"""What lies beside the runs of an experiment in the tree of artifacts."""
_EXPERIMENT = re.compile(r"[a-zA-Z0-9][\w.-]{0,127}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ADJECTIVES = (
    "able amber brisk calm civil clear coral crisp early fair fleet fond frank fresh gentle glad golden grand green "
    "hardy honest ivory jolly keen kind lively loyal lucid mellow merry mild neat noble olive plain polite prompt proud "
    "quick quiet rapid ready royal rustic sage sharp silver sleek smart snowy solid sound spry steady still stout sunny"
)
_NOUNS = (
    "axle beacon boiler brake bridge buffer cabin canyon cargo coach coal coupler crane crew cutting depot diesel engine "
    "express ferry flange freight gantry gauge halt harbour junction lamp lantern lever line lock meadow pantograph "
    "piston platform points porter rail relay ridge rope shed shunter siding signal sleeper smoke station switch tender "
    "ticket tower track trestle tunnel valley viaduct wagon whistle yard"
)


def random_name() -> str:
    """A name for what nobody named: `brisk-signal-417`."""
    return f"{secrets.choice(_ADJECTIVES.split())}-{secrets.choice(_NOUNS.split())}-{secrets.randbelow(1000)}"


def begun(now: datetime, by: str, *, experiment: str, name: str, kind: str, identity: str = "", **facts: Any) -> Run:
    """A run that begins now, under an id of its own unless one is given."""
    return Run(
        id=identity or new_id(now),
        experiment=experiment,
        name=name,
        kind=kind,
        status="running",
        started_at=now,
        started_by=by,
        **facts,
    )


def bounded(value: float) -> float | None:
    """A number as databases keep and order it: none for NaN, the largest number there is for infinity."""
    return None if math.isnan(value) else max(-sys.float_info.max, min(value, sys.float_info.max))


def rank(number: float | None) -> float:
    """Where a bounded number stands among those of one step and time: none before all others."""
    return -sys.float_info.max if number is None else number


def instant(milliseconds: int) -> datetime:
    """A time from milliseconds since 1970. Raises `Invalid` for what no calendar has."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as cause:
        raise Invalid(f"{milliseconds} is no time in milliseconds since 1970", code="invalid-time") from cause


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def artifacts_of(run: Run) -> str:
    """The URI of a run's artifacts."""
    return run.location or f"mlflow-artifacts:/{run.experiment}/{run.id}/artifacts"


def below(location: str, path: str) -> str:
    """The URI of something below another; none below none. A query stays at the end."""
    if not location:
        return ""
    place, mark, query = location.partition("?")
    return f"{place.rstrip('/')}/{path}{mark}{query}"


def check_run_id(run: str) -> None:
    """Raises `Invalid` for what can be no run."""
    if not _RUN.fullmatch(run) or run in RESERVED:
        raise wrong("run_id", run)


def is_experiment_id(experiment: str) -> bool:
    """Whether it could be one."""
    return _EXPERIMENT.fullmatch(experiment) is not None


def check_experiment_name(name: str) -> str:
    """Raises `Invalid` for an empty name or a long one."""
    if not name:
        raise Invalid("Invalid experiment name: ''", code="invalid-name")
    if len(name) > MAX_EXPERIMENT_NAME:
        raise too_long("name", MAX_EXPERIMENT_NAME)
    return name


def check_points(points: Sequence[Point], path: str = "metrics[{}].") -> None:
    """Raises `Invalid` for a point that cannot be kept.

    Args:
        path: How the field of a point is called; `{}` stands for its place.
    """
    known: set[str] = set()
    for index, point in enumerate(points):
        if point.key not in known:
            check_key(point.key, path.format(index) + "name")
            if len(point.key) > MAX_KEY:
                raise too_long("Metric name", MAX_KEY)
            known.add(point.key)
        if point.at < 0:
            raise wrong(
                path.format(index) + "timestamp",
                point.at,
                f"metric '{point.key}' (value={point.value}). Timestamp must be a nonnegative long (64-bit integer) ",
            )


def check_params(params: Sequence[tuple[str, str]], path: str = "params[{}].") -> None:
    """Raises `Invalid` for a parameter that cannot be kept."""
    for index, (key, value) in enumerate(params):
        check_key(key, path.format(index) + "key")
        if len(key) > MAX_KEY:
            raise too_long("Param key", MAX_KEY)
        if len(value) > MAX_PARAM:
            raise too_long("Param value", MAX_PARAM)


def check_tags(tags: Sequence[tuple[str, str]], path: str = "tags[{}].", most: int = MAX_TAG) -> None:
    """Raises `Invalid` for a tag that cannot be kept."""
    for index, (key, value) in enumerate(tags):
        check_key(key, path.format(index) + "key")
        for what, text, limit in (("key", key, MAX_KEY), ("value", value, most)):
            if len(text) > limit:
                raise too_long(path.format(index) + what, limit)


def check_datasets(datasets: Sequence[DatasetUse]) -> None:
    """Raises `Invalid` for a description of data that cannot be kept."""
    if len(datasets) > MAX_DATASETS:
        raise _too_many("datasets", MAX_DATASETS, len(datasets))
    for dataset in datasets:
        for what in ("name", "digest", "source_type", "source"):
            if not getattr(dataset, what):
                raise Invalid(f"Dataset {what} cannot be empty", code="invalid-dataset")
        for what, limit in MAX_DATASET.items():
            if len(getattr(dataset, what)) > limit:
                raise too_long(what, limit)
        for key, value in dataset.tags.items():
            if len(key) > MAX_USE_KEY:
                raise too_long("key", MAX_USE_KEY)
            if len(value) > MAX_USE_TAG:
                raise too_long("value", MAX_USE_TAG)


def check_batch(metrics: int, params: int, tags: int) -> None:
    """Raises `Invalid` for more than one request takes."""
    for what, limit, count in (
        ("metrics", MAX_METRICS, metrics),
        ("params", MAX_PARAMS, params),
        ("tags", MAX_TAGS, tags),
        ("metrics, params, and tags", MAX_TOGETHER, metrics + params + tags),
    ):
        if count > limit:
            raise _too_many(what, limit, count)


def merged(run: Run, params: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of a run with some more. Raises `Invalid` where one has another value already."""
    result: dict[str, Any] = dict(run.params)
    for key, value in params:
        if key in result and spelled(result[key]) != value:
            if key not in run.params:
                raise Invalid(
                    f"Duplicate parameter keys have been submitted: ['{key}']. Please ensure the request has only one "
                    "param value per param key.",
                    code="param-changed",
                )
            raise Invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{spelled(result[key])}' for run ID='{run.id}'. Attempted logging new value '{value}'.",
                code="param-changed",
                hint="a run with another value is another run: mlflow.start_run(nested=True)",
            )
        result.setdefault(key, value)
    return result


def spelled(value: Any) -> str:
    """A parameter as it was typed in Python, which is how MLflow keeps it."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else str(value)


def check_key(key: str, path: str) -> None:
    """Raises `Invalid` for a name of a metric, a parameter or a tag that could be taken for another one's file."""
    if not _KEY.fullmatch(key):
        raise wrong(
            path,
            key,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
            "slashes (/).",
        )
    norm = posixpath.normpath(key)
    if norm != key or norm == "." or norm.startswith(("..", "/")):
        raise wrong(
            path,
            key,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {norm!r}",
        )


def wrong(path: str, value: Any, why: str = "") -> Invalid:
    """A value that cannot be accepted, named as MLflow does."""
    shown = json.dumps(value[:200] if isinstance(value, str) else value)
    return Invalid(
        f"Invalid value {shown} for parameter '{path}' supplied{f': {why}' if why else '.'}", code="invalid-value"
    )


def too_long(path: str, limit: int) -> Invalid:
    """A text that is longer than allowed."""
    return Invalid(f"'{path}' exceeds the maximum length of {limit} characters", code="too-long")


def _too_many(what: str, limit: int, count: int) -> Invalid:
    return Invalid(
        f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up {what} across "
        "multiple requests and try again.",
        code="too-many",
    )
