"""What runs ran with: packages, code and data, out of what they and their clients say. For comparisons of many runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.ledger.ports import Reader
from stellwerk.store.ports import Blobs
from stellwerk.tracking import packages, paths
from stellwerk.tracking.logged import MODELS
from stellwerk.tracking.manifest import ARTIFACTS
from stellwerk.tracking.model import CONTEXT_TAG, DatasetUse, Run
from stellwerk.tracking.rules import artifacts_of

HERE = "mlflow-artifacts:/"
HISTORY_TAG = "mlflow.log-model.history"
"""Where clients before 3 say which folders of a run are models."""
SOURCES = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.git.repoURL": "repository",
    "mlflow.source.name": "source",
    "mlflow.source.type": "source type",
    "mlflow.project.entryPoint": "entry point",
    "mlflow.docker.image.id": "image",
}
"""Tags that say which code ran, and how that is called here."""
MAX_COLUMNS = 1000
"""Of a dataset that are compared one by one."""
_SMALL = 400
"""Characters of a tag that are shown."""


def code(run: Run) -> dict[str, str]:
    """Which code ran: its digest, its commit, where it came from."""
    found = {"code": str(run.code)} if run.code else {}
    return found | {name: run.tags[tag][:_SMALL] for tag, name in SOURCES.items() if run.tags.get(tag)}


def data(run: Run) -> dict[str, str]:
    """What it read: digests of versions that are kept here, and datasets as it describes them."""
    found = {f"input {label}": str(digest) for label, digest in run.inputs.items()}
    for one in run.datasets:
        context = one.tags.get(CONTEXT_TAG, "")
        label = f"{one.name} ({context})" if context else one.name
        found[label] = one.digest
        found |= {f"{label}: {what}": said for what, said in _described(one)}
    return found


def _described(one: DatasetUse) -> Iterator[tuple[str, str]]:
    """Rows and columns of a dataset, as far as its own words say them."""
    rows = _json(one.profile).get("num_rows")
    if isinstance(rows, int):
        yield "rows", str(rows)
    columns = _json(one.schema).get("mlflow_colspec")
    if not isinstance(columns, list):
        return
    yield "columns", str(len(columns))
    for column in columns[:MAX_COLUMNS]:
        if isinstance(column, dict) and isinstance(column.get("name"), str):
            optional = "" if column.get("required", True) else ", optional"
            yield f"column {column['name']}", f"{column.get('type', '')}{optional}"


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Surroundings:
    """Reads the environments of many runs at once."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def environments(self, reader: Reader, runs: Sequence[Run]) -> Mapping[str, dict[str, str]]:
        """By run: packages and their versions, from its lock, and from files beside it or beside a model that it made.

        Runs with the same files share one dictionary.
        """
        homes = self._homes(reader, runs)
        files: dict[str, dict[str, Digest]] = defaultdict(dict)
        for name in packages.FILES:
            for one in ARTIFACTS.among(reader, "folder", homes, name=name):
                if one.digest is not None and one.size <= packages.MAX_BYTES:
                    files[one.folder][name] = one.digest
        written: dict[str, list[tuple[str, Digest]]] = {run.id: [] for run in runs}
        for home, owners in homes.items():
            for owner in owners:
                written[owner] += [(name, files[home][name]) for name in packages.FILES if name in files[home]]
        known: dict[tuple[tuple[str, Digest], ...], dict[str, str]] = {}
        found: dict[str, dict[str, str]] = {}
        for run in runs:
            parts = (*((("", run.environment),) if run.environment else ()), *dict.fromkeys(written[run.id]))
            if parts not in known:
                known[parts] = self._read(parts)
            found[run.id] = known[parts]
        return found

    def _homes(self, reader: Reader, runs: Sequence[Run]) -> dict[str, list[str]]:
        """Folders in which environments are described, by whose they are."""
        homes: dict[str, list[str]] = defaultdict(list)
        makers: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            home = artifacts_of(run)
            if home.startswith(HERE):
                root = home.removeprefix(HERE)
                for folder in ("", *_models(run)):
                    homes[paths.join(root, folder)].append(run.id)
            for use in run.models:
                if use.role == "made":
                    makers[use.model].append(run.id)
        for model in MODELS.among(reader, "id", makers):
            if model.home.startswith(HERE):
                homes[model.home.removeprefix(HERE)] += makers[model.id]
        return homes

    def _read(self, parts: Sequence[tuple[str, Digest]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, digest in parts:
            read = packages.FILES.get(name, packages.of_lock)
            found = read(self._text(digest)) | found
        return found

    def _text(self, digest: Digest) -> str:
        try:
            return b"".join(self._blobs.stream(digest)).decode("utf-8", "replace")
        except (Corrupt, NotFound):
            return ""  # a comparison shows what can be read; `fsck` tells of what cannot


def _models(run: Run) -> list[str]:
    """The folders of a run that are models, as clients before 3 say."""
    try:
        said = json.loads(run.tags.get(HISTORY_TAG, "[]"))
    except (ValueError, RecursionError):
        return []
    found = [one.get("artifact_path") for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return [path for path in dict.fromkeys(found) if isinstance(path, str) and 0 < len(path) < paths.MAX_BYTES][:20]
