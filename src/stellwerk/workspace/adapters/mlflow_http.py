"""Servers that speak MLflow's REST API, read page by page. Their artifacts come through the server alone."""

from __future__ import annotations

import base64
import json
import math
import posixpath
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.tracking.model import DatasetUse, ModelUse, Point, Score
from stellwerk.workspace.adapters.line import Line
from stellwerk.workspace.mlflow import asking
from stellwerk.workspace.mlflow.model import (
    Folder,
    FoundExperiment,
    FoundFile,
    FoundModel,
    FoundRegistered,
    FoundRun,
    FoundVersion,
    Kind,
    Problem,
    Unread,
    unread,
    whole,
)
from stellwerk.workspace.mlflow.said import dataset_said, text_said, version_said

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FILES = "/ajax-api/2.0/mlflow"
PAGE, POINTS_PAGE, MODELS_PAGE = 1000, 25_000, 50
UNREACHABLE = "server-unreachable"
DEEPEST = 64
"""Folders in folders; a server that goes on for ever is not followed."""
_MODEL_STATUS = {"LOGGED_MODEL_PENDING": "PENDING", "LOGGED_MODEL_READY": "READY"}


class _Server:
    """A server by its address, which may hold user and password; it has answered once."""

    def __init__(self, url: str) -> None:
        found = urlsplit(url)
        headers = {}
        if found.username is not None:
            pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            url = urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2]))
        self._line = Line(url, headers=headers)
        try:
            self._post("experiments/search", {"max_results": 1})
        except Unavailable as cause:
            raise Unavailable(cause.message, code=cause.code, hint="is an MLflow server running there?") from cause
        except NotFound as cause:
            raise Invalid(f"{url} is no server of MLflow", code="not-mlflow") from cause

    def close(self) -> None:
        """Release connections."""
        self._line.close()

    def _pages(self, path: str, asked: dict[str, Any], field: str, most: int = PAGE) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            answer = self._post(path, {**asked, "max_results": most, **({"page_token": token} if token else {})})
            yield from _rows(answer, field)
            before, token = token, text_said(answer.get("next_page_token"))
            if token in ("", before):
                return

    def _post(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(asked).encode()
        return _document(self._line.request("POST", f"{API}/{path}", body=body, kind="application/json", again=True))

    def _get(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self._read(f"{API}/{path}?{urlencode(asked)}")

    def _read(self, path: str) -> dict[str, Any]:
        return _document(self._line.request("GET", path, again=True))


class ServerTarget(_Server):
    """Implements `Target`."""

    def ask(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        return self._get(path, dict(query))

    def listed(self, path: str, asked: Mapping[str, Any], field: str) -> Iterator[dict[str, Any]]:
        return self._pages(path, dict(asked), field, MODELS_PAGE)

    def tell(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> dict[str, Any]:
        data = json.dumps(body).encode()
        return _document(self._line.request(method, f"{API}/{path}", body=data, kind="application/json") or b"{}")

    def put(self, path: str, chunks: Iterator[bytes]) -> None:
        self._line.request("PUT", f"{ARTIFACTS}/{quote(path)}", body=chunks, kind="application/octet-stream")


class ServerSource(_Server):
    """Implements `Source`. What changes meanwhile may be seen or not."""

    kind: Kind = "server"

    def experiments(self) -> Iterator[FoundExperiment]:
        for one in self._pages("experiments/search", {"view_type": "ALL"}, "experiments"):
            yield FoundExperiment(
                id=text_said(one.get("experiment_id")),
                name=text_said(one.get("name")),
                created=whole(one.get("creation_time")),
                changed=whole(one.get("last_update_time")),
                location=text_said(one.get("artifact_location")),
                tags=dict(_pairs(one.get("tags"))),
                deleted=one.get("lifecycle_stage") == "deleted",
            )

    def runs(self, experiment: str) -> list[str]:
        asked = {
            "experiment_ids": [experiment],
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
        }
        return [text_said(_row(one, "info").get("run_id")) for one in self._pages("runs/search", asked, "runs")]

    def read(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        for identity in ids:
            try:
                yield self._run(_row(self._get("runs/get", {"run_id": identity}), "run"))
            except NotFound:
                yield Problem(kind="run", where=f"run {identity}", name=identity, reason="it went away meanwhile")

    def _run(self, one: Mapping[str, Any]) -> FoundRun:
        info, data = _row(one, "info"), _row(one, "data")
        identity = text_said(info.get("run_id"))
        problems: list[str] = []
        points: list[Point] = []
        for metric in _rows(data, "metrics"):
            points += self._history(identity, text_said(metric.get("key")), problems)
        end = info.get("end_time")
        return FoundRun(
            id=identity,
            experiment=text_said(info.get("experiment_id")),
            name=text_said(info.get("run_name")),
            user=text_said(info.get("user_id")),
            status=text_said(info.get("status")),
            start=whole(info.get("start_time")),
            end=None if end in (None, 0) else whole(end),
            location=text_said(info.get("artifact_uri")),
            deleted=info.get("lifecycle_stage") == "deleted",
            params=_pairs(data.get("params")),
            tags=_pairs(data.get("tags")),
            points=points,
            datasets=[_dataset(each) for each in _rows(_row(one, "inputs"), "dataset_inputs")],
            models=[*_uses(_row(one, "inputs"), "model_inputs"), *_uses(_row(one, "outputs"), "model_outputs")],
            problems=unread(problems),
        )

    def _history(self, run: str, key: str, problems: list[str]) -> Iterator[Point]:
        asked: dict[str, Any] = {"run_id": run, "metric_key": key, "max_results": POINTS_PAGE}
        while True:
            answer = self._get("metrics/get-history", asked)
            for one in _rows(answer, "metrics"):
                try:
                    yield Point(key, _number(one.get("value")), int(one["timestamp"]), int(one.get("step") or 0))
                except (TypeError, ValueError, KeyError):
                    problems.append(f"a point of the metric {key[:60]!r} is no number")
            token = text_said(answer.get("next_page_token"))
            if not token or token == asked.get("page_token"):
                return
            asked["page_token"] = token

    def models(self, experiment: str) -> Iterator[FoundModel | Problem]:
        try:
            found = list(self._pages("logged-models/search", {"experiment_ids": [experiment]}, "models", MODELS_PAGE))
        except NotFound:  # servers before version 3 have none
            return
        for one in found:
            info, data = _row(one, "info"), _row(one, "data")
            identity = text_said(info.get("model_id"))
            yield FoundModel(
                id=identity,
                experiment=experiment,
                name=text_said(info.get("name")),
                model_type=text_said(info.get("model_type")),
                source_run=text_said(info.get("source_run_id")),
                status=_MODEL_STATUS.get(text_said(info.get("status")), "FAILED"),
                created=whole(info.get("creation_timestamp_ms")),
                changed=whole(info.get("last_updated_timestamp_ms")),
                location=text_said(info.get("artifact_uri")),
                tags=_pairs(info.get("tags")),
                params=_pairs(data.get("params")),
                scores=list(_scores(identity, data)),
            )

    def registered(self) -> Iterator[FoundRegistered | Problem]:
        for prompts in (False, True):
            asked = {"filter": asking.PROMPTS} if prompts else {}
            for one in self._listed("registered-models/search", asked, "registered_models"):
                name = text_said(one.get("name"))
                try:
                    if "`" in name:  # which MLflow's own parser stumbles over
                        raise Invalid(f"no filter can say the name {name[:60]!r}", code="invalid-name")
                    where = asking.named(name) + (f" AND {asking.PROMPTS}" if prompts else "")
                except Invalid as refused:
                    yield Problem(kind="model", where=f"model {name}", name=name, reason=refused.message)
                    continue
                versions = self._listed("model-versions/search", {"filter": where}, "model_versions")
                created = whole(one.get("creation_timestamp"))
                yield FoundRegistered(
                    name=name,
                    created=created,
                    changed=whole(one.get("last_updated_timestamp")) or created,
                    description=text_said(one.get("description")),
                    tags=_pairs(one.get("tags")),
                    aliases={
                        text_said(each.get("alias")): whole(each.get("version")) for each in _rows(one, "aliases")
                    },
                    versions=[_version(each) for each in versions],
                )

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        scheme, mark, rest = location.partition(":")
        if mark and "/" not in scheme and scheme == "mlflow-artifacts":
            top = urlsplit(rest).path.strip("/")
            if tuple(top.split("/")[-len(tail) :]) != tail:
                return Folder(state="refused", reason=f"its folder does not end in {'/'.join(tail)}")
            return Folder(state="here", files=self._proxied(top))
        if mark and "/" not in scheme and scheme != "file":
            return Folder(state="elsewhere")
        return Folder(state="here", files=self._sent_models(tail[1]) if tail[0] == "models" else self._sent(tail[0]))

    def left_out(self) -> Mapping[str, int]:
        return {}

    # Artifacts

    def _proxied(self, top: str) -> Iterator[FoundFile | Problem]:
        """Files that the server passes on from where it keeps them."""

        def ask(inner: str) -> list[dict[str, Any]]:
            return _rows(self._read(f"{ARTIFACTS}?{urlencode({'path': posixpath.join(top, inner)})}"), "files")

        return self._walk(ask, lambda path: f"{ARTIFACTS}/{quote(posixpath.join(top, path))}")

    def _sent(self, run: str) -> Iterator[FoundFile | Problem]:
        """Files that the server reads from its own disk."""

        def ask(inner: str) -> list[dict[str, Any]]:
            return _rows(self._get("artifacts/list", {"run_id": run, "path": inner}), "files")

        return self._walk(ask, lambda path: f"/get-artifact?{urlencode({'run_uuid': run, 'path': path})}")

    def _sent_models(self, model: str) -> Iterator[FoundFile | Problem]:
        """Files of a logged model that the server reads from its own disk."""
        place = f"logged-models/{quote(model, safe='')}/artifacts"

        def ask(inner: str) -> list[dict[str, Any]]:
            asked = {"artifact_directory_path": inner} if inner else {}
            return _rows(self._get(f"{place}/directories", asked), "files")

        return self._walk(ask, lambda path: f"{FILES}/{place}/files?{urlencode({'artifact_file_path': path})}")

    def _walk(self, ask: Any, address: Any) -> Iterator[FoundFile | Problem]:
        waiting = [""]
        while waiting:
            inner = waiting.pop()
            try:
                listed = ask(inner)
            except StellwerkError as cause:
                if cause.code == UNREACHABLE:
                    raise
                if inner or not isinstance(cause, NotFound):  # what was never written to is not there
                    yield _unread(inner, cause.message)
                continue
            for one in listed:
                name = posixpath.basename(text_said(one.get("path")).rstrip("/"))
                path = posixpath.join(inner, name)
                if name in ("", ".", ".."):
                    yield _unread(path, "its name is no name of a file")
                elif not one.get("is_dir"):
                    yield FoundFile(path=path, size=whole(one.get("file_size")), chunks=self._chunks(address(path)))
                elif path.count("/") < DEEPEST:
                    waiting.append(path)
                else:
                    yield _unread(path, f"it is more than {DEEPEST} folders deep")

    def _chunks(self, path: str) -> Any:
        def chunks() -> Iterator[bytes]:
            try:
                with self._line.receive("GET", path) as answer:
                    yield from answer.pieces()
            except StellwerkError as cause:
                if cause.code == UNREACHABLE:  # then nothing else can be read either
                    raise
                raise Unread(cause.message) from cause

        return chunks

    # Questions

    def _listed(self, path: str, asked: dict[str, Any], field: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            answer = self._get(path, {**asked, "max_results": PAGE, **({"page_token": token} if token else {})})
            yield from _rows(answer, field)
            before, token = token, text_said(answer.get("next_page_token"))
            if token in ("", before):
                return


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise Invalid("the server did not answer in JSON: it is no server of MLflow", code="not-mlflow") from cause
    if not isinstance(found, dict):
        raise Invalid("the server did not answer as MLflow does", code="not-mlflow")
    return found


def _version(one: Mapping[str, Any]) -> FoundVersion:
    return version_said(one, _pairs(one.get("tags")))


def _dataset(one: Mapping[str, Any]) -> DatasetUse:
    return dataset_said(_row(one, "dataset"), dict(_pairs(one.get("tags"))))


def _uses(said: Mapping[str, Any], field: str) -> list[ModelUse]:
    return [
        ModelUse(
            model=text_said(one.get("model_id")),
            role="made" if field == "model_outputs" else "used",
            step=whole(one.get("step")),
        )
        for one in _rows(said, field)
    ]


def _scores(model: str, data: Mapping[str, Any]) -> Iterator[Score]:
    for one in _rows(data, "metrics"):
        try:
            yield Score(
                model=model,
                run=text_said(one.get("run_id")),
                key=text_said(one.get("key")),
                value=_number(one.get("value")),
                at=int(one["timestamp"]),
                step=int(one.get("step") or 0),
                dataset=text_said(one.get("dataset_name")),
                dataset_digest=text_said(one.get("dataset_digest")),
            )
        except (TypeError, ValueError, KeyError):
            continue


def _unread(path: str, reason: str) -> Problem:
    return Problem(kind="artifact", where="", name=path, reason=reason)


def _row(one: Mapping[str, Any], field: str) -> dict[str, Any]:
    found = one.get(field)
    return found if isinstance(found, dict) else {}


def _rows(one: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    found = one.get(field)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _pairs(found: Any) -> list[tuple[str, str]]:
    listed = found if isinstance(found, list) else []
    return [(text_said(one.get("key")), text_said(one.get("value"))) for one in listed if isinstance(one, dict)]


def _number(value: Any) -> float:
    """A value of a metric; the largest number there is stands for infinity, as it does in MLflow's databases."""
    found = float(value)
    return math.copysign(math.inf, found) if abs(found) >= sys.float_info.max else found
