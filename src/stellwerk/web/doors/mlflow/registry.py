"""Registered models, their versions and aliases, as MLflow's client asks for them (`model_registry.proto`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stellwerk.core.errors import Invalid
from stellwerk.models import naming
from stellwerk.models.catalogue import Page
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.search import milliseconds
from stellwerk.web.doors.mlflow import messages, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import FLAG, PAIRS, SOME_TEXT, TEXT, TEXTS, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
MODELS_AT_ONCE, VERSIONS_AT_ONCE = 1000, 200_000


@CALLS.add("POST", "registered-models/create", "models:write", name=SOME_TEXT, tags=PAIRS, description=TEXT)
def create_model(rooms: Rooms, ask: Ask) -> messages.OneRegisteredModel:
    """A model without versions."""
    made = rooms.catalogue.create(ask.text("name"), description=ask.text("description"), tags=dict(ask.pairs("tags")))
    return {"registered_model": _model(made)}


@CALLS.add("POST", "registered-models/rename", "models:write", name=SOME_TEXT, new_name=SOME_TEXT)
def rename_model(rooms: Rooms, ask: Ask) -> messages.OneRegisteredModel:
    """Another name for a model and its versions."""
    moved = rooms.catalogue.rename(ask.text("name"), ask.text("new_name"))
    return {"registered_model": _page(rooms, rooms.catalogue.get(moved.name))}


@CALLS.add("PATCH", "registered-models/update", "models:write", name=SOME_TEXT, description=TEXT)
def update_model(rooms: Rooms, ask: Ask) -> messages.OneRegisteredModel:
    """Another description of a model."""
    rooms.catalogue.describe(ask.text("name"), description=ask.maybe("description"))
    return {"registered_model": _page(rooms, rooms.catalogue.get(ask.text("name")))}


@CALLS.add("DELETE", "registered-models/delete", "models:write", name=SOME_TEXT)
def delete_model(rooms: Rooms, ask: Ask) -> None:
    """Take a model away with its versions."""
    rooms.catalogue.delete(ask.text("name"))


@CALLS.add("GET", "registered-models/get", "models:read", name=SOME_TEXT)
def get_model(rooms: Rooms, ask: Ask) -> messages.OneRegisteredModel:
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
def search_models(rooms: Rooms, ask: Ask) -> messages.RegisteredModels:
    """A page of models."""
    limit, offset = _limits(ask, 100)
    found, more = wire.page(
        rooms.catalogue.search_models(ask.text("filter"), ask.texts("order_by"), limit=limit + 1, offset=offset),
        limit,
        offset,
    )
    named = rooms.catalogue.names_of([version for page in found for version in page.latest])
    # Without the list where it is empty, as MLflow's server leaves it out.
    return {"registered_models": [_shown(page, named) for page in found], **more} if found else {}


def latest_versions(rooms: Rooms, ask: Ask) -> messages.ModelVersions:
    """The newest version of each stage."""
    return _versions(rooms, rooms.catalogue.latest(ask.text("name"), ask.texts("stages")))


for _method in ("GET", "POST"):
    CALLS.add(_method, "registered-models/get-latest-versions", "models:read", name=SOME_TEXT, stages=TEXTS)(
        latest_versions
    )


@CALLS.add("POST", "registered-models/set-tag", "models:write", name=SOME_TEXT, key=SOME_TEXT, value=TEXT)
def tag_model(rooms: Rooms, ask: Ask) -> None:
    """Tag a model."""
    rooms.catalogue.describe(ask.text("name"), tags={ask.text("key"): ask.text("value")})


@CALLS.add("DELETE", "registered-models/delete-tag", "models:write", name=SOME_TEXT, key=SOME_TEXT)
def untag_model(rooms: Rooms, ask: Ask) -> None:
    """Take a tag of a model away, if it is there."""
    rooms.catalogue.describe(ask.text("name"), untag=[ask.text("key")])


@CALLS.add("POST", "registered-models/alias", "models:write", name=SOME_TEXT, alias=SOME_TEXT, version=SOME_TEXT)
def set_alias(rooms: Rooms, ask: Ask) -> None:
    """Point an alias at a version."""
    rooms.catalogue.set_alias(ask.text("name"), ask.text("alias"), _number(ask))


@CALLS.add("DELETE", "registered-models/alias", "models:write", name=SOME_TEXT, alias=SOME_TEXT)
def delete_alias(rooms: Rooms, ask: Ask) -> None:
    """Take an alias away, if it is there."""
    rooms.catalogue.drop_alias(ask.text("name"), ask.text("alias"))


@CALLS.add("GET", "registered-models/alias", "models:read", name=SOME_TEXT, alias=SOME_TEXT)
def get_alias(rooms: Rooms, ask: Ask) -> messages.OneModelVersion:
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
def create_version(rooms: Rooms, ask: Ask) -> messages.OneModelVersion:
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
def update_version(rooms: Rooms, ask: Ask) -> messages.OneModelVersion:
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
def transition_stage(rooms: Rooms, ask: Ask) -> messages.OneModelVersion:
    """Move a version to a stage."""
    archive = ask.flag("archive_existing_versions")
    return _answer(rooms, rooms.catalogue.stage(ask.text("name"), _number(ask), ask.text("stage"), archive=archive))


@CALLS.add("DELETE", "model-versions/delete", "models:write", name=SOME_TEXT, version=SOME_TEXT)
def delete_version(rooms: Rooms, ask: Ask) -> None:
    """Take a version away."""
    rooms.catalogue.delete_version(ask.text("name"), _number(ask))


@CALLS.add("GET", "model-versions/get", "models:read", name=SOME_TEXT, version=SOME_TEXT)
def get_version(rooms: Rooms, ask: Ask) -> messages.OneModelVersion:
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
def search_versions(rooms: Rooms, ask: Ask) -> messages.ModelVersions:
    """A page of versions."""
    limit, offset = _limits(ask, 10_000)
    found, more = wire.page(
        rooms.catalogue.search_versions(ask.text("filter"), ask.texts("order_by"), limit=limit + 1, offset=offset),
        limit,
        offset,
    )
    return {**_versions(rooms, found), **more}


@CALLS.add("GET", "model-versions/get-download-uri", "models:read", name=SOME_TEXT, version=SOME_TEXT)
def download_uri(rooms: Rooms, ask: Ask) -> messages.Place:
    """Where the client fetches the files of a version."""
    return {"artifact_uri": rooms.catalogue.location(ask.text("name"), _number(ask))}


@CALLS.add(
    "POST", "model-versions/set-tag", "models:write", name=SOME_TEXT, version=SOME_TEXT, key=SOME_TEXT, value=TEXT
)
def tag_version(rooms: Rooms, ask: Ask) -> None:
    """Tag a version."""
    rooms.catalogue.describe(ask.text("name"), _number(ask), tags={ask.text("key"): ask.text("value")})


@CALLS.add("DELETE", "model-versions/delete-tag", "models:write", name=SOME_TEXT, version=SOME_TEXT, key=SOME_TEXT)
def untag_version(rooms: Rooms, ask: Ask) -> None:
    """Take a tag of a version away, if it is there."""
    rooms.catalogue.describe(ask.text("name"), _number(ask), untag=[ask.text("key")])


def _number(ask: Ask) -> int:
    return naming.number(ask.text("version"))


def _limits(ask: Ask, usual: int) -> tuple[int, int]:
    limit = ask.integer("max_results", usual)
    if limit < 1:
        raise Invalid(
            f"Invalid value for max_results. It must be a positive integer, but got {limit}", code="invalid-arguments"
        )
    return limit, wire.offset_of(ask.text("page_token"))


def _answer(rooms: Rooms, version: ModelVersion) -> messages.OneModelVersion:
    named = rooms.catalogue.names_of([version])
    return {"model_version": _version(version, named.get((version.name, version.version), ()))}


def _versions(rooms: Rooms, found: Sequence[ModelVersion]) -> messages.ModelVersions:
    if not found:
        return {}
    named = rooms.catalogue.names_of(found)
    return {"model_versions": [_version(one, named.get((one.name, one.version), ())) for one in found]}


def _page(rooms: Rooms, page: Page) -> messages.RegisteredModel:
    return _shown(page, rooms.catalogue.names_of(page.latest))


def _shown(page: Page, named: Mapping[tuple[str, int], Sequence[str]]) -> messages.RegisteredModel:
    shown = _model(page.model)
    if page.latest:
        shown["latest_versions"] = [_version(one, named.get((one.name, one.version), ())) for one in page.latest]
    if page.aliases:
        shown["aliases"] = [{"alias": name, "version": str(number)} for name, number in sorted(page.aliases.items())]
    return shown


def _model(model: RegisteredModel) -> messages.RegisteredModel:
    shown: messages.RegisteredModel = {
        "name": model.name,
        "creation_timestamp": milliseconds(model.created_at),
        "last_updated_timestamp": milliseconds(model.changed_at),
    }
    if model.description:
        shown["description"] = model.description
    if model.tags:
        shown["tags"] = _pairs(model.tags)
    return shown


def _version(version: ModelVersion, aliases: Sequence[str]) -> messages.ModelVersion:
    """A version as a message. Texts that MLflow's server sends also when they are empty are sent."""
    shown: messages.ModelVersion = {
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
    }
    if version.user:
        shown["user_id"] = version.user
    if version.model_id:
        shown["model_id"] = version.model_id
    if version.tags:
        shown["tags"] = _pairs(version.tags)
    if aliases:
        shown["aliases"] = list(aliases)
    return shown


def _pairs(tags: Mapping[str, str]) -> list[messages.Pair]:
    return wire.pairs(dict(sorted(tags.items())))
