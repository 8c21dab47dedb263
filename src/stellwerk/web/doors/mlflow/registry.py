"""Registered models, their versions and aliases, as MLflow's client asks for them (`model_registry.proto`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.models import naming
from stellwerk.models.catalogue import Page
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.search import milliseconds
from stellwerk.web.doors.mlflow import wire
from stellwerk.web.doors.mlflow.calls import Answer, Calls
from stellwerk.web.doors.mlflow.wire import FLAG, PAIRS, SOME_TEXT, TEXT, TEXTS, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
MODELS_AT_ONCE, VERSIONS_AT_ONCE = 1000, 200_000


@CALLS.add("POST", "registered-models/create", "models:write", name=SOME_TEXT, tags=PAIRS, description=TEXT)
def create_model(rooms: Rooms, ask: Ask) -> Answer:
    """A model without versions."""
    made = rooms.catalogue.create(ask.text("name"), description=ask.text("description"), tags=dict(ask.pairs("tags")))
    return {"registered_model": _model(made)}


@CALLS.add("POST", "registered-models/rename", "models:write", name=SOME_TEXT, new_name=SOME_TEXT)
def rename_model(rooms: Rooms, ask: Ask) -> Answer:
    """Another name for a model and its versions."""
    moved = rooms.catalogue.rename(ask.text("name"), ask.text("new_name"))
    return {"registered_model": _page(rooms, rooms.catalogue.get(moved.name))}


@CALLS.add("PATCH", "registered-models/update", "models:write", name=SOME_TEXT, description=TEXT)
def update_model(rooms: Rooms, ask: Ask) -> Answer:
    """Another description of a model."""
    rooms.catalogue.describe(ask.text("name"), description=ask.maybe("description"))
    return {"registered_model": _page(rooms, rooms.catalogue.get(ask.text("name")))}


@CALLS.add("DELETE", "registered-models/delete", "models:write", name=SOME_TEXT)
def delete_model(rooms: Rooms, ask: Ask) -> Answer:
    """Take a model away with its versions."""
    rooms.catalogue.delete(ask.text("name"))
    return None


@CALLS.add("GET", "registered-models/get", "models:read", name=SOME_TEXT)
def get_model(rooms: Rooms, ask: Ask) -> Answer:
    """A model."""
    return {"registered_model": _page(rooms, rooms.catalogue.get(ask.text("name")))}


@CALLS.add(
    "GET",
    "registered-models/search",
    "models:read",
    max_results=Field(kind="integer", most=MODELS_AT_ONCE),
    filter=TEXT,
    order_by=TEXTS,
    page_token=TEXT,
)
def search_models(rooms: Rooms, ask: Ask) -> Answer:
    """A page of models."""
    limit, offset = _limits(ask, 100)
    found, more = wire.page(
        rooms.catalogue.search_models(ask.text("filter"), ask.texts("order_by"), limit=limit + 1, offset=offset),
        limit,
        offset,
    )
    named = rooms.catalogue.names_of([version for page in found for version in page.latest])
    return {"registered_models": [_shown(page, named) for page in found], **more} if found else more


def latest_versions(rooms: Rooms, ask: Ask) -> Answer:
    """The newest version of each stage."""
    return _versions(rooms, rooms.catalogue.latest(ask.text("name"), ask.texts("stages")))


for _method in ("GET", "POST"):
    CALLS.add(_method, "registered-models/get-latest-versions", "models:read", name=SOME_TEXT, stages=TEXTS)(
        latest_versions
    )


@CALLS.add("POST", "registered-models/set-tag", "models:write", name=SOME_TEXT, key=SOME_TEXT, value=TEXT)
def tag_model(rooms: Rooms, ask: Ask) -> Answer:
    """Tag a model."""
    rooms.catalogue.describe(ask.text("name"), tags={ask.text("key"): ask.text("value")})
    return None


@CALLS.add("DELETE", "registered-models/delete-tag", "models:write", name=SOME_TEXT, key=SOME_TEXT)
def untag_model(rooms: Rooms, ask: Ask) -> Answer:
    """Take a tag of a model away, if it is there."""
    rooms.catalogue.describe(ask.text("name"), untag=[ask.text("key")])
    return None


@CALLS.add("POST", "registered-models/alias", "models:write", name=SOME_TEXT, alias=SOME_TEXT, version=SOME_TEXT)
def set_alias(rooms: Rooms, ask: Ask) -> Answer:
    """Point an alias at a version."""
    rooms.catalogue.set_alias(ask.text("name"), ask.text("alias"), _number(ask))
    return None


@CALLS.add("DELETE", "registered-models/alias", "models:write", name=SOME_TEXT, alias=SOME_TEXT)
def delete_alias(rooms: Rooms, ask: Ask) -> Answer:
    """Take an alias away, if it is there."""
    rooms.catalogue.drop_alias(ask.text("name"), ask.text("alias"))
    return None


@CALLS.add("GET", "registered-models/alias", "models:read", name=SOME_TEXT, alias=SOME_TEXT)
def get_alias(rooms: Rooms, ask: Ask) -> Answer:
    """The version that an alias means."""
    return _answer(rooms, rooms.catalogue.by_alias(ask.text("name"), ask.text("alias")))


@CALLS.add(
    "POST",
    "model-versions/create",
    "models:write",
    name=SOME_TEXT,
    source=SOME_TEXT,
    run_id=TEXT,
    tags=PAIRS,
    run_link=TEXT,
    description=TEXT,
    model_id=TEXT,
)
def create_version(rooms: Rooms, ask: Ask) -> Answer:
    """The next version of a model."""
    made = rooms.catalogue.add(
        ask.text("name"),
        ask.text("source"),
        run_id=ask.text("run_id"),
        model_id=ask.text("model_id"),
        description=ask.text("description"),
        tags=dict(ask.pairs("tags")),
        run_link=ask.text("run_link"),
    )
    return {"model_version": _version(made, ())}


@CALLS.add("PATCH", "model-versions/update", "models:write", name=SOME_TEXT, version=SOME_TEXT, description=TEXT)
def update_version(rooms: Rooms, ask: Ask) -> Answer:
    """Another description of a version."""
    name, number = ask.text("name"), _number(ask)
    rooms.catalogue.describe(name, number, description=ask.maybe("description"))
    return _answer(rooms, rooms.catalogue.version(name, number))


@CALLS.add(
    "POST",
    "model-versions/transition-stage",
    "models:write",
    name=SOME_TEXT,
    version=SOME_TEXT,
    stage=SOME_TEXT,
    archive_existing_versions=FLAG,
)
def transition_stage(rooms: Rooms, ask: Ask) -> Answer:
    """Move a version to a stage."""
    archive = ask.flag("archive_existing_versions")
    return _answer(rooms, rooms.catalogue.stage(ask.text("name"), _number(ask), ask.text("stage"), archive=archive))


@CALLS.add("DELETE", "model-versions/delete", "models:write", name=SOME_TEXT, version=SOME_TEXT)
def delete_version(rooms: Rooms, ask: Ask) -> Answer:
    """Take a version away."""
    rooms.catalogue.delete_version(ask.text("name"), _number(ask))
    return None


@CALLS.add("GET", "model-versions/get", "models:read", name=SOME_TEXT, version=SOME_TEXT)
def get_version(rooms: Rooms, ask: Ask) -> Answer:
    """A version."""
    return _answer(rooms, rooms.catalogue.version(ask.text("name"), _number(ask)))


@CALLS.add(
    "GET",
    "model-versions/search",
    "models:read",
    max_results=Field(kind="integer", most=VERSIONS_AT_ONCE),
    filter=TEXT,
    order_by=TEXTS,
    page_token=TEXT,
)
def search_versions(rooms: Rooms, ask: Ask) -> Answer:
    """A page of versions."""
    limit, offset = _limits(ask, 10_000)
    found, more = wire.page(
        rooms.catalogue.search_versions(ask.text("filter"), ask.texts("order_by"), limit=limit + 1, offset=offset),
        limit,
        offset,
    )
    return {**_versions(rooms, found), **more}


@CALLS.add("GET", "model-versions/get-download-uri", "models:read", name=SOME_TEXT, version=SOME_TEXT)
def download_uri(rooms: Rooms, ask: Ask) -> Answer:
    """Where the client fetches the files of a version."""
    return {"artifact_uri": rooms.catalogue.location(ask.text("name"), _number(ask))}


@CALLS.add(
    "POST", "model-versions/set-tag", "models:write", name=SOME_TEXT, version=SOME_TEXT, key=SOME_TEXT, value=TEXT
)
def tag_version(rooms: Rooms, ask: Ask) -> Answer:
    """Tag a version."""
    rooms.catalogue.describe(ask.text("name"), _number(ask), tags={ask.text("key"): ask.text("value")})
    return None


@CALLS.add("DELETE", "model-versions/delete-tag", "models:write", name=SOME_TEXT, version=SOME_TEXT, key=SOME_TEXT)
def untag_version(rooms: Rooms, ask: Ask) -> Answer:
    """Take a tag of a version away, if it is there."""
    rooms.catalogue.describe(ask.text("name"), _number(ask), untag=[ask.text("key")])
    return None


def _number(ask: Ask) -> int:
    return naming.number(ask.text("version"))


def _limits(ask: Ask, usual: int) -> tuple[int, int]:
    limit = ask.integer("max_results", usual)
    if limit < 1:
        raise Invalid(
            f"Invalid value for max_results. It must be a positive integer, but got {limit}", code="invalid-arguments"
        )
    return limit, wire.offset_of(ask.text("page_token"))


def _answer(rooms: Rooms, version: ModelVersion) -> dict[str, Any]:
    named = rooms.catalogue.names_of([version])
    return {"model_version": _version(version, named.get((version.name, version.version), ()))}


def _versions(rooms: Rooms, found: Sequence[ModelVersion]) -> dict[str, Any]:
    if not found:
        return {}
    named = rooms.catalogue.names_of(found)
    return {"model_versions": [_version(one, named.get((one.name, one.version), ())) for one in found]}


def _page(rooms: Rooms, page: Page) -> dict[str, Any]:
    return _shown(page, rooms.catalogue.names_of(page.latest))


def _shown(page: Page, named: Mapping[tuple[str, int], Sequence[str]]) -> dict[str, Any]:
    aliases = [{"alias": alias, "version": str(version)} for alias, version in sorted(page.aliases.items())]
    latest = [_version(one, named.get((one.name, one.version), ())) for one in page.latest]
    return _model(page.model) | _there(latest_versions=latest, aliases=aliases)


def _model(model: RegisteredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "creation_timestamp": milliseconds(model.created_at),
        "last_updated_timestamp": milliseconds(model.changed_at),
    } | _there(description=model.description, tags=_pairs(model.tags))


def _version(version: ModelVersion, aliases: Sequence[str]) -> dict[str, Any]:
    """A version as a message. Texts that MLflow's server sends also when they are empty are sent."""
    return {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": milliseconds(version.created_at),
        "last_updated_timestamp": milliseconds(version.changed_at or version.created_at),
        "current_stage": version.stage,
        "description": version.description,
        "source": version.source,
        "run_id": version.run_id,
        "run_link": version.run_link,
        "status": "READY",
    } | _there(user_id=version.user, model_id=version.model_id, tags=_pairs(version.tags), aliases=list(aliases))


def _pairs(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return wire.pairs(dict(sorted(tags.items())))


def _there(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
