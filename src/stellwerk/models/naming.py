"""What models, aliases, tags and stages may be called. Wrong names are refused, never repaired.

Texts that MLflow's client shows its user begin as MLflow's own do (mlflow/utils/validation.py).
"""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections.abc import Mapping
from typing import get_args

from stellwerk.core.errors import Invalid
from stellwerk.models.model import Stage

MAX_NAME, MAX_ALIAS, MAX_KEY, MAX_VALUE, MAX_TEXT = 256, 255, 250, 100_000, 100_000
MAX_TAGS = 1000
STAGES: tuple[Stage, ...] = get_args(Stage)
ACTIVE: tuple[Stage, ...] = ("Staging", "Production")
"""Stages in which one version can take the place of all others."""
IS_PROMPT = "mlflow.prompt.is_prompt"

_NEVER = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Control, format (zero width, direction), surrogate, private, unassigned, separators of lines and paragraphs."""
_ALIAS = re.compile(r"[\w-]+")
_RESERVED = re.compile(r"[vV]?\d+")
_KEY = re.compile(r"[/\w.\- :]*")
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def model_name(text: str, *, field: str = "name") -> str:
    """Check the name of a model that somebody else than a pipeline makes: nearly any text that looks like itself."""
    if not text.strip():
        raise missing(field)
    if "/" in text or ":" in text:
        raise _name(f"Invalid model name '{text[:MAX_NAME]}'. Names cannot contain '/' or ':'.")
    if len(text) > MAX_NAME:
        raise _name(f"'{field}' exceeds the maximum length of {MAX_NAME} characters")
    twin = text != unicodedata.normalize("NFC", text) or text != text.strip() or text.endswith(".")
    if twin or any(_hidden(character) for character in text):
        raise _name(
            f"Invalid model name {text!r}. Names have no spaces at either end, no dot at the end, no characters that "
            "are not seen, and are in Unicode's normal form C."
        )
    return text


def _hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category in _NEVER or (category == "Zs" and character != " ")


def alias_name(text: str) -> str:
    """Check an alias as MLflow does."""
    if not text:
        raise _name("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(text):
        raise _name(
            f"Invalid alias name: '{text[:MAX_ALIAS]}'. "
            "Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    if len(text) > MAX_ALIAS:
        raise _name(f"'Registered model alias name' exceeds the maximum length of {MAX_ALIAS} characters")
    if text.lower() == "latest":
        raise _name("'latest' alias name (case insensitive) is reserved.")
    if _RESERVED.fullmatch(text):
        raise _name(f"Version alias name '{text}' is reserved.")
    return text


PROMPT_TEXT = "mlflow.prompt.text"


def tags(found: Mapping[str, str]) -> dict[str, str]:
    """Check tags of a model or of a version."""
    for key, value in found.items():
        tag_key(key)
        if len(key) > MAX_KEY:
            raise _tag(f"'key' exceeds the maximum length of {MAX_KEY} characters")
        if len(value) > MAX_VALUE:
            if key == PROMPT_TEXT:
                raise _tag(f"Prompt text exceeds max length of {MAX_VALUE} characters.")
            raise _tag(f"'value' exceeds the maximum length of {MAX_VALUE} characters")
    return dict(found)


def tag_key(key: str) -> str:
    """Check the name of a tag."""
    if not key:
        raise missing("key")
    problem = ""
    if not _KEY.fullmatch(key):
        problem = (
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) "
            "and slashes (/)."
        )
    elif posixpath.normpath(key) != key or key == "." or key.startswith(("..", "/")):
        problem = (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as "
            f"such. This name would resolve to {posixpath.normpath(key)[:MAX_KEY]!r}"
        )
    if problem:
        raise _tag(f"Invalid value {json.dumps(key[:MAX_KEY])} for parameter 'key' supplied: {problem}")
    return key


def few_tags(found: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse more tags than anybody reads."""
    if len(found) > MAX_TAGS:
        raise _tag(f"{len(found)} tags (expected at most {MAX_TAGS})")
    return found


def description(text: str) -> str:
    """Check a description."""
    if len(text) > MAX_TEXT:
        raise Invalid(f"'description' exceeds the maximum length of {MAX_TEXT} characters", code="invalid-text")
    return text


def number(text: str) -> int:
    """A version from its text. Raises `Invalid`; what is too large for one is simply not there."""
    if text.isascii() and text.isdecimal() and len(text) > 18:
        return 0
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"Parameter 'version' must be an integer, got '{text[:60]}'.", code="invalid-version")
    return int(text)


def stage(text: str) -> Stage:
    """A stage from its name in upper or lower case."""
    found = next((one for one in STAGES if one.lower() == text.lower()), None)
    if found is None:
        raise Invalid(
            f"Invalid Model Version stage: {text[:60]}. Value must be one of {', '.join(STAGES)}.",
            code="invalid-stage",
        )
    return found


def is_prompt(found: Mapping[str, str]) -> bool:
    """Whether tags say that this is a prompt: a text with versions, and no model."""
    return found.get(IS_PROMPT, "").lower() == "true"


def missing(field: str) -> Invalid:
    """Something that must be there is not."""
    return Invalid(f"Missing value for required parameter '{field}'.", code="invalid-arguments")


def _name(problem: str) -> Invalid:
    return Invalid(problem, code="invalid-name")


def _tag(problem: str) -> Invalid:
    return Invalid(problem, code="invalid-tag", hint="keys such as `team` or `data/owner`")
