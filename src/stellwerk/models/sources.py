"""Sources of model versions: texts that say where files are. They are read here and followed by nobody.

A text is judged by what it says after every decoding that anybody might apply to it, and kept as it was written. No
tag and no flag changes what is judged.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_plus, urlsplit

from stellwerk.core.errors import Invalid
from stellwerk.models import naming

MAX_SOURCE = 2000
_DECODINGS = 8
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_NOTHING = {"dummy-source", "prompt-template"}
"""Versions of prompts have no files, and their messages a source nevertheless: MLflow sends one of these words."""
_RUN = re.compile(r"[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{32}")
_PLACES = {
    "mlflow-artifacts", "s3", "s3a", "r2", "b2", "gs", "oss", "http", "https", "ftp", "sftp", "wasb", "wasbs", "abfs",
    "abfss", "hdfs", "viewfs", "dbfs",
}  # fmt: skip
_HOSTLESS = {"mlflow-artifacts", "dbfs", "hdfs", "viewfs"}
"""Schemes whose addresses may lack a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source, read.

    Attributes:
        kind: A run, a logged model, a version of a model, a place elsewhere, or a word that names nothing (prompts).
        name: The run, the logged model, or the name of the model.
        which: For a version: its number, an alias after `@`, a stage, or `latest`.
    """

    text: str
    kind: Literal["run", "logged", "version", "place", "nothing"]
    name: str = ""
    which: str = ""


def read(text: str, *, beside: str = "run_id") -> Source:
    """What a source says. Raises `Invalid` (`invalid-source`) for local paths and for whatever has two readings.

    Args:
        beside: The parameter that was given beside it, for MLflow's message about local paths.
    """
    if len(text) > MAX_SOURCE:
        raise _invalid(text, f"It has {len(text):,} characters (expected at most {MAX_SOURCE:,}).")
    if text in _NOTHING:
        return Source(text=text, kind="nothing")
    said = _decoded(text)
    found = _SCHEME.fullmatch(text)
    if found is None or found[1].lower() == "file":
        raise _local(text, beside)
    scheme, rest = found[1].lower(), found[2]
    if any(part in (".", "..") for part in re.split(r"[/:]", said)) or _hidden(said) or "\\" in said:
        raise _relative(text)
    if any(sign in said for sign in "?#;"):
        raise _invalid(text, "It must have no query, fragment or parameters.")
    if scheme in ("runs", "models"):
        return _inner(text, scheme, rest, beside)
    if scheme not in _PLACES:
        raise _invalid(text, f"The scheme {found[1][:40]!r} is not known here.")
    return _place(text, scheme, rest)


def _decoded(text: str) -> str:
    for _ in range(_DECODINGS):
        plain = unquote_plus(text)
        if plain == text:
            return text
        text = plain
    raise _relative(text)


def _hidden(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


def _inner(text: str, scheme: str, rest: str, beside: str) -> Source:
    parts = rest.split("/")
    if len(parts) < 2 or parts[0] or not parts[1].strip():
        raise unrelated(text, beside)
    if scheme == "runs":
        return Source(text=text, kind="run", name=parts[1])
    if len(parts) > 3 or (len(parts) == 3 and not parts[2].strip()):
        raise _invalid(text, "Models are named as models:/<model_id> or models:/<name>/<version>.")
    if len(parts) == 3:
        return Source(text=text, kind="version", name=parts[1], which=parts[2])
    name, sign, alias = parts[1].rpartition("@")
    if sign:
        return Source(text=text, kind="version", name=name, which=f"@{alias}")
    return Source(text=text, kind="logged", name=parts[1])


def _place(text: str, scheme: str, rest: str) -> Source:
    try:
        netloc = urlsplit(text).netloc
    except ValueError as cause:
        raise _invalid(text, "Its host cannot be read.") from cause
    if not rest.startswith("/") or (not netloc and scheme not in _HOSTLESS):
        raise _invalid(text, "It names no place.")
    if "@" in netloc and not scheme.startswith(("abfs", "wasb")):  # where it parts container and account
        raise _invalid("…", "A source must hold no credentials.")
    return Source(text=text, kind="place")


def looks_like_ours(run_id: str) -> bool:
    """Whether an id is of the form that runs have here, and not that of another tracker."""
    return _RUN.fullmatch(run_id) is not None


def unrelated(text: str, beside: str) -> Invalid:
    """A source that is not part of what was named beside it, or that names nothing that exists."""
    return _invalid(text, f"The {beside} request parameter must identify the resource that contains the source.")


def prompt(text: str) -> Invalid:
    """A source that is a prompt."""
    return _invalid(text, "Prompt versions cannot be used as model version sources.")


def contradiction(text: str) -> Invalid:
    """A copy that says it comes from elsewhere than its original."""
    return _invalid(text, "The run_id and model_id request parameters must match the referenced model version.")


def number_of(source: Source) -> int | None:
    """The version that a source names by its number."""
    which = source.which
    return naming.number(which) if which.isascii() and which.isdecimal() else None


def _local(text: str, beside: str) -> Invalid:
    owner = "model" if beside == "model_id" else "run"
    return _invalid(
        text,
        f"To use a local path as a model version source, the {beside} request parameter has to be specified and the "
        f"local path has to be contained within the artifact directory of the {owner} specified by the {beside}; "
        "this server reads no local paths at all.",
    )


def _relative(text: str) -> Invalid:
    return _invalid(
        text,
        "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an "
        "absolute path must be provided without relative path references present. Please provide an absolute path.",
    )


def _invalid(text: str, problem: str) -> Invalid:
    return Invalid(f"Invalid model version source: '{text[:200]}'. {problem}", code="invalid-source")
