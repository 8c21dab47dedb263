"""Portable tabular models as two files: `model.skops` holds the estimator, `model.json` what it asks and answers.

Equal estimators give equal bytes. What may be inside is decided in `models.rules`, indices in `tree_checks`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import skops.io
from pydantic import TypeAdapter, ValidationError
from sklearn.exceptions import InconsistentVersionWarning

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Refused
from stellwerk.models import archive, npy, rules, schema
from stellwerk.models.adapters import skops_layout, tree_checks
from stellwerk.models.model import Signature
from stellwerk.models.tabular import TabularModel

FORMAT = "stellwerk-tabular/1"
ESTIMATOR_FILE = "model.skops"
DOCUMENT_FILE = "model.json"
LIBRARIES = ("numpy", "scikit-learn", "scipy", "skops")

_SIGNATURE = TypeAdapter(Signature)


def save(model: TabularModel) -> dict[str, bytes]:
    """The files of a model. Raises `Refused` `untrusted-type` if it holds types that could not be loaded again."""
    try:
        raw = skops.io.dumps(model.estimator)
    except (TypeError, ValueError, AttributeError) as cause:
        raise Refused(f"the estimator cannot be stored as data: {cause}", code="untrusted-type") from cause
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    members = skops_layout.normalise(members)
    _demand_trusted(members)
    document = {
        "format": FORMAT,
        "estimator": _class_of(model.estimator),
        "task": model.signature.task,
        "signature": _document(model.signature),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return {ESTIMATOR_FILE: archive.write(members), DOCUMENT_FILE: canonical.dumps(document)}


def load(files: Mapping[str, bytes]) -> TabularModel:
    """Load a model without running code from its files.

    Raises:
        Invalid: files are missing or their document cannot be read.
        Refused: `untrusted-type`, `ambiguous-archive`, `unreadable-schema`, `unreadable-array`, `library-mismatch`.
    """
    signature, document = _read_document(files)
    members = archive.read(files[ESTIMATOR_FILE])
    _demand_trusted(members)
    # What was checked is what is loaded: the archive is written anew from the members that were read.
    with _quiet():
        estimator = _loads(archive.write(members))
    if _class_of(estimator) != document["estimator"]:
        raise Invalid(
            f"the model is a {_class_of(estimator)}, its document says {document['estimator']}", code="invalid-model"
        )
    tree_checks.check(estimator)
    return TabularModel(estimator=estimator, signature=signature)


def _loads(data: bytes) -> Any:
    try:
        return skops.io.loads(data, trusted=list(rules.TRUSTED))
    except (TypeError, ValueError, KeyError, AttributeError, ImportError, RecursionError) as cause:
        raise Refused(f"the estimator cannot be restored: {cause}", code="unreadable-schema") from cause


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Patch versions of scikit-learn may differ: larger differences were refused before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        yield


def _demand_trusted(members: Mapping[str, bytes]) -> None:
    if schema.SCHEMA not in members:
        raise Refused("the model has no schema", code="unreadable-schema")
    arrays = {name: npy.header(data) for name, data in members.items() if name != schema.SCHEMA}
    found = schema.examine(schema.read_schema(members[schema.SCHEMA]), arrays)
    if found.untrusted:
        raise Refused(
            f"the model holds types that are not on the list: {', '.join(found.untrusted[:20])}",
            code="untrusted-type",
            hint="use estimators from scikit-learn with plain parameters (an integer random_state, no own functions)",
        )
    if found.problems:
        raise Refused(
            f"the model's schema cannot be read completely: {'; '.join(found.problems[:5])}", code="unreadable-schema"
        )


def _read_document(files: Mapping[str, bytes]) -> tuple[Signature, dict[str, Any]]:
    if set(files) != {ESTIMATOR_FILE, DOCUMENT_FILE}:
        raise Invalid(
            f"expected the files {ESTIMATOR_FILE} and {DOCUMENT_FILE}, got {sorted(files)[:6]}", code="invalid-model"
        )
    document = canonical.loads(files[DOCUMENT_FILE])
    fields = {"format", "estimator", "task", "signature", "libraries"}
    if not isinstance(document, dict) or set(document) != fields or document["format"] != FORMAT:
        raise Invalid(f"{DOCUMENT_FILE} is not a {FORMAT} document", code="invalid-model")
    try:
        signature = _SIGNATURE.validate_python(document["signature"])
    except ValidationError as cause:
        raise Invalid(f"the signature in {DOCUMENT_FILE} cannot be read", code="invalid-model") from cause
    if _document(signature) != document["signature"] or signature.task != document["task"]:
        raise Invalid(f"{DOCUMENT_FILE} says more or other than a signature", code="invalid-model")
    _demand_same_library(document["libraries"])
    return signature, document


def _demand_same_library(libraries: Any) -> None:
    """Estimators keep private state, so scikit-learn must be of the same minor version."""
    then = libraries.get("scikit-learn") if isinstance(libraries, dict) else None
    now = importlib.metadata.version("scikit-learn")
    if not isinstance(then, str) or then.split(".")[:2] != now.split(".")[:2]:
        raise Refused(
            f"the model was made with scikit-learn {str(then)[:20]}, here is {now}",
            code="library-mismatch",
            hint=f"install scikit-learn {str(then)[:20]} or train the model again",
        )


def _document(signature: Signature) -> dict[str, Any]:
    plain: dict[str, Any] = canonical.loads(canonical.dumps(asdict(signature)))
    return plain


def _class_of(estimator: Any) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"
