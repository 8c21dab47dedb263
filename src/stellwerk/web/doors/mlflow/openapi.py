"""The OpenAPI 3.1 description of the door, made of its routes: what each takes, answers and needs.

Nothing is listed here. A call says by its fields what it takes (`calls`, `wire`) and by the type of its function what
it answers (`messages`); what reads or writes files says both where its route is made.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections import ChainMap
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, NoReturn

import msgspec

from stellwerk._version import __version__
from stellwerk.web.doors.mlflow.calls import ANY_MEDIA, MAX_BODY, Call, Plain
from stellwerk.web.doors.mlflow.messages import Failure, Nothing
from stellwerk.web.doors.mlflow.wire import SMALLEST, SOME_TEXT, Field
from stellwerk.web.routing import OPEN, GuardedRoute

JSON = "application/json"
_TEMPLATE = "#/components/schemas/{name}"
_PART = re.compile(r"\{(\w+)(?::\w+)?\}")
_INTEGER = r"^-?[0-9]{1,19}$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|[Nn]a[Nn]|[Ii]nf(inity)?)$"
_ABOUT = f"""What the unmodified client of MLflow asks.

Each path under `/api` answers under `/ajax-api` as well. A GET takes its fields from the query, or from a JSON body
where it has no query; everything else takes a JSON body of at most {MAX_BODY:,} bytes, or as its `x-limit` says. Fields
that are unknown or null are left alone. Integers may be texts, enumerations names or numbers, and NaN and infinities
are texts.

The header `X-MLFLOW-WORKSPACE` may name the one workspace of the server; with another name every call that needs a
permission answers that it is not found, but those below `workspaces`. What never reaches the door, such as a foreign
`Host`, is refused as the operations refuse it."""


def describe(routes: Iterable[GuardedRoute]) -> dict[str, Any]:
    """The whole document. A route under two roots is described once."""
    routes = list(routes)
    known = {route.path for route in routes}
    paths: dict[str, dict[str, Any]] = {}
    schemas = _Schemas()
    for route in routes:
        about = route.about
        if isinstance(about, Call | Plain) and route.path.replace("/ajax-api/", "/api/", 1) not in known - {
            route.path
        }:
            paths.setdefault(_PART.sub(r"{\1}", route.path), {})[about.method.lower()] = _operation(
                route, about, schemas
            )
    failure = {"description": "refused, with a reason", "content": schemas.content(Failure)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stellwerk, MLflow's door", "version": __version__, "description": _ABOUT},
        "externalDocs": {"url": "/api/v1/openapi.json", "description": "the operations of the control plane"},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas.components(), "responses": {"Failure": failure}},
    }


class _Schemas:
    """Types of answers on their way into the components, where each is once."""

    def __init__(self) -> None:
        self._kinds: dict[str, Any] = {}

    def content(self, kind: Any, media: str = JSON) -> dict[str, Any]:
        """What an answer of a type holds; None is bytes of whatever kind."""
        if kind is None:
            return {media: {}}
        self._kinds[kind.__name__] = kind
        return {media: {"schema": {"$ref": _TEMPLATE.format(name=kind.__name__)}}}

    def components(self) -> dict[str, Any]:
        """The schemas of all that was used, and of what these use."""
        _, found = msgspec.json.schema_components(self._kinds.values(), ref_template=_TEMPLATE)
        return dict(sorted(found.items()))


def _operation(route: GuardedRoute, about: Call | Plain, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": re.sub(r"[^\w.-]+", "-", about.method.lower() + _PART.sub(r"\1", route.path)),
        "summary": (inspect.getdoc(about.work) or "").partition("\n")[0],
        "tags": [re.split(r"[/{]", re.sub(r"^/(api|ajax-api)/[23]\.0/(mlflow/)?|^/", "", route.path))[0]],
        "x-permission": route.requires,
        "parameters": [*_parameters("path", dict.fromkeys(_PART.findall(route.path), SOME_TEXT))],
        "responses": {"200": {"description": "done", **_given(about, schemas)}},
    }
    if isinstance(about, Plain):
        found["parameters"] += [*_parameters("query", about.query), *_parameters("header", about.headers)]
        found["responses"] |= {str(status): {"description": said} for status, said in about.also.items()}
    elif about.method == "GET":
        found["parameters"] += _parameters("query", about.fields)
    if taken := _taken(about):
        found["requestBody"] = taken
    if route.requires != OPEN:
        found["responses"] |= _refusals(about, schemas)
    return found


def _refusals(about: Call | Plain, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(about, Call) or about.fails is Failure:
        return {status: {"$ref": "#/components/responses/Failure"} for status in ("4XX", "5XX")}
    failure = {"description": "refused, with a reason", **_content(about.fails, schemas)}
    return {"4XX": failure, "5XX": failure}


def _taken(about: Call | Plain) -> dict[str, Any]:
    """The body of a request, if it has one."""
    takes = about.takes if isinstance(about, Plain) else {} if about.method == "GET" else about.fields
    if isinstance(takes, tuple):
        # A file may be empty.
        return {"required": ANY_MEDIA not in takes, "content": {media: {} for media in takes}} if takes else {}
    schema = _message(takes)
    if not takes:
        return {}
    must = "required" in schema
    found = {"required": must, "content": {JSON: {"schema": schema if must else _nullable(schema)}}}
    limit = about.limit if isinstance(about, Call) else MAX_BODY
    return found if limit == MAX_BODY else {**found, "description": f"at most {limit:,} bytes"}


def _given(about: Call | Plain, schemas: _Schemas) -> dict[str, Any]:
    """The answer."""
    if isinstance(about, Plain):
        return _content(about.gives, schemas)
    kind = typing.get_type_hints(about.work)["return"]
    return _content(Nothing if kind in (NoneType, NoReturn) else kind, schemas)


def _content(kind: Any, schemas: _Schemas) -> dict[str, Any]:
    if kind is None:
        return {}
    if isinstance(kind, Mapping):
        return {"content": dict(ChainMap(*(schemas.content(inner, media) for media, inner in kind.items())))}
    return {"content": schemas.content(kind)}


def _parameters(place: str, fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "required": one.must, "schema": _single(one)} for name, one in fields.items()]


def _message(fields: Mapping[str, Field]) -> dict[str, Any]:
    found = {"type": "object", "properties": {name: _field(one) for name, one in fields.items()}}
    must = [name for name, one in fields.items() if one.must]
    return {**found, "required": must} if must else found


def _field(one: Field) -> dict[str, Any]:
    """A field of a body. One that may be missing may be null."""
    schema = _single(one)
    return schema if one.must or not schema else _nullable(schema)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    kinds = schema["type"]
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}


def _single(one: Field) -> dict[str, Any]:
    if one.many:
        inner = Field(kind=one.kind, inner=one.inner, names=one.names, most=one.most)
        return {"type": "array", "items": _single(inner)}
    if one.names:
        return {"enum": [*one.names.values(), *one.names, *map(str, one.names)]}
    match one.kind:
        case "text":
            return {"type": "string", "minLength": 1} if one.must else {"type": "string"}
        case "integer":
            return {"type": ["integer", "string"], "minimum": SMALLEST, "maximum": one.most, "pattern": _INTEGER}
        case "number":
            return {"type": ["number", "string"], "pattern": _NUMBER}
        case "flag":
            return {"type": "boolean"}
        case "row":
            return _message(one.inner)
        case "any":
            return {}
