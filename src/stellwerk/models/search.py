"""What can be asked of registered models and of their versions. The language is that of `core.search`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from stellwerk.core.errors import Invalid
from stellwerk.core.search import (
    ATTRIBUTES,
    TAGS,
    Clause,
    Grammar,
    Order,
    Subject,
    Value,
    parse_filter,
    parse_order,
)
from stellwerk.models import naming
from stellwerk.models.model import ModelVersion, RegisteredModel

_TIMES = ("creation_timestamp", "last_updated_timestamp")
_ENTITIES = {**TAGS, **ATTRIBUTES}
MODELS = Grammar(of="a registered model", entities=_ENTITIES, texts=("name",), numbers=(), listed=("name",))
VERSIONS = Grammar(
    of="a model version",
    entities=_ENTITIES,
    texts=("name", "run_id", "source_path"),
    numbers=("version_number",),
    listed=("name", "run_id"),
)
ORDER_OF_MODELS = Grammar(
    of="a registered model",
    entities=ATTRIBUTES,
    texts=("name",),
    numbers=_TIMES,
    spellings={"timestamp": "last_updated_timestamp"},
)
ORDER_OF_VERSIONS = Grammar(
    of="a model version", entities=ATTRIBUTES, texts=("name",), numbers=("version_number", *_TIMES)
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wanted(where: str, grammar: Grammar) -> tuple[tuple[Clause, ...], bool]:
    """The conditions of a filter, and whether it asks for prompts, which are hidden from everybody else.

    Who does not ask for prompts and says so gets what is no prompt: that condition is met already.
    """
    clauses = parse_filter(where, grammar)
    about = [clause for clause in clauses if clause.subject == _PROMPT]
    if about and _asks_for_prompts(about[0]):
        return clauses, True
    return tuple(clause for clause in clauses if clause.subject != _PROMPT), False


_PROMPT = Subject("tag", naming.IS_PROMPT)


def _asks_for_prompts(clause: Clause) -> bool:
    return (clause.comparator, str(clause.value).lower()) in {("=", "true"), ("!=", "false")}


def order(clauses: Sequence[str], grammar: Grammar) -> tuple[Order, ...]:
    """The criteria of an order, each once."""
    criteria = parse_order(clauses, grammar)
    if len({criterion.subject for criterion in criteria}) < len(criteria):
        raise Invalid(f"`order_by` contains duplicate fields: {list(clauses)}"[:400], code="invalid-order")
    return criteria


def of_model(model: RegisteredModel, subject: Subject) -> Value:
    """What a model has under a subject."""
    if subject.entity == "tag":
        return model.tags.get(subject.key)
    times = {"creation_timestamp": model.created_at, "last_updated_timestamp": model.changed_at}
    return model.name if subject.key == "name" else milliseconds(times[subject.key])


def of_version(version: ModelVersion, subject: Subject) -> Value:
    """What a version has under a subject."""
    if subject.entity == "tag":
        return version.tags.get(subject.key)
    match subject.key:
        case "version_number":
            return version.version
        case "run_id" | "name":
            text: str = getattr(version, subject.key)
            return text
        case "source_path":
            return version.source
        case "creation_timestamp":
            return milliseconds(version.created_at)
        case _:
            return milliseconds(version.changed_at or version.created_at)


def milliseconds(instant: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)
