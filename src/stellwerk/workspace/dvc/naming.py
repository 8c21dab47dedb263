"""The parameters that a stage names, out of a file of parameters: YAML, JSON or TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from stellwerk.core.arguments import nearest
from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import yamltext

_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def readable(path: str) -> bool:
    """Whether parameters are looked up in a file; any other one counts as a whole."""
    return path.endswith(_ENDINGS)


def named(data: bytes, path: str, keys: Sequence[str], where: str) -> dict[str, str]:
    """By its dotted name each parameter as text, the same for equal values only. `Invalid` if there is none."""
    content = _content(data, path)
    return {key: _text(_value(content, key, path, where)) for key in keys}


def _content(data: bytes, path: str) -> Any:
    try:
        if path.endswith(".json"):
            return json.loads(data)
        if path.endswith(".toml"):
            return tomllib.loads(data.decode())
    except ValueError as cause:
        raise Invalid(f"{path} cannot be read: {cause}", code="invalid-dvc-file") from cause
    return yamltext.read(data, path)


def _value(content: Any, key: str, path: str, where: str) -> Any:
    value = content
    for part in key.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            near = nearest(part, [one for one in value if isinstance(one, str)]) if isinstance(value, Mapping) else ""
            raise Invalid(f"{where} names the parameter {key!r}, which {path} has not{near}", code="unknown-value")
    return value


def _text(value: Any) -> str:
    """JSON, whose keys are JSON of their own, so that `1` and `\"1\"` stay two."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, default=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_text(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
