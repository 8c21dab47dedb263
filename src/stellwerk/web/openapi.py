"""The OpenAPI 3.1 description of the control plane, made from the table of operations."""

from __future__ import annotations

import inspect
from typing import Any

from stellwerk._version import __version__
from stellwerk.ledger import documents
from stellwerk.workspace import operations as ops
from stellwerk.workspace.calls import Operation

ERROR = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("error", "code", "hint", "class")},
    "required": ["error", "code", "class"],
}


def describe(prefix: str) -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {"Error": ERROR}
    paths = {
        f"{prefix}/{operation.name}": {"post": _operation(operation, schemas)} for operation in ops.table().values()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stellwerk control plane",
            "version": __version__,
            "description": "Operations on one workspace. The Python facade calls the same table.",
        },
        "externalDocs": {"url": f"{prefix}/openapi/mlflow.json", "description": "what clients of MLflow may ask"},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(operation: Operation[..., Any], schemas: dict[str, Any]) -> dict[str, Any]:
    arguments = operation.arguments
    body = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(kind, schemas) for name, (kind, _) in arguments.items()},
        "required": [name for name, (_, default) in arguments.items() if default is inspect.Parameter.empty],
    }
    failed = {
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "x-permission": operation.permission,
        "x-changes": operation.changes,
        "requestBody": {"required": bool(body["required"]), "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "done",
                "content": {"application/json": {"schema": _schema(operation.answer, schemas)}},
            },
            "4XX": failed,
            "5XX": failed,
        },
    }


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    found = documents.schema(kind)
    schemas.update(found.pop("$defs", {}))
    return found
