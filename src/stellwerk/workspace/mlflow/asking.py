"""Filters by which registered models are asked for, in the grammar that MLflow's servers and ours share."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.models.naming import IS_PROMPT

PROMPTS = f"tags.`{IS_PROMPT}` = 'true'"
"""Prompts and their versions are hidden from whoever does not ask for them."""


def named(name: str) -> str:
    """The filter that finds what has a name. Raises `Invalid` for a name that no filter can say."""
    if "'" in name and '"' in name:
        raise Invalid(
            f"no filter can say the name {name[:60]!r} (expected quotes of one kind at most)",
            code="invalid-name",
            hint="rename the model",
        )
    return f'name = "{name}"' if "'" in name else f"name = '{name}'"
