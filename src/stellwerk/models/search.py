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
    parse_filter,
    parse_order,
)
from stellwerk.ledger.sought import Said
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


def said_of_model(model: RegisteredModel) -> Said:
    """What a model is found by, beside its name."""
    yield from (("tag", key, text) for key, text in model.tags.items())
    yield "attribute", "creation_timestamp", milliseconds(model.created_at)
    yield "attribute", "last_updated_timestamp", milliseconds(model.changed_at)


def said_of_version(version: ModelVersion) -> Said:
    """What a version is found by, beside its name and its number."""
    yield from (("tag", key, text) for key, text in version.tags.items())
    yield "attribute", "run_id", version.run_id
    yield "attribute", "source_path", version.source
    yield "attribute", "stage", version.stage
    yield "attribute", "creation_timestamp", milliseconds(version.created_at)
    yield "attribute", "last_updated_timestamp", milliseconds(version.changed_at or version.created_at)


def milliseconds(instant: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)
