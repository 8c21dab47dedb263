"""What MLflow says of things, in the documents of its folders and in the answers of its servers: the same fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stellwerk.tracking.model import DatasetUse
from stellwerk.workspace.mlflow.model import FoundVersion, whole


def text_said(value: Any) -> str:
    """A text of what was said; empty where nothing was, with a mark for what is no Unicode."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def version_said(said: Mapping[str, Any], tags: Sequence[tuple[str, str]]) -> FoundVersion:
    """A model version; times are milliseconds since 1970."""
    changed = said.get("last_updated_timestamp")
    return FoundVersion(
        number=whole(said.get("version")),
        created=whole(said.get("creation_timestamp")),
        changed=None if changed is None else whole(changed),
        description=text_said(said.get("description")),
        user=text_said(said.get("user_id")),
        stage=text_said(said.get("current_stage")) or "None",
        source=text_said(said.get("source")),
        run=text_said(said.get("run_id")),
        run_link=text_said(said.get("run_link")),
        model=text_said(said.get("model_id")),
        tags=list(tags),
    )


def dataset_said(said: Mapping[str, Any], tags: Mapping[str, str]) -> DatasetUse:
    """Data that a run used, and what for."""
    return DatasetUse(
        name=text_said(said.get("name")),
        digest=text_said(said.get("digest")),
        source_type=text_said(said.get("source_type")),
        source=text_said(said.get("source")),
        schema=text_said(said.get("schema")),
        profile=text_said(said.get("profile")),
        tags=dict(tags),
    )
